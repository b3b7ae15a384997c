"""Storage: there and back bit for bit, and on from there; what cannot be stored, and where it looks."""

import ast
import hashlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer

import lineardiffusion
from lineardiffusion import LinearDiffusion, layout, storage
from lineardiffusion.files import CONFIG, WEIGHTS
from lineardiffusion.diffusion.schedules import Cosine, Karras, RectifiedFlow, VPLinear
from stored_models import (
    KINDS,
    asked,
    assert_same,
    drawn,
    fitted,
    images_of,
    pairs,
)

DRAW = """
import sys
import numpy as np
from lineardiffusion import LinearDiffusion
for folder in sys.argv[1:]:
    ld = LinearDiffusion.from_pretrained(folder)
    asked = np.load(folder + "/asked.npy")
    asked = asked.tolist() if asked.dtype.kind == "U" else asked
    np.save(folder + "/drawn.npy", ld.predict(asked, seed=[5] * len(asked)))
"""


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KINDS[request.param]()


def test_the_kinds_are_what_they_say():
    made = {name: make() for name, make in KINDS.items() if name in ("two passes", "joint strings")}
    assert made["two passes"].statistics_.encoder is not None
    assert type(made["joint strings"].moments_).__name__ == "JointMoments"
    assert made["joint strings"].statistics_.known


def test_a_loaded_model_is_the_same_to_the_last_bit(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert_same(model.statistics_, again.statistics_)
    for name, value in model.get_params().items():
        assert repr(value) == repr(again.get_params()[name])
        assert type(value) is type(again.get_params()[name])
    assert np.array_equal(drawn(again), drawn(model))
    assert drawn(again).dtype == drawn(model).dtype
    again.save_pretrained(tmp_path / "again")
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_a_fresh_process_draws_the_same_pixels(tmp_path):
    folders, expected = [], []
    for name, make in KINDS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ld = make()
        folder = tmp_path / name
        ld.save_pretrained(folder)
        np.save(folder / "asked.npy", np.array(asked(ld)))
        folders.append(str(folder))
        expected.append(drawn(ld))
    subprocess.run([sys.executable, "-c", DRAW, *folders], check=True)
    for folder, pixels in zip(folders, expected, strict=True):
        found = np.load(Path(folder, "drawn.npy"))
        assert found.dtype == pixels.dtype
        assert found.tobytes() == pixels.tobytes(), folder


@pytest.mark.parametrize("kind", ["onehot", "words", "embeddings", "histogram", "styles", "bytes"])
def test_learning_goes_on(kind, tmp_path):
    ld = KINDS[kind]()
    ld.save_pretrained(tmp_path)
    again, other = LinearDiffusion.from_pretrained(tmp_path), KINDS[kind]()
    merged = ld.merge(other), again.merge(other), other.merge(again), other.merge(ld)
    assert_same(merged[0].statistics_, merged[1].statistics_)
    assert_same(merged[2].statistics_, merged[3].statistics_)
    prompts = np.random.default_rng(3).normal(size=(40, 2)) if kind == "embeddings" else pairs(40)
    for one in (ld, again):
        one.partial_fit(prompts, images_of(40, seed=9))
    assert_same(ld.statistics_, again.statistics_)
    if kind == "styles":
        for one in (ld, again):
            one.partial_fit_styles(prompts, images_of(40, seed=9))
    assert np.array_equal(drawn(ld), drawn(again))


def test_the_second_pass_goes_on(tmp_path):
    ld = fitted(n_styles=2)
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    for one in (ld, again):
        one.partial_fit_styles(pairs(40), images_of(40, seed=4))
    assert_same(ld.statistics_, again.statistics_)


def test_refit_after_loading(tmp_path):
    fitted().save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path).refit(n_components=5, text_encoder="words")
    assert np.array_equal(drawn(again), drawn(fitted().refit(n_components=5, text_encoder="words")))


def test_names_of_embeddings(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["warm", "dark"])
    ld = LinearDiffusion().fit(frame, images_of(30))
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert again.n_features_in_ == 2
    assert_same(ld.feature_names_in_.tolist(), again.feature_names_in_.tolist())
    assert np.array_equal(again.predict(frame[:3], seed=1), ld.predict(frame[:3], seed=1))
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame.rename(columns={"warm": "cold"}), seed=1)


def test_prompts_of_any_letters(tmp_path):
    prompts = ["七", 'say "x"\n', "\x00", "é", "\ud800"]
    ld = LinearDiffusion().fit(prompts * 6, images_of(30))
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert again.statistics_.known == ld.statistics_.known
    assert np.array_equal(again.predict(prompts, seed=1), ld.predict(prompts, seed=1))


def test_image_shapes_and_dtypes(tmp_path):
    rng = np.random.default_rng(0)
    for shape, dtype in [((), np.float64), ((5,), bool), ((2, 2, 3), ">u2"), ((3, 2), np.float16)]:
        ld = LinearDiffusion().fit(["a", "b"] * 10, rng.integers(0, 2, size=(20, *shape)).astype(dtype))
        ld.save_pretrained(tmp_path)
        again = LinearDiffusion.from_pretrained(tmp_path)
        assert again.image_shape_ == shape
        assert again.pixel_dtype_ == np.dtype(dtype).newbyteorder("=")
        assert np.array_equal(again.predict(["a"], seed=1), ld.predict(["a"], seed=1))


