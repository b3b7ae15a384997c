"""Fitting on a cluster of two worker processes: the same model as on one machine, whatever the blocks are."""

import functools
import logging
import os
import signal
import threading
import time

import numpy as np
import pytest

from lineardiffusion import ImageEncoder, LinearDiffusion, Statistics
from lineardiffusion.datasets import in_batches

dask = pytest.importorskip("dask", reason='needs Dask: pip install ".[dask]"')
pytest.importorskip("distributed", reason='needs Dask: pip install ".[dask]"')
pytest.importorskip("dask.array", reason='needs Dask: pip install ".[dask]"')

from distributed import Client, LocalCluster  # noqa: E402

from lineardiffusion import distributed  # noqa: E402

pytestmark = pytest.mark.dask


@pytest.fixture(scope="module")
def client():
    how = {"processes": True, "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=2, threads_per_worker=1, **how) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def data():
    """300 images of 6 x 7 pixels under prompts of two words."""
    rng = np.random.default_rng(0)
    prompts = np.array([f"{'ab'[i % 2]} {'xyz'[i % 3]}" for i in range(300)])
    images = 100 + (rng.normal(size=(300, 30)) * np.geomspace(30, 1, 30)) @ rng.normal(size=(30, 42))
    images += 20 * np.unique(prompts, return_inverse=True)[1][:, None] * rng.normal(size=42)
    return prompts, (images + rng.normal(size=images.shape)).reshape(-1, 6, 7)


@pytest.fixture(scope="module")
def large():
    """700 images of 40 x 40 pixels, whose components are found in passes."""
    rng = np.random.default_rng(1)
    images = (rng.normal(size=(700, 40)) * np.geomspace(30, 1, 40)) @ rng.normal(size=(40, 1600))
    images += rng.normal(size=images.shape)
    return np.array(["a", "b"] * 350), images.reshape(-1, 40, 40)


def cut(*arrays, size=70):
    return [tuple(one[i : i + size] for one in arrays) for i in range(0, len(arrays[0]), size)]


def assert_alike(found, expected):
    """The same pictures to 1e-6 grey levels, and the same statistics."""
    prompts = list(expected.prompts_)
    assert list(found.prompts_) == prompts
    assert np.abs(found.predict(prompts, seed=1) - expected.predict(prompts, seed=1)).max() < 1e-6
    weights = [model.statistics_.moments.pooled().weight for model in (found, expected)]
    np.testing.assert_allclose(*weights, rtol=1e-12)
    assert found.pixel_range_ == expected.pixel_range_


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_components": 12, "contrast": "histogram"},
        {"n_components": 12, "text_encoder": "words"},
        {"n_components": 12, "n_styles": 2, "contrast": "affine"},
        {"n_components": 12, "n_styles": 2, "text_encoder": "words", "scale": True},
        {"n_components": 12, "max_memory": 30000},
    ],
    ids=str,
)
def test_the_same_model_as_fit(client, data, parameters):
    found = distributed.fit(client, cut(*data), LinearDiffusion(**parameters))
    assert_alike(found, LinearDiffusion(**parameters).fit(*data))
    other = LinearDiffusion(**parameters).fit(data[0][70:], data[1][70:])
    with pytest.raises(AssertionError):
        assert_alike(found, other)


@pytest.mark.parametrize("parameters", [{}, {"scale": True, "n_styles": 2}], ids=str)
def test_components_of_large_images(client, large, parameters):
    parameters = {"n_components": 20, "basis_tolerance": 0.05, **parameters}
    found = distributed.fit(client, cut(*large), LinearDiffusion(**parameters))
    assert_alike(found, LinearDiffusion(**parameters).fit(*large))


def test_sums_over_bytes_are_exact(client, data):
    prompts, images = data[0], data[1].astype(np.uint8)
    found = distributed.fit(client, cut(prompts, images), LinearDiffusion())
    expected = LinearDiffusion().fit(prompts, images)
    for name in ("weight", "mean", "scatter"):
        parts = [getattr(model.statistics_.moments, name) for model in (found, expected)]
        np.testing.assert_allclose(*parts, rtol=1e-13, atol=1e-9)


