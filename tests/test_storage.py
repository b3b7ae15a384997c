"""Storage: there and back bit for bit, killed at any moment, and files broken at random."""

import ast
import copy
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer

import lineardiffusion
from lineardiffusion import LinearDiffusion, files, layout, storage
from lineardiffusion.files import CONFIG, WEIGHTS
from lineardiffusion.schedule import Cosine, Karras, RectifiedFlow, VPLinear

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


def images_of(n, dtype=np.float64, seed=0):
    pixels = (
        np.random.default_rng(seed).normal(100, 30, size=(n, 4, 3)) + 20 * (np.arange(n) % 6)[:, None, None]
    )
    return pixels.clip(0, 255).astype(dtype)


def pairs(n):
    return [f"{i % 2} {i % 3}" for i in range(n)]


def fitted(dtype=np.float64, seed=0, n=120, embeddings=False, **params):
    prompts = np.random.default_rng(seed).normal(size=(n, 2)) if embeddings else pairs(n)
    return LinearDiffusion(**params).fit(prompts, images_of(n, dtype, seed))


def streamed(**params):
    ld = LinearDiffusion(**params)
    for seed in range(3):
        ld.partial_fit(pairs(40), images_of(40, seed=seed))
    return ld


def streamed_embeddings():
    ld = LinearDiffusion(n_components=4)
    for seed in range(3):
        ld.partial_fit(np.random.default_rng(seed).normal(size=(40, 2)), images_of(40, seed=seed))
    return ld


