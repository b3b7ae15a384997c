"""Files: killed at any moment one model is whole; broken or forged at random, they are refused."""

import copy
import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from lineardiffusion import LinearDiffusion, files
from lineardiffusion.files import CONFIG, WEIGHTS
from lineardiffusion.diffusion.schedules import Karras
from stored_models import KINDS, drawn, fitted

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


@pytest.mark.skipif(os.name != "posix", reason="fork, and locks of folders")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_writers_of_one_folder_take_turns(tmp_path):
    """Each of 4 processes replaces the model 10 times; whoever reads meanwhile finds one of them, whole."""
    models = [fitted(seed=seed) for seed in range(4)]
    pixels = [drawn(ld) for ld in models]
    models[0].save_pretrained(tmp_path)
    writers = []
    for ld in models:
        if (process := os.fork()) == 0:
            for _ in range(10):
                ld.save_pretrained(tmp_path)
            os._exit(0)
        writers.append(process)
    found = set()
    while writers:
        again = drawn(LinearDiffusion.from_pretrained(tmp_path))
        found.add([np.array_equal(again, one) for one in pixels].index(True))
        writers = [process for process in writers if os.waitpid(process, os.WNOHANG) == (0, 0)]
    assert len(found) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS]


@pytest.mark.parametrize("call", range(1, 9))
def test_a_reader_finds_weights_whose_name_changes(tmp_path, monkeypatch, call):
    """At the reader's first, second, ... question for a file, a writer renames the weights it asks for."""
    paths, configs = two_models(tmp_path)
    (paths[0] / WEIGHTS).rename(paths[0] / (WEIGHTS + ".new"))
    asked, stat = [], Path.stat

    def renamed(self, **how):
        asked.append(self)
        if len(asked) == call:
            (paths[0] / (WEIGHTS + ".new")).rename(paths[0] / WEIGHTS)
        return stat(self, **how)

    monkeypatch.setattr(Path, "stat", renamed)
    config, _ = files.read(paths[0])
    monkeypatch.undo()
    assert config == json.loads(configs[0])
    assert len(asked) >= min(call, 4)


def test_a_reader_among_two_writers(tmp_path, monkeypatch):
    """Each time the reader has seen one model's config, the other model is there: for a while."""
    paths, configs = two_models(tmp_path)
    weights = [(path / WEIGHTS).read_bytes() for path in paths]
    turns, read = [], files._read

    def replaced(path, limit):
        found = read(path, limit)
        if path.name == CONFIG and len(turns) < 5:
            turns.append(len(turns) % 2)
            (paths[0] / CONFIG).write_bytes(configs[1 - turns[-1]])
            (paths[0] / WEIGHTS).write_bytes(weights[1 - turns[-1]])
        return found

    monkeypatch.setattr(files, "_read", replaced)
    config, _ = files.read(paths[0])
    assert config == json.loads(configs[1])
    assert len(turns) == 5


@pytest.mark.skipif(os.name != "posix", reason="fork, and locks of folders")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_does_not_keep_the_folder(tmp_path):
    with files._alone(tmp_path):
        if (child := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
    try:
        import fcntl

        handle = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError if somebody has it
        os.close(handle)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


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


def everything(path, **stored):
    ld = fitted(n=60, n_components=3, n_styles=2, contrast="histogram", dtype=np.uint8, schedule=Karras())
    ld.save_pretrained(path, **stored)
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
    for make in (
        everything,
        lambda path: everything(path, precision="half"),
        lambda path: KINDS["embeddings"]().save_pretrained(path),
    ):
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
    assert len(loud) > 1050
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
    check_said(change, message, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, a: c.update(precision="double"), "'precision' .* must be one of full, half"),
        (lambda c, a: c.update(precision="full"), "'moments.scatter'|'moments.root'"),
        (lambda c, a: a.pop("styles.root"), "lacks array 'styles.root'"),
        (lambda c, a: a.update({"moments.root": a["moments.root"].astype(np.float64)}), "must be of float16"),
        (lambda c, a: a["styles.root"].__setitem__((0, 0), np.inf), "styles.root holds NaN"),
        (lambda c, a: a["moments.spread"].__setitem__((0, 0), -1), "moments.spread must be 0 or more"),
        (
            lambda c, a: a.update({"moments.spread": a["moments.spread"].astype(float) * 1e180}),
            "moments.spread holds numbers whose squares",
        ),
    ],
)
def test_what_is_wrong_is_said_of_half_precision(change, message, tmp_path, recwarn):
    check_said(change, message, tmp_path, precision="half")
    assert not [one for one in recwarn if one.category is RuntimeWarning]


def check_said(change, message, tmp_path, **stored):
    everything(tmp_path, **stored)
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