def test_weights_and_embeddings(client, data):
    weight = np.random.default_rng(2).uniform(0, 2, 300)
    weight[3] = 0
    expected = LinearDiffusion(12).fit(*data, weight)
    assert_alike(distributed.fit(client, cut(*data, weight), LinearDiffusion(12)), expected)
    embeddings = np.random.default_rng(3).normal(size=(300, 2))
    found = distributed.fit(client, cut(embeddings, data[1]), LinearDiffusion(12))
    expected = LinearDiffusion(12).fit(embeddings, data[1])
    assert found.n_features_in_ == 2
    assert np.abs(found.predict(embeddings[:3], seed=1) - expected.predict(embeddings[:3], seed=1)).max() < 1e-6


def lists(arrays, _):
    return [(list(prompts), list(images)) for prompts, images in cut(*arrays)]


def functions(arrays, _):
    return [functools.partial(tuple, block) for block in cut(*arrays)]


def files(arrays, folder):
    paths = [folder / f"{i}.npz" for i in range(5)]
    for path, (prompts, images) in zip(paths, cut(*arrays), strict=True):
        np.savez(path, prompts=prompts, images=images)
    return paths


def delayed(arrays, _):
    parts = [tuple(dask.delayed(part) for part in block) for block in cut(*arrays)]
    return [{"prompts": parts[0][0], "images": parts[0][1]}, dask.delayed(parts[1]), *parts[2:]]


def dask_arrays(arrays, _):
    prompts, images = arrays
    return dask.array.from_array(prompts, chunks=50), dask.array.from_array(images, chunks=(80, 3, 7))


def persisted(arrays, folder):
    prompts, images = dask_arrays(arrays, folder)
    return prompts, images[images.sum(axis=(1, 2)) < np.inf].compute_chunk_sizes().persist()


def half_dask(arrays, folder):
    return list(arrays[0]), dask_arrays(arrays, folder)[1]


def sliced(arrays, folder):
    return in_batches(*dask_arrays(arrays, folder), batch_size=90)


@pytest.mark.parametrize("form", [lists, functions, files, delayed, dask_arrays, persisted, half_dask, sliced])
def test_every_form_of_blocks(client, data, tmp_path, form):
    found = distributed.fit(client, form(data, tmp_path), LinearDiffusion(12))
    assert_alike(found, LinearDiffusion(12).fit(*data))


def test_futures(client, data):
    parts = [tuple(client.scatter(part) for part in block) for block in cut(*data)]
    parts[2] = client.submit(tuple, list(cut(*data)[2]))
    assert_alike(distributed.fit(client, parts, LinearDiffusion(12)), LinearDiffusion(12).fit(*data))


def test_only_sums_travel(client):
    """Blocks that the workers make stay there: what comes over the wire is half of the scatters, and no encoder."""
    psutil = pytest.importorskip("psutil")

    def sent():
        return psutil.net_io_counters(pernic=True)["lo"].bytes_sent

    def make(seed):
        return ["a", "b"] * 1000, np.random.default_rng(seed).normal(size=(2000, 20, 20))

    before = sent()
    distributed.fit(client, [functools.partial(make, i) for i in range(8)], LinearDiffusion(10))
    travelled = sent() - before
    images, scatters = 8 * 2000 * 400 * 8, 8 * 2 * 400**2 * 8  # of seven sums, and the one that comes home
    assert 0.05 * scatters < travelled < 0.8 * scatters < images  # other programs may use this counter too


def slow(folder, block):
    (folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.15)
    return block


def longer(folder, data):
    """Return some images, and one more at each call."""
    (folder / f"{time.monotonic_ns()}").touch()
    n = 100 + len(list(folder.iterdir()))
    return data[0][:n], data[1][:n]


def test_errors_come_home_and_change_nothing(client, data):
    blocks = cut(*data)
    bad = [
        ((blocks[0][0], np.full_like(blocks[0][1], np.nan)), "finite", "block 2"),
        ((blocks[0][0], blocks[0][1][:, 1:]), "shape", "block 2"),
        ((np.zeros((70, 2)), blocks[0][1]), "embeddings", "block 2"),
        ((blocks[0][0][1:], blocks[0][1]), "69 prompts", "block 2"),
    ]
    before = LinearDiffusion(5).fit(*data)
    for one, word, note in bad:
        model = LinearDiffusion(5)
        with pytest.raises(ValueError, match=word) as caught:
            distributed.fit(client, [*blocks[:2], one], model)
        assert note in caught.value.__notes__[0]
        assert not model.__sklearn_is_fitted__()
        with pytest.raises(ValueError, match=word):
            distributed.fit(client, [*blocks[:2], one], before)
    assert_alike(before, LinearDiffusion(5).fit(*data))


