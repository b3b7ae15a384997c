"""Storage: the same model to the last bit, what cannot be stored, and where models are looked for."""

import ast
import copy
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
from lineardiffusion import LinearDiffusion, samplers
from lineardiffusion.diffusion.schedules import Cosine, Discrete, Karras, Levels, RectifiedFlow, VPLinear
from lineardiffusion.io import locate, model_file
from lineardiffusion.io.model_file import CONFIG, WEIGHTS, read_configuration
from stored_models import KINDS, asked, assert_same, drawn, fitted, images_of, pairs

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


@pytest.fixture(scope="module")
def models():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: make() for name, make in KINDS.items()}


@pytest.fixture(params=KINDS)
def model(request, models):
    return models[request.param]


def test_the_kinds_are_what_they_say(models):
    assert models["two passes"].statistics_.encoder is not None
    assert type(models["joint strings"].statistics_.moments).__name__ == "JointMoments"
    assert models["joint strings"].statistics_.prompts
    assert models["basis"].image_encoder is models["basis"].statistics_.encoder


def test_a_loaded_model_is_the_same_to_the_last_bit(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert_same(model.statistics_, again.statistics_)
    for name, value in model.get_params(deep=False).items():
        assert_same(value, again.get_params(deep=False)[name])
    assert np.array_equal(drawn(again), drawn(model))
    assert drawn(again).dtype == drawn(model).dtype
    again.save_pretrained(tmp_path / "again")
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_a_fresh_process_draws_the_same_pixels(models, tmp_path):
    folders = {name: tmp_path / name for name in models}
    for name, folder in folders.items():
        models[name].save_pretrained(folder)
        np.save(folder / "asked.npy", np.array(asked(models[name])))
    subprocess.run([sys.executable, "-c", DRAW, *map(str, folders.values())], check=True)
    for name, folder in folders.items():
        pixels, expected = np.load(folder / "drawn.npy"), drawn(models[name])
        assert pixels.dtype == expected.dtype
        assert pixels.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("kind", ["onehot", "words", "embeddings", "histogram", "styles", "bytes", "basis"])
def test_a_loaded_model_continues_as_the_saved_one(kind, models, tmp_path):
    ld = copy.copy(models[kind])
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert_same(ld.merge(ld).statistics_, again.merge(ld).statistics_)
    assert_same(ld.merge(ld).statistics_, ld.merge(again).statistics_)
    prompts = np.random.default_rng(3).normal(size=(40, 2)) if kind == "embeddings" else pairs(40)
    for one in (ld, again):
        one.partial_fit(prompts, images_of(40, seed=9))
    assert_same(ld.statistics_, again.statistics_)
    if kind == "styles":
        for one in (ld, again):
            one.partial_fit_styles(prompts, images_of(40, seed=9))
    assert np.array_equal(drawn(ld), drawn(again))


def test_the_second_pass_over_a_stream_continues(tmp_path):
    """A stream can be saved before its styles are counted, and while they are."""
    stream = LinearDiffusion(n_components=3, n_styles=2, random_state=0)
    whole = copy.copy(stream)
    for seed in (0, 1):
        whole.partial_fit(pairs(80), images_of(80, seed=seed))
    whole.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    for seed in (0, 1):
        whole.partial_fit_styles(pairs(80), images_of(80, seed=seed))
        again.partial_fit_styles(pairs(80), images_of(80, seed=seed))
        again.save_pretrained(tmp_path)
        again = LinearDiffusion.from_pretrained(tmp_path)
    assert_same(whole.statistics_, again.statistics_)
    assert np.array_equal(drawn(whole), drawn(again))


def test_the_parameters_stored_are_those_the_model_was_solved_with(tmp_path):
    """A parameter that is set afterwards takes effect at the next fit; until then it is not that of the model."""
    ld = fitted(n_components=10).set_params(n_components=2, guidance_scale=5.0, sampler="ddim")
    expected = drawn(ld)
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert (again.n_components, again.guidance_scale, again.sampler) == (10, 1.0, "exact")
    assert again.n_components_ == 10
    assert np.array_equal(drawn(again), expected)
    assert not np.array_equal(drawn(again.refit(n_components=2)), expected)


def test_config_json_is_never_trusted(tmp_path):
    """The file beside the model says what the model is to people; altering or deleting it changes nothing."""
    ld = fitted()
    ld.save_pretrained(tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text()) == read_configuration(tmp_path / WEIGHTS)
    altered = json.loads((tmp_path / CONFIG).read_text())
    altered["parameters"]["guidance_scale"] = 7.0
    for text in (json.dumps(altered), "{", ""):
        (tmp_path / CONFIG).write_text(text)
        again = LinearDiffusion.from_pretrained(tmp_path)
        assert again.guidance_scale == 1.0
        assert np.array_equal(drawn(again), drawn(ld))
    (tmp_path / CONFIG).unlink()
    assert np.array_equal(drawn(LinearDiffusion.from_pretrained(tmp_path)), drawn(ld))


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
    prompts = ["七", 'say "x"\n', "\x00.", "é", "\ud800"]
    ld = LinearDiffusion().fit(prompts * 6, images_of(30))
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert again.statistics_.prompts == ld.statistics_.prompts
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
        "guidance_scale": np.float64(1.5), "max_memory": np.inf, "random_state": np.int64(3),
    }  # fmt: skip
    ld = LinearDiffusion(**params).fit(pairs(40), images_of(40))
    ld.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert {name: again.get_params()[name] for name in params} == params
    assert np.array_equal(again.predict(["0 0"]), ld.predict(["0 0"]))


