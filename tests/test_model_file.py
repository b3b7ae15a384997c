"""The model file: replaced in one step whatever interrupts, and refused where it is broken or forged."""

import copy
import json
import os
import random
import signal
import time

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from lineardiffusion import LinearDiffusion
from lineardiffusion.diffusion.samplers import ddim
from lineardiffusion.diffusion.schedules import Karras
from lineardiffusion.io.model_file import CONFIG, KEY, WEIGHTS
from stored_models import KINDS, drawn, fitted

# ---------------------------------------------------------------------- interrupted

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
quietly = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def two(tmp_path):
    """Two models, and the bytes of their files; the first one is saved in the folder "target"."""
    models = fitted(seed=1), fitted(seed=2, n_components=3)
    for ld in (models[1], models[0]):
        ld.save_pretrained(tmp_path / "target")
        ld.save_pretrained(tmp_path / str(ld.n_components))
    files = [(tmp_path / str(ld.n_components) / WEIGHTS).read_bytes() for ld in models]
    assert files[0] != files[1]
    return models, files


def child(action):
    """Run an action in a forked process; return its process id."""
    if (process := os.fork()) == 0:
        try:
            action()
        finally:
            os._exit(0)
    return process


def found(folder, files):
    """Return which of the files a folder holds, after loading it; raise an error if it holds neither."""
    LinearDiffusion.from_pretrained(folder)
    return files.index((folder / WEIGHTS).read_bytes())


def check_leftovers(folder):
    """Return the names of what a kill left beside the two files of a model: hidden temporary files."""
    names = set(os.listdir(folder)) - {CONFIG, WEIGHTS}
    assert all(name.startswith(".") for name in names)
    return names


@forks
@quietly
def test_killed_before_and_after_every_step_one_model_is_whole(two, tmp_path, monkeypatch):
    (_, b), files = two
    target = tmp_path / "target"

    def save_and_die(at):
        steps = 0

        def counting(call):
            def wrapped(*args, **kwargs):
                nonlocal steps
                for half in (lambda: None, lambda: call(*args, **kwargs)):
                    half()
                    if steps == at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    steps += 1

            return wrapped

        os.replace, os.fsync = counting(os.replace), counting(os.fsync)
        safetensors.numpy.save_file = counting(safetensors.numpy.save_file)
        b.save_pretrained(target)

    seen = []
    for at in range(100):
        (target / WEIGHTS).write_bytes(files[0])
        killed = os.waitpid(child(lambda at=at: save_and_die(at)), 0)[1] == signal.SIGKILL
        seen.append(found(target, files))
        if not killed:
            break
    # write the file, sync it, replace the old one; then the same for config.json: 5 calls
    assert seen == [0] * 5 + [1] * 6
    assert check_leftovers(target)
    b.save_pretrained(target)
    assert found(target, files) == 1


@forks
@quietly
def test_killed_at_any_moment_one_model_is_whole(two, tmp_path):
    models, files = two
    target, rng, seen = tmp_path / "target", random.Random(0), set()
    for _ in range(25):
        ready, started = os.pipe()

        def replace_forever(started=started):
            while True:
                for ld in models:
                    ld.save_pretrained(target)
                    os.write(started, b".")

        process = child(replace_forever)
        os.read(ready, 1)
        begin = time.perf_counter()
        os.read(ready, 1)
        time.sleep(rng.uniform(0.0, 2.0) * (time.perf_counter() - begin))
        os.kill(process, signal.SIGKILL)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL
        os.close(ready)
        os.close(started)
        seen.add(found(target, files))
    assert seen == {0, 1}
    assert check_leftovers(target)  # some were killed while they wrote


@forks
@quietly
def test_readers_among_writers_find_one_model_whole(two, tmp_path):
    models, _ = two
    target, seen = tmp_path / "target", set()
    writers = [child(lambda ld=ld: [ld.save_pretrained(target) for _ in range(30)]) for ld in models * 2]
    pixels = [drawn(ld).tobytes() for ld in models]
    while writers:
        seen.add(pixels.index(drawn(LinearDiffusion.from_pretrained(target)).tobytes()))
        writers = [process for process in writers if os.waitpid(process, os.WNOHANG) == (0, 0)]
    assert seen == {0, 1}
    assert not check_leftovers(target)


