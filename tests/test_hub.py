"""The Hub: with the package's functions replaced by ones that keep files here, and with a local server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion
from lineardiffusion.io import hub
from lineardiffusion.io.model_file import WEIGHTS, read_configuration

package = pytest.importorskip("huggingface_hub", reason='needs the package: pip install -e ".[hub]"')


@pytest.fixture(scope="module")
def ld(tiny):
    return LinearDiffusion(n_components=5, guidance_scale=2.0).fit(*tiny)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Keep repositories in `tmp_path`, work in an empty folder; return the list of calls that reach the Hub."""
    calls = []

    def create_repo(repo_id, *, private=None, token=None, exist_ok=False):
        calls.append(("create_repo", repo_id, private, token, exist_ok))

    def upload_folder(*, repo_id, folder_path, commit_message=None, token=None):
        calls.append(("upload_folder", repo_id, commit_message, token))
        shutil.copytree(folder_path, tmp_path / repo_id)
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repo_id}/commit/1")

    def snapshot_download(repo_id, *, revision=None, token=None, allow_patterns=None):
        calls.append(("snapshot_download", repo_id, revision, token, allow_patterns))
        return str(tmp_path / repo_id)

    for function in (create_repo, upload_folder, snapshot_download):
        monkeypatch.setattr(package, function.__name__, function)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return calls


def test_a_model_that_is_pulled_draws_what_the_pushed_one_draws(ld, calls, tmp_path):
    address = ld.push_to_hub("ada/shapes", private=True, token="t", commit_message="Better")
    assert address == "https://huggingface.co/ada/shapes/commit/1"
    assert sorted(os.listdir(tmp_path / "ada/shapes")) == ["README.md", "config.json", "model.safetensors"]
    again = LinearDiffusion.from_pretrained("ada/shapes", revision="v1", token="t")
    assert calls == [
        ("create_repo", "ada/shapes", True, "t", True),
        ("upload_folder", "ada/shapes", "Better", "t"),
        ("snapshot_download", "ada/shapes", "v1", "t", ["config.json", "model.safetensors"]),
    ]
    assert np.array_equal(again.predict(["up"], seed=1), ld.predict(["up"], seed=1))


PUSH_AND_PULL = """
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
    assert "ada/other" in str(error), error
    print("pushed and pulled")
"""


def test_the_package_itself_pushes_and_pulls(tmp_path):
    """Over HTTP, in a process of its own: the package reads the Hub's address when it is imported."""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parent)}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", PUSH_AND_PULL],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "pushed and pulled", done.stderr


def test_a_model_that_is_pulled_is_checked(ld, calls, tmp_path):
    ld.push_to_hub("ada/shapes")
    (tmp_path / "ada/shapes" / WEIGHTS).write_bytes(b"pickle")
    with pytest.raises(ValueError, match="cannot load"):
        LinearDiffusion.from_pretrained("ada/shapes")


def test_a_folder_comes_before_a_repository(ld, calls):
    ld.save_pretrained("ada/shapes")
    LinearDiffusion.from_pretrained("ada/shapes")
    with pytest.raises(FileNotFoundError, match="folder"):
        LinearDiffusion.from_pretrained(Path("ada/other"))  # a Path is never a repository
    assert calls == []


def test_without_the_package_the_error_says_how_to_install_it(ld, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    install = r'pip install "linear-diffusion\[hub\]"'
    with pytest.raises(ImportError, match=install):
        LinearDiffusion.from_pretrained("ada/no-such-folder")
    with pytest.raises(ImportError, match=install):
        ld.push_to_hub("ada/shapes")


def test_what_cannot_be_pushed_makes_no_repository(tiny, calls, ld):
    odd = LinearDiffusion(schedule=lambda t: (1 - t, t)).fit(*tiny)
    with pytest.raises(ValueError, match="cannot be stored"):
        odd.push_to_hub("ada/shapes")
    with pytest.raises(ValueError, match="owner/name"):
        ld.push_to_hub("shapes")
    with pytest.raises(ValueError, match="precision"):
        ld.push_to_hub("ada/shapes", precision="fp8")
    assert calls == []


@pytest.mark.parametrize("name", ["ada", "ada/shapes/more", "../shapes", "/ada/shapes", "ada/", "a b/c", "a/b\n"])
def test_what_is_no_repository(name):
    assert not hub.is_repository(name)


@pytest.fixture
def card(tmp_path):
    """A function from a model to its card."""

    def write(ld, repo_id, **options):
        ld.save_pretrained(tmp_path)
        return hub.card(read_configuration(tmp_path / WEIGHTS), repo_id, **options)

    return write


def test_the_card(ld, card):
    written = card(ld, "ada/shapes", license="cc-by-4.0")
    assert written.data.to_dict() == {
        "library_name": "lineardiffusion",
        "license": "cc-by-4.0",
        "pipeline_tag": "text-to-image",
        "tags": ["lineardiffusion", "diffusion", "image-generation", "closed-form"],
    }
    for said in (
        '["left", "right", "up"]',
        "3 prompts",
        "Shape (4, 3)",
        "float64",
        "guidance_scale = 2.0",
        'LinearDiffusion.from_pretrained("ada/shapes")',
        'ld.predict(["left", "right"], seed=137)',
    ):
        assert said in written.text


def test_the_card_of_many_prompts_and_of_embeddings(tiny, card):
    _, images = tiny
    many = card(LinearDiffusion().fit([f"p{i:02}\n---\n```" for i in range(90)], images), "ada/many")
    assert "and 40 more" in many.text
    assert "\n```" not in many.text  # no prompt breaks out of the listing
    numbers = card(LinearDiffusion().fit(np.arange(180.0).reshape(90, 2), images), "ada/numbers")
    assert "arrays of shape (n, 2)" in numbers.text
    assert numbers.data.pipeline_tag is None


def test_no_license_breaks_out_of_the_head_of_the_card(ld, card):
    odd = "mine: all\nmine\n---\ntags: [x]"
    assert card(ld, "ada/shapes", license=odd).data.license == odd