def test_parameters_that_numpy_made(tmp_path):
    params = {
        "n_components": np.int64(3), "scale": np.bool_(True), "num_steps": np.int32(9),
        "eta": np.float32(0.1), "guidance_scale": np.float64(1.5), "max_memory": np.inf,
        "random_state": np.int64(3),
    }  # fmt: skip
    ld = LinearDiffusion(**params).fit(pairs(40), images_of(40))
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert {name: again.get_params()[name] for name in params} == params
    assert np.array_equal(again.predict(["0 0"]), ld.predict(["0 0"]))


@pytest.mark.parametrize(
    "schedule", [Cosine(), VPLinear(0.2, 15), Karras(40.0, rho=5), RectifiedFlow(), "karras", "vp"]
)
def test_schedules(schedule, tmp_path):
    ld = fitted(schedule=schedule, sampler="ddim")
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert repr(again.schedule) == repr(schedule)
    assert np.array_equal(drawn(again), drawn(ld))


class Own(Cosine):
    """A schedule of the user's."""


def odd_cosine():
    schedule = Cosine()
    schedule.more = 1
    return schedule


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"schedule": lambda t: (1 - t, t)}, "schedule=.* cannot be stored without pickle; use a name"),
        ({"schedule": Own()}, "schedule=.* cannot be stored without pickle"),
        ({"schedule": odd_cosine()}, "schedule=.* cannot be stored without pickle"),
        ({"text_encoder": CountVectorizer(token_pattern=r"\d")}, 'pickle.*"words" or "positions"'),
        ({"random_state": np.random.RandomState(0)}, "random_state=.* cannot be stored"),
        ({"random_state": -1}, "random_state must be null or an int of 0 or more"),
        ({"num_steps": 10**7 + 1}, "num_steps must be 10000000 at most"),
    ],
)
def test_what_cannot_be_stored(params, message, tmp_path):
    before = fitted()
    before.save_pretrained(tmp_path)
    ld = fitted(**params)
    with pytest.raises(ValueError, match=message):
        ld.save_pretrained(tmp_path)
    assert np.array_equal(drawn(LinearDiffusion.from_pretrained(tmp_path)), drawn(before))
    assert sorted(os.listdir(tmp_path)) == [CONFIG, WEIGHTS]


def test_not_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        LinearDiffusion().save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------------- the files


def test_plain_safetensors_reads_it_and_it_is_small(tmp_path):
    rng = np.random.default_rng(0)
    ld = LinearDiffusion().fit(
        [str(i % 5) for i in range(300)], rng.integers(0, 256, (300, 12, 12), np.uint8)
    )
    ld.save_pretrained(tmp_path)
    arrays = safetensors.numpy.load_file(tmp_path / WEIGHTS)
    assert set(arrays) == {"moments.weight", "moments.mean", "moments.scatter"}
    assert arrays["moments.weight"].dtype == np.float32  # whole numbers
    rows, columns = np.triu_indices(144)
    assert np.array_equal(arrays["moments.scatter"], ld.moments_.scatter[:, rows, columns])
    assert (tmp_path / WEIGHTS).stat().st_size < 0.52 * ld.moments_.scatter.nbytes
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["library_version"] == lineardiffusion.__version__
    assert config["format_version"] == 1
    assert config["prompts"] == list("01234")
    assert config["weights"]["sha256"] == hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()


def test_an_array_is_written_in_half_the_bytes_only_where_nothing_is_lost():
    exact = np.array([1.0, -0.0, 2.0**-149, 2.0**127])
    assert layout._small(exact).dtype == np.float32
    assert layout._small(exact).astype(float).tobytes() == exact.tobytes()
    for lossy in (0.1, 1e39, 2.0**-150, 1 + 2.0**-24):
        assert layout._small(np.array([1.0, lossy])).dtype == np.float64


def test_symmetric_to_the_last_bit(model):
    state = model.statistics_
    matrices = [state.moments.scatter] if hasattr(state.moments, "scatter") else []
    matrices += [] if state.styles is None else [state.styles.moments.scatter]
    for scatter in matrices:
        assert scatter.tobytes() == scatter.mT.tobytes()
    if not matrices:
        joint = state.moments.matrix
        assert joint.tobytes() == joint.transpose(2, 3, 0, 1).tobytes()


def test_nothing_is_pickled():
    for module in ("storage", "layout", "files", "fields", "parameters", "hub"):
        tree = ast.parse(Path(lineardiffusion.__file__).with_name(f"{module}.py").read_text())
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in nodes for alias in node.names}
        names |= {getattr(node, "module", None) or "" for node in nodes}
        assert not names & {"pickle", "joblib", "dill", "marshal", "shelve", "torch"}


# ---------------------------------------------------------------------- where it is looked for


def test_no_such_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="ships with the library"):
        LinearDiffusion.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"is no model: expected a folder with config\.json"):
        LinearDiffusion.from_pretrained(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="is no model"):
        LinearDiffusion.from_pretrained(tmp_path / "file")
    with pytest.raises(NotADirectoryError, match="is a file; give the folder"):
        fitted().save_pretrained(tmp_path / "file")


def test_shipped_models(tmp_path, monkeypatch):
    ld = fitted()
    ld.save_pretrained(tmp_path / "shipped" / "shapes")
    (tmp_path / "shipped" / "empty").mkdir()
    monkeypatch.setattr(storage, "_pretrained", lambda: tmp_path / "shipped")
    (tmp_path / "shapes").mkdir()  # a folder of this name that is no model does not stand in the way
    monkeypatch.chdir(tmp_path)
    assert storage.shipped_models() == ["shapes"]
    assert np.array_equal(drawn(LinearDiffusion.from_pretrained("shapes")), drawn(ld))
    with pytest.raises(FileNotFoundError, match="one that ships with the library: 'shapes'"):
        LinearDiffusion.from_pretrained("mnits")
