"""Fitting batch by batch: the same model as at once, in every form of batches, after every interruption."""

import copy
import itertools

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from lineardiffusion import LinearDiffusion, streaming, training
from lineardiffusion.datasets import in_batches
from lineardiffusion.statistics import sample as sampling
from lineardiffusion.statistics import source
from lineardiffusion.statistics.sample import Sample

WORDS = {"text_encoder": "words", "n_styles": 2}
SETTINGS = [{}, {"contrast": "histogram", "scale": True}, {"n_styles": 3, "contrast": "affine"}, WORDS]
# of 72 prompts in 8 components: joint moments of 3 x 9 entries squared fit, a matrix a prompt does not
JOINT = {"text_encoder": CountVectorizer(max_features=2), "n_components": 8, "max_memory": 8000}


@pytest.fixture(scope="module")
def data():
    """1,200 images of 6 x 5 bytes under 6 prompts of two words, in any order."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0] * 60 / np.arange(1, 31)[:, None]
    labels = rng.integers(0, 6, 1200)
    names = np.array([f"{a} {b}" for a in ("big", "small") for b in ("cat", "dog", "cow")])
    means = rng.normal(size=(6, 30)) * 8
    humps = rng.integers(0, 2, 1200)[:, None] * rng.normal(size=30) * 9
    rows = 128 + means[labels] + humps + rng.normal(size=(1200, 30)) @ basis
    return names[labels].tolist(), np.clip(rows, 0, 255).astype(np.uint8).reshape(-1, 6, 5)


@pytest.fixture(scope="module")
def many_prompts(data):
    return [f"{prompt} {i % 12}" for i, prompt in enumerate(data[0])], data[1]


@pytest.fixture
def small_buffers(monkeypatch):
    """Buffers of 200 images, and large images from 20 pixels on that start from a sample of 50."""
    monkeypatch.setattr(streaming, "BYTES", 200 * 30)
    monkeypatch.setattr(source, "BYTES", 330 * 30)
    monkeypatch.setattr(source, "SAMPLE", 50)


def large(monkeypatch):
    monkeypatch.setattr(training, "LARGE", 20)


def assert_same(ld, other, atol=1e-4):
    prompts = other.prompts_.tolist()
    np.testing.assert_allclose(ld.predict(prompts * 3, seed=1), other.predict(prompts * 3, seed=1), atol=atol)
    if hasattr(other.statistics_.moments, "weight"):
        np.testing.assert_allclose(ld.prompt_prior_, other.prompt_prior_)


@pytest.mark.parametrize("size", [7, 64, 500])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_batches_are_the_whole(data, small_buffers, settings, size):
    ld = LinearDiffusion(**settings).fit_batches(in_batches(*data, batch_size=size))
    assert_same(ld, LinearDiffusion(**settings).fit(*data))
    fewer = LinearDiffusion(**settings).fit(data[0][:1100], data[1][:1100])  # control: without the last batches
    with pytest.raises(AssertionError):
        assert_same(ld, fewer)


def test_batches_with_joint_moments_are_the_whole(many_prompts, small_buffers):
    ld = LinearDiffusion(**JOINT).fit_batches(in_batches(*many_prompts, batch_size=50))
    assert ld.statistics_.moments.matrix.shape == (3, 9, 3, 9)
    assert_same(ld, LinearDiffusion(**JOINT).fit(*many_prompts))


@pytest.mark.parametrize("settings", [{}, {"n_styles": 3}, {"n_components": 0.8, "contrast": "histogram"}], ids=str)
def test_batches_of_large_images_are_the_whole(data, small_buffers, monkeypatch, settings):
    """The sample that the components start from differs, so to the tolerance only."""
    whole = LinearDiffusion(**{"n_components": 8, **settings}).fit(*data)
    large(monkeypatch)
    ld = LinearDiffusion(**{"n_components": 8, **settings}, basis_tolerance=1e-10)
    assert ld.fit_batches(in_batches(*data, batch_size=64)).statistics_.encoder is not None
    assert_same(ld, whole, 0.1)


def test_weights_and_embeddings(data, small_buffers):
    prompts, images = data
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 1200)
    ld = LinearDiffusion(n_styles=2).fit_batches(in_batches(prompts, images, weight, batch_size=90))
    assert_same(ld, LinearDiffusion(n_styles=2).fit(prompts, images, weight))
    embeddings = np.random.default_rng(2).normal(size=(1200, 3))
    ld = LinearDiffusion().fit_batches(in_batches(embeddings, images, batch_size=90))
    whole = LinearDiffusion().fit(embeddings, images)
    assert ld.n_features_in_ == 3
    np.testing.assert_allclose(ld.predict(embeddings[:5], seed=0), whole.predict(embeddings[:5], seed=0), atol=1e-6)


# ---------------------------------------------------------------------- forms of batches


class Tensor:
    """What a tensor of another library has."""

    def __init__(self, array):
        self.array = array

    def numpy(self):
        return self.array

    def __len__(self):
        return len(self.array)


class Column:
    def __init__(self, dtype=None, names=None):
        self.dtype, self.names = dtype, names


class ClassLabel(Column):
    pass


class Image(Column):
    pass


class Dataset:
    """What a dataset of the Hugging Face library has."""

    def __init__(self, names, prompts, images):
        self.features = {"image": Image(), "label": ClassLabel("int64", names), "index": Column("int64")}
        self.labels, self.images = [names.index(one) for one in prompts], images

    def __iter__(self):
        raise AssertionError("row by row")

    def iter(self, batch_size):
        for start in range(0, len(self.images), batch_size):
            block = slice(start, start + batch_size)
            yield {"image": list(self.images[block]), "label": self.labels[block], "index": []}


def test_every_form_of_batches(data, tmp_path):
    prompts, images = data
    whole = LinearDiffusion().fit(prompts, images)
    pairs = [(prompts[i : i + 300], images[i : i + 300]) for i in range(0, 1200, 300)]
    files = [tmp_path / f"{i}.npz" for i in range(4)]
    for path, (p, x) in zip(files, pairs, strict=True):
        np.savez(path, labels=np.array(p), images=x)
    names = sorted(set(prompts), reverse=True)
    forms = {
        "list": pairs,
        "function": lambda: iter(pairs),
        "dicts": [{"prompt": p, "image": x} for p, x in pairs],
        "files": files,
        "tensors": [[p, Tensor(x)] for p, x in pairs],
        "dataset": Dataset(names, prompts, images),
        "in_batches": in_batches(np.array(prompts), images, batch_size=250),
    }
    for form in forms.values():
        assert_same(LinearDiffusion().fit_batches(form), whole, 1e-9)
    assert len(in_batches(prompts, images, batch_size=250)) == 5
    assert in_batches(prompts, images, batch_size=250)[1:3][0][0] == prompts[250:500]


def test_what_is_no_batches(data):
    prompts, images = data
    pair = (prompts, images)
    refused = [
        (TypeError, "function", iter([pair])),
        (TypeError, "function", (pair for _ in range(3))),
        (TypeError, "iterable", "mnist"),
        (TypeError, "each batch", [3]),
        (TypeError, "each batch", [(prompts, images, None, None)]),
        (ValueError, "no batches", []),
        (ValueError, "shape", [pair, (prompts, images[:, :3])]),
        (ValueError, "embeddings", [pair, (np.ones((1200, 2)), images)]),
        (ValueError, "entries", [(np.ones((1200, k)), images) for k in (2, 3)]),
        (ValueError, "no images", [{"label": prompts, "pixels": images}]),
        (ValueError, "npz", ["pictures/cat.png"]),
        (ValueError, "NaN", [pair, (prompts, np.where(images > 200, np.nan, images))]),
    ]
    ld = LinearDiffusion().fit(prompts, images)
    before = ld.predict(["big cat"], seed=0)
    for error, match, batches in refused:
        with pytest.raises(error, match=match):
            ld.fit_batches(batches)
        with pytest.raises(error, match=match):
            LinearDiffusion().fit_batches(batches)
    np.testing.assert_array_equal(ld.predict(["big cat"], seed=0), before)
    with pytest.raises(ValueError, match="em"):
        LinearDiffusion(missing="em").fit_batches([pair])
    with pytest.raises(ValueError, match="as many"):
        in_batches(prompts, images[1:])


def test_labels_that_are_none_and_datasets_without_features(data):
    prompts, images = data
    names = sorted(set(prompts))
    dataset = Dataset(names, prompts, images)
    for odd in (-1, None, 6):
        dataset.labels[1100] = odd
        with pytest.raises(ValueError, match="no label"):
            LinearDiffusion().fit_batches(dataset)
    dicts = [{"label": prompts[i : i + 400], "image": images[i : i + 400]} for i in (0, 400, 800)]

    class Unknown(list):
        features = None

        def iter(self, batch_size):
            raise AssertionError("its columns are not known")

    whole = LinearDiffusion().fit(prompts, images)
    assert_same(LinearDiffusion().fit_batches(Unknown(dicts)), whole, 1e-9)


def test_a_file_that_is_no_batch_is_named(data, tmp_path):
    prompts, images = data
    path = tmp_path / "part.npz"
    np.savez(path, prompts=np.array(prompts, dtype=object), images=images)
    with pytest.raises(ValueError, match=r"part\.npz.*pickled"):
        LinearDiffusion().fit_batches([path])
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"part\.npz"):
        LinearDiffusion().fit_batches([path])
    with pytest.raises(TypeError, match="in_batches"):
        LinearDiffusion().fit_batches((prompts, images))
    with pytest.raises(TypeError, match="progress"):
        LinearDiffusion().fit_batches([(prompts, images)], progress=True)


def test_batches_without_images_are_left_out_and_errors_name_the_batch(data):
    prompts, images = data
    batches = [
        ([], []),
        (prompts[:700], images[:700]),
        (prompts[:9], images[:9], np.zeros(9)),
        (prompts[700:], images[700:]),
    ]
    assert_same(LinearDiffusion().fit_batches(batches), LinearDiffusion().fit(prompts, images), 1e-9)
    with pytest.raises(ValueError, match="shape") as caught:
        LinearDiffusion().fit_batches([*batches, (prompts, images[:, :2])])
    assert "batch 4" in caught.value.__notes__[0]
    black = [
        (["a"] * 3, np.zeros((3, 2, 2), np.float32)),
        (["a"] * 9, np.random.default_rng(0).random((9, 2, 2), np.float32)),
    ]
    assert LinearDiffusion().fit_batches(black).pixel_dtype_ == np.float32


def test_batches_that_differ_from_pass_to_pass_are_refused(data):
    prompts, images = data
    for sizes in ([1200, 0], [1200, 900]):
        ends = iter(sizes)

        def batches(ends=ends):
            end = next(ends)
            return iter([(prompts[:end], images[:end])] if end else [])

        with pytest.raises(ValueError, match="same"):
            LinearDiffusion(n_styles=2).fit_batches(batches)


def test_progress(data, small_buffers):
    seen = []
    LinearDiffusion(n_styles=2).fit_batches(in_batches(*data, batch_size=50), progress=lambda *at: seen.append(at))
    assert seen == sorted(seen)
    assert [at for at in seen if at[1] == 1200] == [(1, 1200), (2, 1200)]
    assert len(seen) > 10


# ---------------------------------------------------------------------- checkpoints


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    "settings",
    [
        {"n_styles": 2},
        {"n_components": 5, "contrast": "histogram"},
        {"n_components": 5, "n_styles": 2, "contrast": "pixelwise"},
    ],
    ids=str,
)
def test_a_stopped_fit_goes_on(data, small_buffers, monkeypatch, tmp_path, settings):
    """Stopped again and again, in each pass; the model is bit for bit that of a fit that was not stopped."""
    if "n_components" in settings:
        large(monkeypatch)
    monkeypatch.setattr(training, "CENTRED_ON", 100)  # a sample and a count of styles are two passes
    path, batches = tmp_path / "fit.safetensors", in_batches(*data, batch_size=40)
    how = {"checkpoint": path, "checkpoint_every": 5}
    whole = LinearDiffusion(**settings).fit_batches(batches, **how)
    assert not path.exists()
    work, stops, passes = 0, 0, set()
    while True:
        calls = []

        def progress(number, images, calls=calls):
            calls.append((number, images))
            if len(calls) == 12:
                raise Stop

        ld = LinearDiffusion(**settings)
        try:
            ld.fit_batches(batches, progress=progress, **how)
        except Stop:
            stops += 1
        work += len(calls)
        passes |= {number for number, _ in calls}
        if hasattr(ld, "statistics_"):
            break
    n_passes = max(passes)
    assert n_passes >= 3
    assert stops >= n_passes
    assert work <= 30 * n_passes + 7 * stops  # of 30 batches a pass, what was saved is not done again
    np.testing.assert_array_equal(ld.predict(["big cat"] * 9, seed=0), whole.predict(["big cat"] * 9, seed=0))
    assert not path.exists()


def test_a_checkpoint_knows_all_the_data(data, small_buffers, tmp_path):
    """Other prompts, weights or later images are no data to go on with; another cut of the same ones is."""
    prompts, images = data
    path, weight = tmp_path / "fit.safetensors", np.ones(1200)

    def fit(batches, limit=(3, 0)):
        def stop(number, images):
            if (number, images) > limit:
                raise Stop

        return LinearDiffusion(n_styles=2).fit_batches(batches, progress=stop, checkpoint=path, checkpoint_every=3)

    whole = LinearDiffusion(n_styles=2).fit(prompts, images)
    other = images.copy()
    other[100] = 255 - other[100]
    swapped = np.r_[:150, 151, 150, 152:1200]
    for odd in (
        (["a yak", *prompts[1:]], images),
        (prompts, images, np.where(np.arange(1200) == 70, 2.0, weight)),
        (prompts, other),
        ([prompts[i] for i in swapped], images[swapped]),
        (prompts[:560], images[:560]),  # fewer than were summed up
    ):
        with pytest.raises(Stop):
            fit(in_batches(prompts, images, weight, batch_size=40), (1, 700))
        with pytest.raises(ValueError, match="other data"):
            fit(in_batches(*odd, batch_size=40))
        same = fit(in_batches(prompts, images, batch_size=70))  # weights of 1
        np.testing.assert_allclose(same.predict(["big cat"] * 9, 0), whole.predict(["big cat"] * 9, 0), atol=1e-4)
    with pytest.raises(Stop):
        fit(in_batches(prompts, images, batch_size=40), (2, 700))
    late = images.copy()
    late[1195] = 0
    with pytest.raises(ValueError, match="other data"):  # fewer images than were summed up
        fit(in_batches(prompts[:400], images[:400], batch_size=40))
    with pytest.raises(ValueError, match="same"):  # which pass 1 has read
        fit(in_batches(prompts, late, batch_size=40))


def test_a_checkpoint_of_something_else_is_refused(data, small_buffers, tmp_path):
    path, batches = tmp_path / "fit.safetensors", in_batches(*data, batch_size=40)

    def stop(number, images):
        if images > 600:
            raise Stop

    def begin():
        with pytest.raises(Stop):
            LinearDiffusion().fit_batches(batches, progress=stop, checkpoint=path, checkpoint_every=2)

    begin()
    shuffled = in_batches(data[0][::-1], data[1][::-1], batch_size=40)
    for ld, other in ((LinearDiffusion(7), batches), (LinearDiffusion(), shuffled)):
        with pytest.raises(ValueError, match="other"):
            ld.fit_batches(other, checkpoint=path)
    content = path.read_bytes()
    for odd in (content[:100], content[:-10], b"", b"{}"):
        path.write_bytes(odd)
        with pytest.raises(ValueError, match="checkpoint"):
            LinearDiffusion().fit_batches(batches, checkpoint=path)
    for odd in (tmp_path / "nowhere" / "c.safetensors", tmp_path):
        with pytest.raises(OSError, match="checkpoint"):
            LinearDiffusion().fit_batches(lambda: pytest.fail("read"), checkpoint=odd)
    styles = LinearDiffusion(n_styles=2, random_state=np.random.RandomState(0))
    with pytest.raises(ValueError, match="random_state"):
        styles.fit_batches(batches, checkpoint=tmp_path / "d.safetensors")

    class Linear:
        def encode(self, images):
            return images.reshape(len(images), -1)[:, :4] / 255.0

        def decode(self, latents):
            return latents

    with pytest.raises(ValueError, match="linear"):
        LinearDiffusion(image_encoder=Linear()).fit_batches(batches, checkpoint=path)


# ---------------------------------------------------------------------- a basis that is fixed first


def test_a_stream_of_latents_knows_the_pixels_of_all_images(data):
    """Residual, brightness and law are those of all images, not of the few that gave the components."""
    prompts, images = data
    bright = (np.arange(1200) >= 200) * 40
    rows = np.clip(images.reshape(1200, 30) + bright[:, None], 0, 255).astype(np.uint8)
    images = rows.reshape(images.shape)
    empty = LinearDiffusion(6, contrast="affine").fit_basis(images[:200])
    encoder = empty.image_encoder_
    one, other = copy.deepcopy(empty), copy.deepcopy(empty)
    for start in range(0, 1200, 100):
        (one if start < 700 else other).partial_fit(prompts[start : start + 100], images[start : start + 100])
    merged = one.merge(other)
    given = LinearDiffusion(image_encoder=encoder, contrast="affine").fit(prompts, images)
    for ld in (merged, given):
        found, x = ld.image_encoder_, rows - encoder.mean
        outside = x - x @ encoder.components.T @ encoder.components
        moved = outside.mean(axis=0) * (ld is merged)  # a given encoder keeps its mean image
        np.testing.assert_allclose(found.residual_variance, ((outside - moved) ** 2).sum() / 1200 / 24, rtol=1e-9)
        np.testing.assert_allclose(found.mean, encoder.mean + moved, rtol=1e-9)
        np.testing.assert_allclose(found.encode(images), encoder.encode(images), atol=1e-9)
        np.testing.assert_allclose(found.variance, (x @ encoder.components.T).var(axis=0), rtol=1e-9)
        np.testing.assert_array_equal(found.components, encoder.components)
        assert abs(found.residual_variance / encoder.residual_variance - 1) > 0.02  # control: that of the 200
        drawn = ld.predict(prompts * 3, seed=0)
        assert drawn.mean() == pytest.approx(rows.mean(), abs=0.5)
        assert drawn.std() == pytest.approx(rows.std(), abs=0.5)
    z = np.eye(1, 6)
    np.testing.assert_allclose(merged.law("big cat").mean, given.law("big cat").mean, atol=1e-9)
    assert np.abs(merged.decode(z) - given.decode(z)).max() > 1
    kept = given.forget(prompts[:300], images[:300]).image_encoder_
    fresh = LinearDiffusion(image_encoder=encoder).fit(prompts[300:], images[300:]).image_encoder_
    np.testing.assert_allclose(kept.residual_variance, fresh.residual_variance, rtol=1e-9)


def test_a_model_of_latents_goes_on(data, monkeypatch, tmp_path):
    prompts, images = data
    large(monkeypatch)
    ld = LinearDiffusion(6).fit(prompts[:700], images[:700])
    encoder = ld.image_encoder_
    ld.save_pretrained(tmp_path)
    ld = LinearDiffusion.from_pretrained(tmp_path).partial_fit(prompts[700:], images[700:])
    whole = LinearDiffusion(6).fit_basis(images[:700]).partial_fit(prompts, images)
    np.testing.assert_array_equal(whole.components_, encoder.components)
    np.testing.assert_allclose(ld.predict(["small cow"], 0), whole.predict(["small cow"], 0), atol=1e-4)
    np.testing.assert_allclose(ld.score_samples(images[:5]), whole.score_samples(images[:5]), rtol=1e-6)
    with pytest.raises(ValueError, match="n_components"):
        ld.set_params(n_components=5).partial_fit(prompts, images)
    with pytest.raises(ValueError, match="new model"):
        ld.fit_basis(images)
    with pytest.raises(ValueError, match="image_encoder"):
        LinearDiffusion(image_encoder=encoder).fit_basis(images)
    with pytest.raises(ValueError, match="em"):
        LinearDiffusion(missing="em").fit_basis(images)
    for way in ("fit", "fit_batches"):
        started = LinearDiffusion(6).fit_basis(images[:300])
        encoder = started.image_encoder_
        with pytest.raises(ValueError, match="fit_basis"):
            started.set_params(n_components=5).fit(prompts, images)
        started.set_params(n_components=6)
        started.fit(prompts, images) if way == "fit" else started.fit_batches([(prompts, images)])
        np.testing.assert_array_equal(started.image_encoder_.components, encoder.components)
        assert not np.allclose(started.fit(prompts, images).components_, encoder.components)  # anew


def test_joint_moments_go_on(many_prompts):
    prompts, images = many_prompts
    part = LinearDiffusion(**JOINT).fit(prompts[:600], images[:600])
    given = LinearDiffusion(**JOINT, image_encoder=part.image_encoder_).fit(prompts, images)
    part.partial_fit(prompts[600:], images[600:])
    for prompt in prompts[:3]:
        np.testing.assert_allclose(part.law(prompt).mean, given.law(prompt).mean, atol=1e-7)
        np.testing.assert_allclose(part.law(prompt).covariance, given.law(prompt).covariance, atol=1e-7)
    with pytest.raises(ValueError, match="new"):
        part.partial_fit(["a yak"] * 5, images[:5])


# ---------------------------------------------------------------------- the sample of styles


def test_a_sample_does_not_depend_on_the_batches():
    rng = np.random.default_rng(3)
    rows, prompts = rng.integers(0, 256, (900, 12)).astype(np.uint8), rng.integers(0, 3, 900)
    latents, weight = rows[:, :4].astype(np.float32), rng.uniform(size=900)

    def of(where):
        return Sample.of(rows[where], latents[where], prompts[where], weight[where], 50)

    whole = of(np.arange(900))
    assert np.bincount(whole.prompts).tolist() == [50, 50, 50]
    assert not whole.is_whole
    for edges in ([100, 101, 500], [450], range(10, 900, 10)):
        parts = list(map(of, np.split(np.arange(900), edges)))
        total = sum(parts[1:], start=parts[0])
        for name in ("latents", "prompts", "keys", "sample_weight"):
            np.testing.assert_array_equal(getattr(total, name), getattr(whole, name))
        assert total.seen == 900
    # random: each tenth of the data has its share, and not the first or the brightest
    place = np.searchsorted(np.arange(900), [np.flatnonzero((latents == z).all(axis=1))[0] for z in whole.latents])
    assert np.bincount(place // 90, minlength=10).max() <= 30
    brightness = np.mean(rows[place].mean(axis=1)) - rows.mean()
    assert abs(brightness) < 4 * rows.mean(axis=1).std() / np.sqrt(150)
    assert len(np.unique(sampling._keys(rows))) == 900
    assert of(np.arange(40)).is_whole


def test_products_of_styles_and_prompts_need_no_second_pass_when_all_is_sampled(data, monkeypatch):
    count, calls = itertools.count(), []
    monkeypatch.setattr(training, "_count_styles", lambda *how, **named: calls.append(next(count)))
    LinearDiffusion(n_styles=2).fit(*data)
    assert not calls