@pytest.mark.parametrize(
    "schedule",
    [
        Cosine(),
        VPLinear(np.float64(0.2), 15),
        Karras(40.0, rho=5),
        RectifiedFlow(),
        "karras",
        "vp",
        Discrete(np.cumprod(1 - np.linspace(1e-4, 0.02, 50))),
        Levels([80.0, 2.0, 0.0]),
    ],
)
def test_schedules_are_stored(schedule, tmp_path):
    check_parameter("schedule", schedule, tmp_path, sampler="ddim")


@pytest.mark.parametrize(
    "sampler",
    [samplers.ddim(np.int64(20), eta=0.5), samplers.ddpm(7, variance="fixed_large"), samplers.euler(9),
     samplers.heun(9), samplers.dpmpp_2m(8), samplers.exact(), samplers.one_step(), "dpm++2m", "exact"],
)  # fmt: skip
def test_samplers_are_stored(sampler, tmp_path):
    check_parameter("sampler", sampler, tmp_path)


def check_parameter(name, value, folder, **params):
    ld = fitted(**{name: value}, **params)
    ld.save_pretrained(folder)
    again = LinearDiffusion.from_pretrained(folder)
    assert type(getattr(again, name)) is type(value)
    assert getattr(again, name) == value
    assert np.array_equal(drawn(again), drawn(ld))


class Own(Cosine):
    """A schedule of the user's."""


class OwnSampler(samplers.ddim):
    """A sampler of the user's."""


def own_function(denoise, x, schedule, times, add_noise):
    return samplers.ddim(len(times) - 1)(denoise, x, schedule, times, add_noise)


class Halves:
    """An image encoder that is not known to be linear."""

    def encode(self, images):
        return images.reshape(len(images), -1)[:, :6].astype(float)

    def decode(self, latents):
        return np.concatenate([latents, latents], axis=-1).reshape(*latents.shape[:-1], 4, 3)