def test_the_configuration_and_the_arrays_are_read_from_one_file(two, tmp_path, monkeypatch):
    """The file is replaced between the two; without the open file the reader would mix two models."""
    (a, b), _ = two
    expected, loads = drawn(a), json.loads

    def replaced(*args, **kwargs):
        b.save_pretrained(tmp_path / "target")
        return loads(*args, **kwargs)

    monkeypatch.setattr(json, "loads", replaced)
    again = LinearDiffusion.from_pretrained(tmp_path / "target")
    assert np.array_equal(drawn(again), expected)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_error_while_writing_leaves_the_old_model_and_nothing_else(broken, two, tmp_path, monkeypatch):
    (_, b), files = two

    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, full)
        with pytest.raises(OSError, match="No space"):
            b.save_pretrained(tmp_path / "target")
    assert found(tmp_path / "target", files) == 0
    assert not check_leftovers(tmp_path / "target")


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_whoever_may_read_new_files_may_read_the_model(tmp_path):
    fitted().save_pretrained(tmp_path)
    (tmp_path / "other").touch()
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "other").stat().st_mode}


# ---------------------------------------------------------------------- broken


def everything(folder, **stored):
    """Save a model with every kind of array, and with schedules and samplers as objects."""
    settings = {"schedule": Karras(), "sampler": ddim(7, eta=0.5)}
    ld = fitted(n=60, n_components=3, n_styles=2, contrast="histogram", dtype=np.uint8, **settings)
    ld.save_pretrained(folder, **stored)
    return ld


def pixelwise(folder, **stored):
    """Save a model with moments of the pixels of prompts and of styles."""
    ld = fitted(n_components=3, n_styles=2, contrast="pixelwise", max_memory=6000)
    ld.save_pretrained(folder, **stored)
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
        odd = [b"9", b" ", b"\xff", b"[" * 10_000, b"9" * 5000, b"1e999", b"NaN", b"\x00"]
        data[at : at + 1] = rng.choice(odd)
    return bytes(data)


