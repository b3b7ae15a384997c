"""The Hub, against a stand-in for the package, and the package against a server of this machine."""

import importlib.util
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion, hub


@pytest.fixture
def ld(tiny):
    return LinearDiffusion(n_components=5, guidance_scale=2.0).fit(*tiny)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A huggingface_hub with the three functions that are used, and a list of their calls."""
    package = types.ModuleType("huggingface_hub")
    package.calls = []

    def create_repo(repo_id, *, private=None, token=None, exist_ok=False):
        package.calls.append(("create_repo", repo_id, private, token, exist_ok))

    def upload_folder(*, repo_id, folder_path, commit_message=None, token=None, allow_patterns=None):
        package.calls.append(("upload_folder", repo_id, commit_message, token))
        shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)
        return f"https://huggingface.co/{repo_id}/commit/1"

    def snapshot_download(repo_id, *, revision=None, token=None, allow_patterns=None):
        package.calls.append(("snapshot_download", repo_id, revision, token, allow_patterns))
        target = tmp_path / "cache"
        target.mkdir(exist_ok=True)
        for name in allow_patterns:
            shutil.copy(tmp_path / repo_id / name, target)
        return str(target)

    for function in (create_repo, upload_folder, snapshot_download):
        setattr(package, function.__name__, function)
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return package


def test_there_and_back(ld, fake, tmp_path):
    address = ld.push_to_hub("ada/shapes", private=True, token="t", commit_message="Better")
    assert address == "https://huggingface.co/ada/shapes/commit/1"
    assert sorted(path.name for path in (tmp_path / "ada/shapes").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    again = LinearDiffusion.from_pretrained("ada/shapes", revision="v1", token="t")
    assert fake.calls == [
        ("create_repo", "ada/shapes", True, "t", True),
        ("upload_folder", "ada/shapes", "Better", "t"),
        ("snapshot_download", "ada/shapes", "v1", "t", ["config.json", "model.safetensors"]),
    ]
    assert np.array_equal(again.predict(["up"], seed=1), ld.predict(["up"], seed=1))


THERE_AND_BACK = """
import os
import hub_server
os.environ["HF_ENDPOINT"] = hub_server.serve()
import numpy as np
from lineardiffusion import LinearDiffusion
prompts = ["left", "right", "up"] * 30
ld = LinearDiffusion(n_components=5).fit(prompts, np.random.default_rng(0).normal(size=(90, 4, 3)))
address = ld.push_to_hub("ada/shapes", token="hf_t", precision="half")
assert address == os.environ["HF_ENDPOINT"] + "/ada/shapes/commit/" + hub_server.COMMIT, address
assert sorted(hub_server.Hub.files) == ["README.md", "config.json", "model.safetensors"]
again = LinearDiffusion.from_pretrained("ada/shapes")
ld.save_pretrained("half", precision="half")
half = LinearDiffusion.from_pretrained("half")
assert np.array_equal(again.predict(["up"], seed=1), half.predict(["up"], seed=1))
try:
    LinearDiffusion.from_pretrained("ada/other")
except FileNotFoundError as error:
    assert "no model 'ada/other' on the Hugging Face Hub" in str(error), error
    print("there and back")
"""


@pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason='needs the package: pip install -e ".[hub]"'
)
def test_there_and_back_by_the_package_itself(tmp_path):
    """Over HTTP, in a process of its own: the package reads the Hub's address when it is imported."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parent)}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", THERE_AND_BACK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "there and back", done.stderr


def test_what_is_pulled_is_checked(ld, fake, tmp_path):
    ld.push_to_hub("ada/shapes")
    (tmp_path / "ada/shapes/config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="no model of this library"):
        LinearDiffusion.from_pretrained("ada/shapes")


def test_a_folder_comes_first(ld, fake, tmp_path):
    ld.save_pretrained("ada/shapes")
    LinearDiffusion.from_pretrained("ada/shapes")
    assert fake.calls == []
    with pytest.raises(FileNotFoundError, match="no folder"):
        LinearDiffusion.from_pretrained(Path("ada/other"))  # a Path is never a repository
    assert fake.calls == []


def test_without_the_package(ld, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = r'huggingface_hub: pip install "linear-diffusion\[hub\]"'
    with pytest.raises(ImportError, match=message):
        LinearDiffusion.from_pretrained("ada/no-such-folder")
    with pytest.raises(ImportError, match=message):
        ld.push_to_hub("ada/shapes")


def test_what_cannot_be_pushed_makes_no_repository(tiny, fake, ld):
    odd = LinearDiffusion(schedule=lambda t: (1 - t, t)).fit(*tiny)
    with pytest.raises(ValueError, match="cannot be stored"):
        odd.push_to_hub("ada/shapes")
    with pytest.raises(ValueError, match="owner/name"):
        ld.push_to_hub("shapes")
    with pytest.raises(ValueError, match="license must be"):
        ld.push_to_hub("ada/shapes", license="mine: all\nmine")
    assert fake.calls == []


@pytest.mark.parametrize(
    "name", ["ada", "ada/shapes/more", "../shapes", "/ada/shapes", "ada/", "a b/c", "a/b\n"]
)
def test_what_is_no_repository(name):
    assert not hub.is_repository(name)


def test_the_card(ld):
    card = hub.card(ld, "ada/shapes", "cc-by-4.0")
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert head.splitlines() == [
        "library_name: lineardiffusion",
        "license: cc-by-4.0",
        "pipeline_tag: text-to-image",
        "tags:",
        "- lineardiffusion",
        "- diffusion",
        "- image-generation",
        "- closed-form",
    ]
    for said in (
        '["left", "right", "up"]',
        "3 prompts",
        "Shape (4, 3)",
        "float64",
        "guidance_scale = 2.0",
        'LinearDiffusion.from_pretrained("ada/shapes")',
    ):
        assert said in body


def test_the_card_of_many_prompts_and_of_embeddings(tiny):
    _, images = tiny
    many = LinearDiffusion().fit([f"p{i:02}\n```" for i in range(90)], images)
    card = hub.card(many, "ada/many")
    assert "and 40 more" in card
    assert "\n```" not in card  # no prompt breaks out of the listing
    card = hub.card(LinearDiffusion().fit(np.arange(180.0).reshape(90, 2), images), "ada/numbers")
    assert "arrays of shape (n, 2)" in card
    assert "text-to-image" not in card
