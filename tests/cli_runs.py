"""Run the command line in tests, and write image files for it."""

from inspect import signature

from click.testing import CliRunner
from PIL import Image

from lineardiffusion.cli import main

# before click 8.2 the standard error is captured apart on request only
RUNNER = CliRunner(**({"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}))


def run(*args, status=0, **settings):
    """Run the command and return its result, which must have this exit status."""
    result = RUNNER.invoke(main, [str(arg) for arg in args], **settings)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def refusal(*args):
    """Return the single line that the command prints when it rejects its input."""
    (line,) = run(*args, status=1).stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def write_folders(folder, prompts, images):
    """Write one subfolder of PNG files per prompt."""
    for i, (prompt, image) in enumerate(zip(prompts, images, strict=True)):
        (folder / prompt).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / prompt / f"{i:05}.png", compress_level=1)
    return folder
