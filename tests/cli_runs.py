"""Running the command, and images on the disk for it."""

from click.testing import CliRunner
from PIL import Image

from lineardiffusion.cli import main


def run(*args, status=0):
    """The command's result, which must have this exit status."""
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def refusal(*args, status=1):
    """The one line with which the command ends."""
    result = run(*args, status=status)
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def write_folders(folder, prompts, images):
    for i, (prompt, image) in enumerate(zip(prompts, images, strict=True)):
        (folder / prompt).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / prompt / f"{i:05}.png", compress_level=1)
    return folder