class Unpicklable:
    def __init__(self, encoder):
        self.encode, self.decode, self.lock = encoder.encode, encoder.decode, threading.Lock()


def test_what_is_refused(client, data):
    blocks, model = cut(*data), LinearDiffusion(5)
    arrays = dask.array.from_array(data[0]), dask.array.from_array(data[1])
    encoder = ImageEncoder.from_basis(np.eye(42)[:3], Statistics.of(*data))
    linear = distributed.fit(client, blocks, LinearDiffusion(image_encoder=encoder))
    assert linear.n_components_ == 3
    for batches, error, word in [
        ((one for one in blocks), TypeError, "list"),
        ([], ValueError, "no batches"),
        ([3], TypeError, "each batch"),
        ((arrays[0], arrays[1][:200]), ValueError, "as many"),
        ((arrays[0], arrays[1][arrays[1].sum(axis=(1, 2)) > 0]), ValueError, "compute_chunk_sizes"),
    ]:
        with pytest.raises(error, match=word):
            distributed.fit(client, batches, model)
    for parameters, word in [({"missing": "em"}, "em"), ({"image_encoder": Unpicklable(encoder)}, "pickle")]:
        with pytest.raises((TypeError, ValueError), match=word):
            distributed.fit(client, blocks, LinearDiffusion(**parameters))
    with pytest.raises(TypeError, match="client"):
        distributed.fit(None, blocks, model)
    with pytest.raises(TypeError, match="LinearDiffusion"):
        distributed.fit(client, blocks, "model")
    assert not model.__sklearn_is_fitted__()


def test_blocks_that_change_are_refused(client, data, tmp_path):
    with pytest.raises(ValueError, match="the same each time"):
        distributed.fit(client, [functools.partial(longer, tmp_path, data)], LinearDiffusion(5, n_styles=2))


@pytest.mark.parametrize(
    "call", ["fit", "partial_fit", "encode", "classify", "score_samples", "inpaint", "predict"]
)
def test_arrays_of_dask_are_not_computed_silently(data, call):
    def fail(block):
        raise AssertionError("computed")

    prompts = dask.array.from_array(data[0])
    images = dask.array.from_array(data[1]).map_blocks(fail, dtype=float, meta=np.empty((0, 0, 0)))
    model = LinearDiffusion(5).fit(*data)
    arguments = {"fit": (data[0], images), "partial_fit": (list(data[0]), images), "predict": (prompts,)}
    mask = {"mask": np.zeros((6, 7), bool)} if call == "inpaint" else {}
    with pytest.raises(TypeError, match=r"distributed\.fit.*in_batches.*compute\(\)"):
        getattr(model, call)(*arguments.get(call, (images,)), **mask)
    with pytest.raises(TypeError, match="Dask"):
        LinearDiffusion(5).fit(*data, sample_weight=dask.array.ones(300))
    lazy = dask.array.from_array(data[1])
    assert_alike(LinearDiffusion(5).fit_batches(in_batches(prompts, lazy, batch_size=90)), model)


def test_a_worker_that_is_killed_changes_nothing(client, data, tmp_path):
    """The nanny restarts it, and its blocks are read again."""
    client.wait_for_workers(2)
    blocks = [functools.partial(slow, tmp_path, block) for block in cut(*data, size=30)]
    workers, victim = set(client.run(os.getpid).values()), []

    def kill():
        while True:
            seen = {int(path.name.split("-")[0]) for path in tmp_path.iterdir()}
            if len(list(tmp_path.iterdir())) > 5 and seen & workers:
                victim.append(seen & workers)
                os.kill(min(victim[0]), signal.SIGKILL)
                return
            time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = distributed.fit(client, blocks, LinearDiffusion(12, n_styles=2))
    killer.join(1)
    assert_alike(found, LinearDiffusion(12, n_styles=2).fit(*data))
    assert min(victim[0]) in workers
    assert len(list(tmp_path.iterdir())) > 1 + 2 * len(blocks)  # some were read once more
    client.wait_for_workers(2, timeout=20)
    assert set(client.run(os.getpid).values()) != workers