def many_prompts(**params):
    """36 prompts of 3 words, whose joint moments take less than one block each."""
    prompts = ["a " * (i % 6) + "b " * (i // 6 % 6) + "c" for i in range(120)]
    return LinearDiffusion(**params).fit(prompts, images_of(120))


# moments of latents: 6 prompts x 12 x 12 pixels x 8 bytes are more than max_memory
TWO_PASSES = {"n_components": 3, "max_memory": 3000}
KINDS = {
    "onehot": lambda: fitted(),
    "one component": lambda: fitted(n_components=1),
    "scaled": lambda: fitted(scale=True, sampler="one_step"),
    "bytes": lambda: fitted(np.uint8, guidance_scale=2.5),
    "float32": lambda: fitted(np.float32, schedule=Karras(sigma_max=50.0), sampler="heun"),
    "words": lambda: fitted(text_encoder="words"),
    "positions": lambda: fitted(np.uint8, text_encoder="positions", sampler="ddim", num_steps=7, eta=0.5),
    "embeddings": lambda: fitted(embeddings=True),
    "embeddings streamed": streamed_embeddings,
    "two passes": lambda: fitted(**TWO_PASSES),
    "joint strings": lambda: many_prompts(n_components=3, text_encoder="words", max_memory=2048),
    "styles": lambda: fitted(n_styles=3, contrast="affine"),
    "styles in two passes": lambda: fitted(np.float32, n_styles=2, **TWO_PASSES),
    "styles shared": lambda: fitted(np.uint8, n_styles=2, text_encoder="words", contrast="histogram"),
    "histogram": lambda: fitted(contrast="histogram", random_state=7),
    "streamed": lambda: streamed(contrast="histogram"),
    "merged": lambda: fitted(seed=1).merge(fitted(np.uint8, seed=2)),
    "weighted": lambda: LinearDiffusion().fit(pairs(60), images_of(60), np.linspace(0, 3, 60)),
}


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KINDS[request.param]()


def asked(ld):
    known = ld._state.known
    return list(known) if known else np.array([[0.3, -1.0], [0.0, 2.0]])


def drawn(ld):
    return ld.predict(asked(ld), seed=[5] * len(asked(ld)))


def assert_same(a, b, where="state"):
    """The same to the last bit, whatever they are made of."""
    assert type(a) is type(b), where
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, where
        assert a.shape == b.shape, where
        assert a.strides == b.strides, where
        assert a.tobytes() == b.tobytes(), where
        assert b.flags.writeable, where
    elif hasattr(a, "__dataclass_fields__"):
        for name in a.__dataclass_fields__:
            assert_same(getattr(a, name), getattr(b, name), f"{where}.{name}")
    else:
        assert a == b, where


def test_the_kinds_are_what_they_say():
    made = {name: make() for name, make in KINDS.items() if name in ("two passes", "joint strings")}
    assert made["two passes"]._state.encoder is not None
    assert type(made["joint strings"].moments_).__name__ == "JointMoments"
    assert made["joint strings"]._state.known


def test_a_loaded_model_is_the_same_to_the_last_bit(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert_same(model._state, again._state)
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
    assert_same(merged[0]._state, merged[1]._state)
    assert_same(merged[2]._state, merged[3]._state)
    prompts = np.random.default_rng(3).normal(size=(40, 2)) if kind == "embeddings" else pairs(40)
    for one in (ld, again):
        one.partial_fit(prompts, images_of(40, seed=9))
    assert_same(ld._state, again._state)
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
    assert_same(ld._state, again._state)


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
    assert again._state.known == ld._state.known
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
    state = model._state
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


# ---------------------------------------------------------------------- interrupted


def two_models(tmp_path):
    both = fitted(seed=1), fitted(seed=2, n_components=3)
    paths = [tmp_path / "a", tmp_path / "b"]
    for ld, path in zip(both, paths, strict=True):
        ld.save_pretrained(path)
    return paths, [(path / CONFIG).read_bytes() for path in paths]


def whole(folder, configs, tmp_path):
    """Whether a folder holds one of the models, whole."""
    LinearDiffusion.from_pretrained(folder).save_pretrained(tmp_path / "copy")
    return (tmp_path / "copy" / CONFIG).read_bytes() in configs


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_at_any_moment_one_model_is_whole(tmp_path):
    paths, configs = two_models(tmp_path)
    models = [LinearDiffusion.from_pretrained(path) for path in paths]
    target = tmp_path / "target"
    models[0].save_pretrained(target)
    rng, left = random.Random(0), 0
    for _ in range(100):
        if (child := os.fork()) == 0:
            try:
                while True:
                    for ld in models:
                        ld.save_pretrained(target)
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.005, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        left += len(os.listdir(target)) > 2
        assert whole(target, configs, tmp_path)
    assert left  # some were killed half-way


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_before_every_step_one_model_is_whole(tmp_path):
    """kill -9 just before and just after each call that reaches the disk, twice in a row."""
    paths, configs = two_models(tmp_path)
    a, b = (LinearDiffusion.from_pretrained(path) for path in paths)

    def killed(ld, target, step):
        if (child := os.fork()) == 0:
            count = 0

            def counting(call):
                def wrapped(*args, **kwargs):
                    nonlocal count
                    for half in (lambda: None, lambda: call(*args, **kwargs)):
                        result = half()
                        if count == step:
                            os.kill(os.getpid(), signal.SIGKILL)
                        count += 1
                    return result

                return wrapped

            os.replace, os.fsync = counting(os.replace), counting(os.fsync)
            safetensors.numpy.save_file = counting(safetensors.numpy.save_file)
            try:
                ld.save_pretrained(target)
            finally:
                os._exit(0)
        return os.waitpid(child, 0)[1] != 0

    steps = 0
    while killed(b, tmp_path / f"count {steps}", steps):
        steps += 1
    assert steps == 2 * 8  # save, 2 files and 3 times the folder synced, 2 renamed
    seen = set()
    for first in range(steps):
        for second in range(first % 3, steps + 4, 3):
            target = tmp_path / "target"
            a.save_pretrained(target)
            killed(b, target, first)
            assert whole(target, configs, tmp_path)
            seen.add((target / CONFIG).read_bytes())
            killed(a, target, second)
            assert whole(target, configs, tmp_path), (first, second)
    assert seen == set(configs)


def test_an_error_while_writing_leaves_the_old_model(tmp_path, monkeypatch):
    paths, _ = two_models(tmp_path)
    before = (paths[0] / CONFIG).read_bytes()

    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        fitted(seed=2).save_pretrained(paths[0])
    assert (paths[0] / CONFIG).read_bytes() == before
    assert sorted(os.listdir(paths[0])) == [CONFIG, WEIGHTS]
    LinearDiffusion.from_pretrained(paths[0])


def test_the_first_save_killed_between_the_renamings(tmp_path):
    fitted().save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / f"{WEIGHTS}.new")
    assert np.array_equal(drawn(LinearDiffusion.from_pretrained(tmp_path)), drawn(fitted()))


def test_leftovers_are_overwritten(tmp_path):
    for name in (CONFIG, WEIGHTS):
        (tmp_path / f"{name}.new").write_text("half a fi")
    fitted().save_pretrained(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [CONFIG, WEIGHTS]


def test_a_reader_while_somebody_writes(tmp_path, monkeypatch):
    paths, configs = two_models(tmp_path)
    read, new = files._read, [fitted(seed=2, n_components=3)]

    def interrupted(path, limit):
        found = read(path, limit)
        if path.name == CONFIG and new:
            new.pop().save_pretrained(paths[0])
        return found

    monkeypatch.setattr(files, "_read", interrupted)
    LinearDiffusion.from_pretrained(paths[0]).save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / CONFIG).read_bytes() == configs[1]


# ---------------------------------------------------------------------- broken

ODD = [
    None,
    True,
    -1,
    0,
    2,
    3.5,
    1e308,
    -1e308,
    10**30,
    "",
    "x",
    [],
    {},
    [1],
    [[1]],
    {"a": 1},
    [0],
    "inf",
    1e-320,
]


def everything(path):
    ld = fitted(n=60, n_components=3, n_styles=2, contrast="histogram", dtype=np.uint8, schedule=Karras())
    ld.save_pretrained(path)
    return ld


def break_bytes(data, rng):
    data = bytearray(data)
    at = rng.randrange(len(data))
    kind = rng.randrange(6)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at:at] = rng.randbytes(rng.randrange(1, 20))
    elif kind == 3:
        del data[at : at + rng.randrange(1, 20)]
    elif kind == 4:
        data[at : at + 8] = rng.randbytes(8)
    else:
        data[at : at + 1] = rng.choice(
            [b"9", b" ", b"\xff", b"[" * 100_000, b"9" * 5000, b"1e999", b"NaN", b"\x00"]
        )
    return bytes(data)


def test_files_broken_at_random(tmp_path):
    pixels = drawn(everything(tmp_path))
    whole = {name: (tmp_path / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    rng, loud = random.Random(0), []
    for i in range(1000):
        name = (CONFIG, WEIGHTS)[i % 2]
        (tmp_path / name).write_bytes(break_bytes(whole[name], rng))
        try:
            again = LinearDiffusion.from_pretrained(tmp_path)
        except ValueError as error:
            loud.append(str(error))
        else:
            assert np.array_equal(drawn(again), pixels)
        (tmp_path / name).write_bytes(whole[name])
    assert len(loud) > 900
    starts = tuple(f"cannot load {tmp_path / name}: " for name in (CONFIG, WEIGHTS))
    assert all(message.startswith(starts) for message in loud)


def seal(folder, config, data):
    """Write two files whose hashes are right, whatever is in them."""
    config["weights"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    config["sha256"] = files._digest(config)
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / WEIGHTS).write_bytes(data)


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def change(config, rng):
    """Put something else in one place of a config, or take the place away."""
    *way, last = rng.choice([path for path in places(config) if path])
    inner = config
    for key in way:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = rng.choice(ODD)


@pytest.mark.filterwarnings("ignore")
def test_forged_files_whose_hashes_are_right(tmp_path):
    """Whoever alters a file can hash it, too: then every field and array is checked for itself."""
    rng, loud = random.Random(1), []
    for make in (everything, lambda path: KINDS["embeddings"]().save_pretrained(path)):
        make(tmp_path)
        config, data = json.loads((tmp_path / CONFIG).read_text()), (tmp_path / WEIGHTS).read_bytes()
        for i in range(500):
            if i % 4:
                forged, bytes_ = copy.deepcopy(config), data
                change(forged, rng)
            else:
                forged, bytes_ = config, break_bytes(data, rng)
                if i % 8:
                    bytes_ = break_bytes(data[:600], rng) + data[600:]
            seal(tmp_path, forged, bytes_)
            try:
                LinearDiffusion.from_pretrained(tmp_path)
            except ValueError as error:
                loud.append(str(error))
    assert len(loud) > 700
    assert all(message.startswith(f"cannot load {tmp_path}") for message in loud)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, a: c.update(format_version=2), "format 2, .* reads up to 1; pip install --upgrade"),
        (lambda c, a: c.update(format_version="1"), '"format_version" must be an int'),
        (lambda c, a: c.update(model_type="bert"), "no model of this library"),
        (lambda c, a: c.pop("prompts"), "lacks 'prompts'"),
        (lambda c, a: c.update(more=1), "unknown field 'more'"),
        (lambda c, a: c["prompts"].reverse(), "sorted"),
        (lambda c, a: c["prompts"].pop(), "moments.weight must have the shape"),
        (lambda c, a: c["parameters"].update(sampler="magic"), "unknown sampler 'magic'"),
        (lambda c, a: c["parameters"].update(num_steps=10**12), "num_steps must be 10000000 at most"),
        (lambda c, a: c["parameters"].update(num_steps=True), "'num_steps' .* must be an int"),
        (lambda c, a: c["parameters"].update(n_components=0), "'n_components' .* must be an int from 1"),
        (
            lambda c, a: c["parameters"].update(schedule={"class": "Custom"}),
            "'class' .* must be one of Cosine",
        ),
        (lambda c, a: c["parameters"]["schedule"].update(rho=0), "config.json: "),
        (lambda c, a: c.update(image_shape=[10**6, 10**6]), "must have the shape"),
        (lambda c, a: c.update(image_shape=[4, -3]), "an int from 1"),
        (lambda c, a: c.update(pixel_dtype="object"), "'pixel_dtype' .* must be one of bool"),
        (lambda c, a: c["pixel_range"].update(high=-1.0), "'high' .* a finite number of 6.0 or more"),
        (lambda c, a: c.update(encoder=None), "the encoder is missing"),
        (lambda c, a: c["encoder"].update(scaling_factor=0), "config.json: 'scaling_factor' .* above 0"),
        (lambda c, a: c["styles"].update(requested=1), "styles, which cannot be"),
        (lambda c, a: a["moments.mean"].__setitem__((0, 0), np.nan), "moments.mean holds NaN"),
        (lambda c, a: a["moments.weight"].__setitem__(0, -1), "moments.weight must be 0 or more"),
        (lambda c, a: a["styles.prompt"].__setitem__(0, 5), "styles.prompt must go through"),
        (lambda c, a: a["styles.squares"].fill(0), "styles.squares must be above 0"),
        (lambda c, a: a["histogram.values"].sort() or a["histogram.values"].fill(1), "values must rise"),
        (lambda c, a: a.update({"moments.mean": a["moments.mean"].astype(np.float16)}), "got float16"),
        (lambda c, a: a.update({"styles.prompt": a["styles.prompt"].astype(np.int8)}), "must be of int64"),
        (lambda c, a: a.update({"more": np.zeros(1)}), "superfluous array 'more'"),
        (lambda c, a: a.pop("moments.mean"), "lacks array 'moments.mean'"),
        (lambda c, a: a.update({"more": np.zeros(20_000)}), "more than the arrays of config.json can take"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_wrong_is_said(change, message, tmp_path):
    everything(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    arrays = {name: array.copy() for name, array in safetensors.numpy.load_file(tmp_path / WEIGHTS).items()}
    change(config, arrays)
    seal(tmp_path, config, safetensors.numpy.save(arrays))
    with pytest.raises(ValueError, match=message) as error:
        LinearDiffusion.from_pretrained(tmp_path)
    assert str(error.value).startswith(f"cannot load {tmp_path}")


def test_files_of_two_models(tmp_path):
    paths, _ = two_models(tmp_path)
    (paths[1] / WEIGHTS).replace(paths[0] / WEIGHTS)
    with pytest.raises(ValueError, match=r"model.safetensors: it does not belong to config.json"):
        LinearDiffusion.from_pretrained(paths[0])
    with pytest.raises(ValueError, match=r"model.safetensors: it does not exist"):
        LinearDiffusion.from_pretrained(paths[1])


def test_an_altered_parameter_is_seen(tmp_path):
    fitted().save_pretrained(tmp_path)
    text = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).write_text(text.replace('"guidance_scale": 1.0', '"guidance_scale": 7.0'))
    with pytest.raises(ValueError, match=r"config.json: it was altered"):
        LinearDiffusion.from_pretrained(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(json.loads(text)))  # spaces do not matter
    assert np.array_equal(drawn(LinearDiffusion.from_pretrained(tmp_path)), drawn(fitted()))


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
