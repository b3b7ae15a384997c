"""What is prepared for publishing says the same as pyproject.toml, the Makefile and the command line."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import lineardiffusion
from lineardiffusion.cli import main
from lineardiffusion.io.locate import shipped_models

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CONDA = {"matplotlib": "matplotlib-base"}  # names of packages that differ; the latter is matplotlib without Qt


@pytest.fixture(scope="module")
def recipe():
    """The conda recipe, with the values of its context in their places."""
    text = (ROOT / "recipe" / "recipe.yaml").read_text()
    for name, value in yaml.safe_load(text)["context"].items():
        text = text.replace(f"${{{{ {name} }}}}", value)
    return yaml.safe_load(text)


def jobs(workflow):
    return yaml.safe_load(workflow.read_text())["jobs"].values()


def steps(workflow):
    """The steps of a workflow, with each value of the matrix in its place."""
    for job in jobs(workflow):
        values = job.get("strategy", {}).get("matrix", {})
        for step in job.get("steps", ()):
            text = [step.get("run", "")]
            for name, choices in values.items():
                mark = f"${{{{ matrix.{name} }}}}"
                text = [one.replace(mark, str(choice)) for one in text for choice in choices]
            yield from ((step.get("uses"), one) for one in dict.fromkeys(text))


# ------------------------------------------------------------------ wheel


def test_the_wheel_has_every_file_that_is_no_module():
    package = Path(lineardiffusion.__file__).parent
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["lineardiffusion"]
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    assert {
        path for path in package.rglob("*.*") if path.is_file() and path.suffix not in (".py", ".pyc")
    } <= shipped


# ------------------------------------------------------------------ conda


def test_the_recipe_has_the_dependencies_of_the_package(recipe):
    needed = {f"python {PROJECT['project']['requires-python']}"}
    for requirement in PROJECT["project"]["dependencies"]:
        name, bound = re.fullmatch(r"([\w.-]+)(>=[\d.]+)", requirement).groups()
        needed.add(f"{CONDA.get(name, name.lower())} {bound}")
    assert set(recipe["requirements"]["run"]) == needed
    (backend,) = PROJECT["build-system"]["requires"]
    assert backend.replace(">=", " >=") in recipe["requirements"]["host"]


def test_the_recipe_has_the_name_the_version_and_the_scripts_of_the_package(recipe):
    name, version = PROJECT["project"]["name"], lineardiffusion.__version__
    assert recipe["package"] == {"name": name, "version": version}
    assert recipe["source"]["url"].endswith(f"/{name}/{name.replace('-', '_')}-{version}.tar.gz")
    assert re.fullmatch(r"[0-9a-f]{64}", recipe["source"]["sha256"])
    scripts = {f"{script} = {target}" for script, target in PROJECT["project"]["scripts"].items()}
    assert set(recipe["build"]["python"]["entry_points"]) == scripts
    assert recipe["about"]["license"] == PROJECT["project"]["license"]


def test_the_line_that_the_workflow_fills_is_there_once():
    """The workflow replaces it with sed, which says nothing where there is no such line."""
    (command,) = (run for _, run in steps(ROOT / ".github/workflows/package.yml") if "sed" in run)
    pattern = re.search(r"s/(\^.*?)/", command)[1]
    assert len(re.findall(pattern, (ROOT / "recipe" / "recipe.yaml").read_text(), re.MULTILINE)) == 1


# ------------------------------------------------------------------ workflows


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_what_exists(workflow):
    makefile = (ROOT / "Makefile").read_text()
    for uses, run in steps(workflow):
        assert uses is None or re.fullmatch(r"[\w-]+/[\w-]+@(release/)?v\d+", uses)
        for target in re.findall(r"\bmake (\S+)", run):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
        for line in re.findall(r"/lineardiffusion ([a-z].*)", run):
            name, *args = shlex.split(line)
            main.commands[name].make_context(name, args)
    for job in jobs(workflow):
        assert "uses" not in job or (ROOT / job["uses"]).is_file()


def test_only_the_jobs_that_publish_may_write():
    found = {}
    for workflow in WORKFLOWS:
        content = yaml.safe_load(workflow.read_text())
        assert content["permissions"] in ({}, {"contents": "read"}), workflow
        for name, job in content["jobs"].items():
            granted = {scope for scope, access in job.get("permissions", {}).items() if access == "write"}
            if granted:
                assert "checkout" not in str(job["steps"])  # nor run code of the repository
                found[workflow.stem, name] = granted
    assert found == {
        ("pages", "deploy"): {"pages", "id-token"},
        ("release", "attach"): {"contents"},
        ("release", "pypi"): {"id-token"},
    }


def test_the_tests_run_on_every_python_that_the_package_names():
    (job,) = (
        job
        for job in jobs(ROOT / ".github/workflows/test.yml")
        if "os" in job.get("strategy", {}).get("matrix", ())
    )
    named = re.findall(r":: Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert job["strategy"]["matrix"]["python"] == named


# ------------------------------------------------------------------ Space


def test_the_space_shows_the_file_that_its_command_writes():
    _, header, text = (ROOT / "space" / "README.md").read_text().split("---\n", 2)
    settings = yaml.safe_load(header)
    assert settings["sdk"] == "static"
    assert len(settings["short_description"]) <= 60  # more is refused by the Hub
    (command,) = re.findall(r"^lineardiffusion (.*)$", text, re.MULTILINE)
    name, model, _, output = shlex.split(command)
    assert name in main.commands
    assert model in shipped_models()
    assert output == f"space/{settings['app_file']}"
    assert f"/{output}" in (ROOT / ".gitignore").read_text().split()