def refusal(folder):
    """Return the message of the error when a broken model is loaded, or None if it is not refused."""
    message = None
    try:
        LinearDiffusion.from_pretrained(folder)
    except ValueError as error:
        message = str(error)
    assert message is None or message.startswith(f"cannot load {folder / WEIGHTS}: ")
    return message


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    everything(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    for end in [0, 1, 7, 8, 9, *range(10, len(whole), 211), len(whole) - 1]:
        (tmp_path / WEIGHTS).write_bytes(whole[:end])
        assert refusal(tmp_path), end


@pytest.mark.filterwarnings("ignore")
def test_random_damage_is_refused_or_leaves_a_model(tmp_path):
    """No damage ends in another error than a ValueError that names the file; most of it is refused.

    Digits of the arrays carry no check sum, so some damage gives a model of other numbers.
    """
    everything(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng, refused = random.Random(0), 0
    for i in range(250):
        head = break_bytes(whole[:header], rng) if i % 2 else whole[:header]
        body = whole[header:] if i % 2 else break_bytes(whole[header:], rng)
        (tmp_path / WEIGHTS).write_bytes(head + body)
        refused += refusal(tmp_path) is not None
    assert refused > 150


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04N.", safetensors.numpy.save({"weight": np.zeros(3)}), b"\x02" + b"\0" * 7 + b"{}"]
)
def test_files_of_others_are_refused(data, tmp_path):
    (tmp_path / WEIGHTS).write_bytes(data)
    assert refusal(tmp_path)


# ---------------------------------------------------------------------- forged

ODD = [
    None, True, -1, 0, 2, 3.5, 1e308, -1e308, 10**30, "", "x", [], {}, [1], [[1]], {"a": 1}, [0], "inf", 1e-320,
]  # fmt: skip


def read(folder):
    with safe_open(folder / WEIGHTS, framework="np") as file:
        return json.loads(file.metadata()[KEY]), {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118


def forge(folder, config, arrays):
    """Write a file whose form is right, whatever it says."""
    text = config if isinstance(config, str) else json.dumps(config)
    arrays = {name: np.ascontiguousarray(one) for name, one in arrays.items()}
    safetensors.numpy.save_file(arrays, folder / WEIGHTS, {KEY: text})


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def test_files_that_lack_what_was_added_later_stand_for_what_was_then(tmp_path):
    """Files of version 0.1 have no rank of styles; they drew a style in a quarter of its images' directions."""
    ld = fitted(n_components=3, n_styles=2)
    ld.save_pretrained(tmp_path)
    config, arrays = read(tmp_path)
    del config["parameters"]["style_rank"], config["styles"]["rank"]
    forge(tmp_path, config, arrays)
    again = LinearDiffusion.from_pretrained(tmp_path)
    assert (again.style_rank, again.statistics_.styles.rank) == ("auto", 0.25)
    assert np.array_equal(drawn(again), drawn(ld.refit(style_rank=0.25)))
    assert not np.array_equal(drawn(again), drawn(ld.refit(style_rank=1.0)))  # the control


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["everything", "half", "low_rank", "embeddings", "basis"])
def test_every_field_of_the_wrong_type_is_refused(kind, tmp_path):
    """Each place of the configuration is removed, and replaced by values of other types."""
    if kind in KINDS:
        KINDS[kind]().save_pretrained(tmp_path)
    else:
        everything(tmp_path, precision="full" if kind == "everything" else kind)
    config, arrays = read(tmp_path)
    accepted = []
    for *way, last in [path for path in places(config) if path]:
        for odd in [..., *random.Random(str((way, last))).sample(ODD, 6)]:
            forged = copy.deepcopy(config)
            inner = forged
            for key in way:
                inner = inner[key]
            if odd is ...:
                del inner[last]
            elif type(odd) is type(inner[last]) or {type(odd), type(inner[last])} == {int, float}:
                continue  # another value of the same type may be right
            else:
                inner[last] = odd
            forge(tmp_path, forged, arrays)
            if refusal(tmp_path) is None:
                accepted.append((*way, last, odd))
    # the parameters that may be None or infinite, the names of embeddings, and what older files lack
    several = {"temperature", "text_encoder", "contrast", "shrinkage", "random_state", "names", "max_memory"}
    several |= {"cache_memory", "basis_tolerance", "style_rank"}
    removed = {path[-2] for path in accepted if path[-1] is ...}  # as in older files
    assert removed <= {"basis_tolerance", "style_rank", "rank", "truncated"}, accepted
    accepted = [path for path in accepted if path[-1] is not ...]
    assert {path[-2] for path in accepted} <= several, accepted


def flip(array, at, value):
    array[at] = value


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c, a: c.update(format_version=3), "upgrade"),
        (lambda c, a: c.update(format_version=1), "not a model"),
        (lambda c, a: c.update(format_version="2"), "not a model"),
        (lambda c, a: c.update(model_type="bert"), "model_type"),
        (lambda c, a: c.pop("prompts"), "lacks 'prompts'"),
        (lambda c, a: c.update(more=1), "unknown field 'more'"),
        (lambda c, a: c.update(precision="double"), "precision"),
        (lambda c, a: c.update(precision="half"), "spread is missing"),
        (lambda c, a: c["prompts"].reverse(), "sorted"),
        (lambda c, a: c["prompts"].pop(), "moments.weight must have the shape"),
        (lambda c, a: c.update(embedding={"size": 2, "names": None}), "either"),
        (lambda c, a: c["parameters"].pop("scale"), "lacks 'scale'"),
        (lambda c, a: c["parameters"].update(eta=0.5), "unknown field 'eta'"),
        (lambda c, a: c["parameters"].update(schedule="magic"), "unknown schedule 'magic'"),
        (lambda c, a: c["parameters"].update(num_steps=10**12), "num_steps"),
        (lambda c, a: c["parameters"]["sampler"].update(num_steps=10**12), "num_steps"),
        (lambda c, a: c["parameters"]["sampler"].update(eta=2), "eta"),
        (lambda c, a: c["parameters"]["sampler"].update(theta=2), "theta"),
        (lambda c, a: c["parameters"]["sampler"].pop("eta"), "sampler"),
        (lambda c, a: c["parameters"].update(num_steps=True), "num_steps"),
        (lambda c, a: c["parameters"].update(random_state=3.0), "random_state"),
        (lambda c, a: c["parameters"].update(n_components=0), "n_components"),
        (lambda c, a: c["parameters"].update(guidance_scale=None), "guidance_scale"),
        (lambda c, a: c["parameters"].update(image_encoder=True), "image encoder"),
        (lambda c, a: c["parameters"].update(schedule={"class": "Custom"}), "schedule"),
        (lambda c, a: c["parameters"]["schedule"].update(rho=0), "cannot load"),
        (lambda c, a: c["parameters"]["schedule"].update(rho="7"), "schedule"),
        (lambda c, a: c.update(image_shape=[10**6, 10**6]), "shape"),
        (lambda c, a: c.update(image_shape=[4, -3]), "image_shape"),
        (lambda c, a: c.update(pixel_dtype="object"), "pixel_dtype"),
        (lambda c, a: c.update(pixel_range=[1.0, 0.0]), "pixel_range"),
        (lambda c, a: c.update(pixel_range=[1.0]), "pixel_range"),
        (lambda c, a: c.update(encoder=None), "encoder .* missing"),
        (lambda c, a: c["encoder"].update(scaling_factor=0.0), "scales"),
        (lambda c, a: c["encoder"].update(residual_variance=-1.0), "variances"),
        (lambda c, a: c["encoder"].update(dtype="float16"), "dtype"),
        (lambda c, a: c["styles"].update(requested=1), "styles, 1 were requested"),
        (lambda c, a: flip(a["moments.mean"], (0, 0), np.nan), "moments.mean holds NaN"),
        (lambda c, a: flip(a["moments.scatter"], (0, 0), np.inf), "moments.scatter holds NaN or inf"),
        (lambda c, a: flip(a["moments.weight"], 0, -1), "moments.weight must not be negative"),
        (lambda c, a: a["moments.weight"].fill(0), "moments.weight"),
        (lambda c, a: flip(a["encoder.pixel_scale"], 0, 0), "scales"),
        (lambda c, a: flip(a["styles.prompt"], 0, 5), "in order"),
        (lambda c, a: flip(a["styles.prompt"], -1, 0), "in order"),
        (lambda c, a: a["styles.squares"].fill(0), "squares"),
        (lambda c, a: c["styles"].update(requested="some"), "requested"),
        (lambda c, a: a["histogram.values"].fill(1), "rise"),
        (lambda c, a: flip(a["histogram.weight"], 0, 0), "weights"),
        (lambda c, a: a.update({"moments.mean": a["moments.mean"].astype(np.float16)}), "float16"),
        (lambda c, a: a.update({"moments.mean": a["moments.mean"][:, 1:]}), "shape"),
        (lambda c, a: a.update({"moments.mean": a["moments.mean"].T}), "shape"),
        (lambda c, a: a.update({"moments.weight": a["moments.weight"][:0]}), "shape"),
        (lambda c, a: a.update({"styles.prompt": a["styles.prompt"].astype(np.int8)}), "int8"),
        (lambda c, a: a.update({"more": np.zeros(1)}), "'more' is superfluous"),
        (lambda c, a: a.pop("moments.mean"), "moments.mean is missing"),
        (lambda c, a: a.pop("histogram.weight"), "histogram.weight is missing"),
        (lambda c, a: c["styles"].update(rank=0.0), "rank of the styles must be above 0"),
        (lambda c, a: c["parameters"].update(style_rank=2.0), "style_rank"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_error_names_what_is_wrong(change, word, tmp_path, everything_saved):
    check_refused(change, word, tmp_path, *everything_saved["full"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c, a: c.update(precision="full"), "moments.scatter is missing"),
        (lambda c, a: a.pop("styles.root"), "styles.root is missing"),
        (lambda c, a: a.update({"moments.root": a["moments.root"].astype(np.float64)}), "float64"),
        (lambda c, a: flip(a["styles.root"], (0, 0), np.inf), "styles.root holds NaN or inf"),
        (lambda c, a: flip(a["moments.spread"], (0, 0), -1), "moments.spread must not be negative"),
        (lambda c, a: a.update({"moments.spread": a["moments.spread"].astype(float) * 1e180}), "overflow"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_error_names_what_is_wrong_in_half_precision(change, word, tmp_path, everything_saved):
    check_refused(change, word, tmp_path, *everything_saved["half"])


@pytest.mark.parametrize(
    ("precision", "change", "word"),
    [
        ("full", lambda c, a: flip(a["style_pixels.scatter"], (0, 0), -1), "style_pixels.scatter must not be neg"),
        ("full", lambda c, a: flip(a["pixels.mean"], (0, 0), np.nan), "pixels.mean holds NaN"),
        (
            "full",
            lambda c, a: a.update({"pixels.mean": a["pixels.mean"][:, 1:]}),
            "pixels.mean must have the shape",
        ),
        ("full", lambda c, a: flip(a["style_pixels.weight"], 0, 0), "style_pixels.weight must be above 0 where"),
        ("full", lambda c, a: a.pop("pixels.weight"), "'pixels.mean' is superfluous"),
        ("half", lambda c, a: flip(a["pixels.level"], (0, 0), -1), "pixels.level must not be negative"),
        ("half", lambda c, a: flip(a["pixels.deviation"], (0, 0), np.inf), "pixels.deviation holds NaN or inf"),
        ("half", lambda c, a: a.pop("style_pixels.deviation"), "style_pixels.deviation is missing"),
        ("half", lambda c, a: c.update(pixel_range=[0.0, 1e200]), "overflow"),
        ("low_rank", lambda c, a: flip(a["styles.count"], 0, 0), "styles.count must be from 1 to 3"),
        ("low_rank", lambda c, a: flip(a["styles.count"], 0, 1), "its sum"),
        ("low_rank", lambda c, a: flip(a["styles.trace"], 0, -1), "styles.trace must not be negative"),
        ("low_rank", lambda c, a: flip(a["styles.weight"], 0, 0), "styles.squares must be above 0 where"),
        (
            "low_rank",
            lambda c, a: a.update({"styles.factor_scale": a["styles.factor_scale"].astype(float) * 1e200}),
            "overflow",
        ),
        ("low_rank", lambda c, a: a.update({"styles.factor_codes": a["styles.mean_codes"]}), "int16"),
        ("low_rank", lambda c, a: a.pop("styles.root"), "styles.root is missing"),
        ("low_rank", lambda c, a: c.update(precision="half"), "styles.centres is missing"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_error_names_what_is_wrong_with_pixels(precision, change, word, tmp_path, everything_saved):
    check_refused(change, word, tmp_path, *everything_saved[f"pixelwise {precision}"])


@pytest.fixture(scope="module")
def everything_saved(tmp_path_factory):
    """The configuration and the arrays of two models with everything, in each precision."""
    saved = {}
    for precision in ("full", "half", "low_rank"):
        everything(folder := tmp_path_factory.mktemp(precision), precision=precision)
        saved[precision] = read(folder)
        pixelwise(folder := tmp_path_factory.mktemp(f"pixelwise-{precision}"), precision=precision)
        saved[f"pixelwise {precision}"] = read(folder)
    return saved


def check_refused(change, word, folder, config, arrays):
    config, arrays = copy.deepcopy((config, arrays))
    forge(folder, config, arrays)
    assert refusal(folder) is None  # the control: unchanged, it is a model
    change(config, arrays)
    forge(folder, config, arrays)
    with pytest.raises(ValueError, match=word):
        LinearDiffusion.from_pretrained(folder)
    assert refusal(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "3", "NaN", "[" * 100_000, "9" * 5000, "{}", '{"format_version": 2}']
)
def test_metadata_that_is_no_configuration_is_refused(text, tmp_path, everything_saved):
    forge(tmp_path, text, everything_saved["full"][1])
    assert refusal(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(number, tmp_path, everything_saved):
    config, arrays = everything_saved["full"]
    low = json.dumps(config["pixel_range"][0])
    forge(tmp_path, json.dumps(config).replace(f'"pixel_range": [{low}', f'"pixel_range": [{number}'), arrays)
    assert "finite" in refusal(tmp_path)