@pytest.mark.parametrize(
    ("params", "advice"),
    [
        ({"schedule": lambda t: (1 - t, t)}, "RectifiedFlow"),
        ({"schedule": Own()}, "after you load"),
        ({"sampler": own_function}, "after you load"),
        ({"sampler": OwnSampler(5)}, r"ddim"),
        ({"text_encoder": CountVectorizer(token_pattern=r"\d")}, "positions"),
        ({"image_encoder": Halves()}, "latents"),
        ({"random_state": np.random.RandomState(0)}, "int of 0 or more"),
        ({"num_steps": 10**7 + 1, "sampler": "exact"}, "10000000 at most"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_advice(params, advice, tmp_path):
    before = fitted()
    before.save_pretrained(tmp_path)
    ld = fitted(**params)
    (name, *_) = params
    with pytest.raises(ValueError, match=f"{name}=.* cannot be stored.*{advice}"):
        ld.save_pretrained(tmp_path)
    assert np.array_equal(drawn(LinearDiffusion.from_pretrained(tmp_path)), drawn(before))
    assert sorted(os.listdir(tmp_path)) == [CONFIG, WEIGHTS]


def test_the_advice_for_a_schedule_helps(tmp_path):
    own, known = lambda t: (1 - t, t), RectifiedFlow()
    ld = fitted(schedule=own, sampler="heun")
    expected = drawn(ld)
    ld.refit(schedule=known).save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path).refit(schedule=own)
    assert np.array_equal(drawn(again), expected)


def test_not_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        LinearDiffusion().save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------------- the files


def test_plain_safetensors_reads_it_and_it_is_small(tmp_path):
    rng = np.random.default_rng(0)
    ld = LinearDiffusion().fit([str(i % 5) for i in range(300)], rng.integers(0, 256, (300, 12, 12), np.uint8))
    ld.save_pretrained(tmp_path)
    arrays = safetensors.numpy.load_file(tmp_path / WEIGHTS)
    assert set(arrays) == {"moments.weight", "moments.squares", "moments.mean", "moments.scatter"}
    assert arrays["moments.weight"].dtype == np.float32  # whole numbers
    rows, columns = np.triu_indices(144)
    assert np.array_equal(arrays["moments.scatter"], ld.statistics_.moments.scatter[:, rows, columns])
    assert (tmp_path / WEIGHTS).stat().st_size < 0.52 * ld.statistics_.moments.scatter.nbytes
    config = read_configuration(tmp_path / WEIGHTS)
    assert config["library_version"] == lineardiffusion.__version__
    assert config["prompts"] == list("01234")


def test_an_array_is_written_in_half_the_bytes_only_where_nothing_is_lost():
    exact = np.array([1.0, -0.0, 2.0**-149, 2.0**127])
    assert model_file._smallest("x", exact).dtype == np.float32
    assert model_file._smallest("x", exact).astype(float).tobytes() == exact.tobytes()
    for lossy in (0.1, 1e39, 2.0**-150, 1 + 2.0**-24):
        assert model_file._smallest("x", np.array([1.0, lossy])).dtype == np.float64


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
    for path in Path(model_file.__file__).parent.glob("*.py"):
        nodes = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {alias.name for node in nodes for alias in node.names}
        names |= {getattr(node, "module", None) or "" for node in nodes}
        assert not names & {"pickle", "joblib", "dill", "marshal", "shelve", "torch"}


# ---------------------------------------------------------------------- where it is looked for


def test_no_such_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="'mnist'"):
        LinearDiffusion.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=WEIGHTS):
        LinearDiffusion.from_pretrained(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=WEIGHTS):
        LinearDiffusion.from_pretrained(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=WEIGHTS):
        read_configuration(tmp_path / WEIGHTS)
    with pytest.raises(NotADirectoryError, match="folder"):
        fitted().save_pretrained(tmp_path / "file")


def test_shipped_models(tmp_path, monkeypatch):
    ld = fitted()
    ld.save_pretrained(tmp_path / "shipped" / "shapes")
    (tmp_path / "shipped" / "empty").mkdir()
    monkeypatch.setattr(locate, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "shapes").mkdir()  # a folder of this name that is no model does not stand in the way
    monkeypatch.chdir(tmp_path)
    assert locate.shipped_models() == ["shapes"]
    assert np.array_equal(drawn(LinearDiffusion.from_pretrained("shapes")), drawn(ld))
    with pytest.raises(FileNotFoundError, match="'shapes'"):
        LinearDiffusion.from_pretrained("mnits")
