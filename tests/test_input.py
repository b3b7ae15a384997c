"""What users give: other containers and units of the same data give the same model, or are refused with advice."""

import copy
import enum
import warnings

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion, Statistics, metrics, operators
from lineardiffusion.datasets import load_digits

DIGITS, PIXELS = load_digits()
NAMES, IMAGES = [str(name) for name in DIGITS[:200]], PIXELS[:200].astype(np.float32)
LABELS = np.array(list(map(int, NAMES)))
K = enum.Enum("K", {f"digit_{i}": str(i) for i in range(10)}, type=str)
N = enum.IntEnum("N", {f"digit_{i}": i for i in range(10)})


class Tensor:
    """A tensor as torch's: an array that is not numpy's, and whose items are tensors."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.ndim, self.shape = self.values.ndim, self.values.shape

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return map(Tensor, self.values)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)

    def item(self):
        return self.values.item()


class OnlyNumpy:
    def __init__(self, values):
        self.numpy = lambda: values


class DataLoader:
    """A loader as torch's, of batches of tensors."""

    def __len__(self):
        return 2

    def __iter__(self):
        for part in (slice(0, 90), slice(90, 200)):
            yield [Tensor(LABELS[part]), Tensor(IMAGES[part])]


class Dataset:
    """A data set as that of the package datasets: columns, and batches that are dicts."""

    def __len__(self):
        return 200

    def iter(self, batch_size):
        for start in range(0, 200, batch_size):
            part = slice(start, start + batch_size)
            yield {"label": LABELS[part].tolist(), "image": list(IMAGES[part])}


class MapDataset(type("Dataset", (), {})):
    """A data set as torch's, of single pairs."""

    def __len__(self):
        return 200

    def __getitem__(self, i):
        return LABELS[i], IMAGES[i]


@pytest.fixture(scope="module")
def ld():
    return LinearDiffusion(10).fit(NAMES, IMAGES)


def same(model, other, prompts=("3", "8")):
    return np.allclose(model.predict(list(prompts), seed=0), other.predict(["3", "8"], seed=0), atol=1e-4)


# ---------------------------------------------------------------------- prompts

CONTAINERS = {
    "ints": lambda pd: LABELS.tolist(),
    "bytes": lambda pd: LABELS.astype(np.uint8),
    "other byte order": lambda pd: LABELS.astype(">i2"),
    "tensor": lambda pd: Tensor(LABELS),
    "list of tensors": lambda pd: [Tensor(one) for one in LABELS],
    "object with numpy()": lambda pd: OnlyNumpy(LABELS),
    "IntEnum": lambda pd: [N(one) for one in LABELS],
    "Enum": lambda pd: [K(one) for one in NAMES],
    "array of Enum": lambda pd: np.array([K(one) for one in NAMES], dtype=object),
    "column": lambda pd: np.array(NAMES)[:, None],
    "column of objects": lambda pd: np.array(NAMES, dtype=object)[:, None],
    "lists of one": lambda pd: [[one] for one in NAMES],
    "matrix": lambda pd: np.asmatrix(NAMES).T,
    "masked array without a mask": lambda pd: np.ma.array(NAMES),
    "StringDType": lambda pd: np.array(NAMES, dtype=np.dtypes.StringDType()),
    "frame": lambda pd: pd.DataFrame({"label": NAMES}, index=np.arange(200)[::-1]),
    "frame of categories": lambda pd: pd.DataFrame({"label": pd.Categorical(NAMES)}),
    "series": lambda pd: pd.Series(LABELS, index=np.arange(200)[::-1]),
    "nullable": lambda pd: pd.Series(LABELS, dtype="Int64"),
    "categorical": lambda pd: pd.Categorical(NAMES),
    "categories of ints": lambda pd: pd.Series(LABELS).astype("category"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_prompts_in_other_containers_are_the_same_prompts(ld, name):
    pandas = pytest.importorskip("pandas") if name in list(CONTAINERS)[-6:] else None
    given = CONTAINERS[name](pandas)
    model = LinearDiffusion(10).fit(given, IMAGES)
    np.testing.assert_array_equal(model.predict(["3", "8"], seed=0), ld.predict(["3", "8"], seed=0))
    assert model.prompts_.tolist() == ld.prompts_.tolist()
    np.testing.assert_array_equal(ld.predict(given, seed=0), ld.predict(NAMES, seed=0))


def test_one_column_of_floats_is_an_embedding():  # the control of the columns above
    model = LinearDiffusion(10).fit(LABELS[:, None].astype(float), IMAGES)
    assert model.n_features_in_ == 1
    assert not hasattr(model, "prompts_")


def test_integers_are_labels_everywhere(ld):
    three, eight, few = IMAGES[NAMES.index("3")][None], {"3": 0.5, "8": 0.5}, LABELS[:3]
    holes = np.where(np.arange(8) > 5, np.nan, IMAGES[:3])
    guided = {"guidance_scale": 2.0}

    def both(call, given, strings):
        np.testing.assert_array_equal(call(given), call(strings))

    both(lambda q: ld.predict([q], 0), {3: 0.5, 8: 0.5}, eight)
    both(lambda q: ld.predict([q], 0), {K("3"): 0.5, K("8"): 0.5}, eight)
    both(lambda q: ld.predict(["3"], 0, negative_prompt=q, **guided), 8, "8")
    both(lambda q: ld.predict(["3"], 0, negative_prompt=q, **guided), K("8"), "8")
    both(lambda q: ld.predict(["3"], 0, negative_prompt=q, **guided), {np.int8(8): 2.0}, "8")
    for one in (3, np.int64(3), Tensor(3), K("3"), N(3)):
        both(lambda q: ld.law(q).mean, one, "3")
        both(lambda q: ld.affine(q)[1], one, "3")
    both(lambda q: ld.law(q).mean, {3: 0.5, 8: 0.5}, eight)
    both(lambda q: ld.denoise(q, three, 1.0), [3], ["3"])
    both(lambda q: ld.invert(q, three), [3], ["3"])
    both(lambda q: ld.score_samples(three, q), [3], ["3"])
    both(lambda q: ld.score(q, IMAGES), LABELS, NAMES)
    both(lambda q: ld.inpaint(holes, None, q, 0, 2, return_prompts=True)[1], few, NAMES[:3])
    both(lambda q: ld.restore(IMAGES[:3].reshape(3, -1), np.eye(64), 1.0, q, 0), few, NAMES[:3])
    both(lambda q: Statistics.of(q, IMAGES).moments.mean, LABELS, NAMES)
    both(lambda q: metrics.prompt_fidelity(ld, q, IMAGES), LABELS, NAMES)
    both(lambda q: copy.deepcopy(ld).forget(q, IMAGES[150:]).predict(["3"], 0), LABELS[150:], NAMES[150:])
    both(lambda q: copy.deepcopy(ld).calibrate(q, IMAGES, np.eye(8) < 1).temperature_, LABELS, NAMES)
    both(lambda q: metrics.fit_classifier(q, IMAGES).classes_, LABELS, NAMES)
    stream = LinearDiffusion(10).partial_fit(LABELS[:90], IMAGES[:90]).partial_fit(NAMES[90:], IMAGES[90:])
    assert same(stream, ld, [3, 8])
    assert not same(stream, ld, [8, 3])
    assert set(stream.classify(IMAGES)) <= set(NAMES)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (np.ma.array(LABELS, mask=LABELS == 3), "masked"),
        ([np.ma.masked, *NAMES[1:]], "masked"),
        (LABELS.astype(float), "integers"),
        (LABELS > 4, "integers"),
        ([*LABELS[1:].tolist(), "3"], "among"),
        ([None, *NAMES[1:]], "among"),
        ([1.5, *LABELS[1:].tolist()], "among"),
        ([None] * 200, "None"),
        (LABELS + 1j, "integers"),
        (np.full(200, "2020-01-01", "M8[ns]"), "datetime"),
        (np.ones(200, "m8[ns]"), "timedelta"),
        (np.array(NAMES, "S")[:, None], "bytes"),
        (["a", "a\0"] * 100, "NUL"),
        (np.array([NAMES, NAMES]).T, "one list"),
        (list(IMAGES), "prompts come first"),
        (IMAGES.reshape(200, -1), "prompts come first"),
    ],
)
def test_prompts_that_are_refused(prompts, message):
    with pytest.raises(ValueError, match=message):
        LinearDiffusion(10).fit(prompts, LABELS if message == "prompts come first" else IMAGES)


@pytest.mark.parametrize("prompts", [set(NAMES), {"3": 1.0}, np.array("3"), np.int64(3)])
def test_prompts_without_an_order(ld, prompts):
    with pytest.raises(TypeError, match="list of strings"):
        ld.predict(prompts)


def test_a_frame_of_one_column_of_integers_is_refused_and_both_advices_hold(ld):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"label": LABELS})
    with pytest.raises(ValueError, match="column"):
        LinearDiffusion(10).fit(frame, IMAGES)
    assert same(LinearDiffusion(10).fit(frame["label"], IMAGES), ld)
    assert list(LinearDiffusion(10).fit(frame.astype(float), IMAGES).feature_names_in_) == ["label"]


def test_the_advice_for_floats_and_bools_holds(ld):
    floats = LABELS.astype(float)
    assert LinearDiffusion(10).fit([str(label) for label in floats], IMAGES).prompts_[3] == "3.0"
    assert list(LinearDiffusion(10).fit([str(one) for one in LABELS > 4], IMAGES).prompts_) == ["False", "True"]
    assert same(LinearDiffusion(10).fit(floats.astype(int), IMAGES), ld)


# ---------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("data", "call"),
    [
        (DataLoader(), r"fit_batches\(loader\)"),
        (Dataset(), r"fit_batches\(dataset\)"),
        (MapDataset(), "DataLoader"),
        ([(NAMES[:90], IMAGES[:90]), (NAMES[90:], IMAGES[90:])], "zip"),
        (list(DataLoader()), "zip"),
        (list(zip(NAMES, IMAGES, strict=True)), "zip"),
        (iter(DataLoader()), r"fit_batches\(batches\)"),
    ],
)
def test_batches_are_refused_with_the_call_to_write(data, call):
    for fit in (LinearDiffusion().fit, LinearDiffusion().partial_fit):
        with pytest.raises(TypeError, match=call):
            fit(data)
    if not isinstance(data, list):
        with pytest.raises(TypeError, match=call):
            LinearDiffusion().fit(NAMES, data)


def test_the_calls_that_the_errors_name(ld):
    loader, pairs = DataLoader(), list(zip(NAMES, IMAGES, strict=True))
    batches = iter(loader)
    with pytest.raises(TypeError):
        LinearDiffusion(10).fit(batches)  # takes nothing away from the batches
    with pytest.raises(ValueError, match="same"):
        LinearDiffusion(10, n_styles=2).fit_batches(lambda: batches)  # which can be read once
    assert same(LinearDiffusion(10).fit_batches(loader), ld)
    assert same(LinearDiffusion(10).fit_batches(lambda: ((y, x) for y, x in loader)), ld)
    assert same(LinearDiffusion(10).fit_batches(list(loader)), ld)
    assert same(LinearDiffusion(10).fit(*zip(*pairs, strict=True)), ld)


# ---------------------------------------------------------------------- images


@pytest.mark.parametrize("dtype", [">f4", ">f2", ">f8", ">u2", ">i4", np.longdouble, bool])
def test_the_type_of_the_pixels_is_a_native_one_of_the_same_kind(tmp_path, dtype):
    given = IMAGES.astype(dtype)
    model = LinearDiffusion(10).fit(NAMES, given)
    drawn = model.predict(["3"], seed=0)
    native = IMAGES.astype(np.dtype(dtype).newbyteorder("=") if dtype is not np.longdouble else np.float64)
    expected = LinearDiffusion(10).fit(NAMES, native).predict(["3"], seed=0)
    np.testing.assert_array_equal(drawn, expected)
    assert drawn.dtype == expected.dtype
    model.save_pretrained(tmp_path)
    again = LinearDiffusion.from_pretrained(tmp_path).predict(["3"], seed=0)
    np.testing.assert_array_equal(again, drawn)
    assert again.dtype == drawn.dtype


@pytest.mark.parametrize("name", ["tensor", "tensors", "numpy()", "object", "series", "read-only", "PIL"])
def test_images_in_other_containers_are_the_same_images(ld, name):
    from PIL import Image

    of_arrays = np.empty(200, dtype=object)
    of_arrays[:] = list(IMAGES)
    fixed = np.asfortranarray(IMAGES)
    fixed.flags.writeable = False
    given = {
        "tensor": lambda: Tensor(IMAGES),
        "tensors": lambda: [Tensor(one) for one in IMAGES],
        "numpy()": lambda: OnlyNumpy(IMAGES),
        "object": lambda: of_arrays,
        "series": lambda: pytest.importorskip("pandas").Series(list(IMAGES), index=np.arange(200)[::-1]),
        "read-only": lambda: fixed,
        "PIL": lambda: [Image.fromarray(one.astype(np.uint8)) for one in IMAGES],
    }[name]()
    assert same(LinearDiffusion(10).fit(NAMES, given), ld)


def test_a_palette_is_no_picture():
    from PIL import Image

    with pytest.raises(ValueError, match="palette"):
        LinearDiffusion(10).fit(NAMES, [Image.new("P", (8, 8))] * 200)


def test_masked_pixels_are_missing(ld):
    mask = np.zeros((3, 8, 8), bool)
    mask[:, 4:] = True
    far = np.where(mask, 200, IMAGES[:3]).astype(np.uint8)
    masked, nan = np.ma.array(far, mask=mask), np.where(mask, np.nan, IMAGES[:3])
    of_masked = np.empty(3, dtype=object)
    of_masked[:] = list(masked)
    for given in (masked, list(masked), of_masked):
        np.testing.assert_allclose(ld.score_samples(given), ld.score_samples(nan))
        np.testing.assert_allclose(ld.classify_proba(given), ld.classify_proba(nan))
        np.testing.assert_allclose(ld.inpaint(given, seed=0), ld.inpaint(nan, seed=0))
    assert not np.allclose(ld.score_samples(far), ld.score_samples(nan))


MASKED = np.ma.masked_greater(IMAGES, 14.0)
HIDDEN = np.ma.array(np.ones((200, 64)), mask=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: LinearDiffusion(5).fit(NAMES, MASKED),
        lambda m: LinearDiffusion(5).fit(NAMES, list(MASKED)),
        lambda m: LinearDiffusion(5).fit(NAMES, IMAGES, sample_weight=np.ma.array(LABELS, mask=LABELS == 3)),
        lambda m: LinearDiffusion(5).fit(HIDDEN, IMAGES),
        lambda m: Statistics.of(NAMES, MASKED),
        lambda m: m.denoise(NAMES, MASKED, 1.0),
        lambda m: m.invert(NAMES, MASKED),
        lambda m: m.encode(MASKED),
        lambda m: m.decode(HIDDEN[:, :10]),
        lambda m: m.predict(NAMES, start=MASKED),
        lambda m: m.predict(NAMES, latents=HIDDEN[:, :10]),
        lambda m: m.restore(HIDDEN, np.eye(64), 1.0),
        lambda m: m.restore(IMAGES.reshape(200, -1), HIDDEN[:64], 1.0),
        lambda m: m.inpaint(IMAGES, np.ma.array(np.zeros((8, 8), bool), mask=True)),
        lambda m: operators.masking(np.ma.array(np.zeros((8, 8), bool), mask=True)),
        lambda m: metrics.fit_classifier(NAMES, MASKED),
        lambda m: metrics.nearest(MASKED, IMAGES),
        lambda m: metrics.frechet_distance(HIDDEN, HIDDEN),
    ],
)
def test_masks_are_refused_elsewhere(ld, call):
    with pytest.raises(ValueError, match="masked"):
        call(ld)


# ---------------------------------------------------------------------- units

SETTINGS = [{}, {"scale": True}, {"n_styles": 2}, {"contrast": "affine"}, {"max_memory": 1e5}, {"missing": "em"}]
DOUBLE = IMAGES.astype(np.float64)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_model_does_not_depend_on_the_unit_of_the_pixels(settings):
    def figures(unit):
        gaps = np.random.default_rng(0).random(DOUBLE.shape) < 0.05 * ("missing" in settings)
        model = LinearDiffusion(10, **settings).fit(NAMES, np.where(gaps, np.nan, DOUBLE * unit))
        holes = np.where(np.arange(8) > 5, np.nan, DOUBLE[:5] * unit)
        drawn = model.predict(["3", "8"], 0), model.inpaint(holes, seed=0)
        score = model.score_samples(DOUBLE[:5] * unit) + 64 * np.log(unit)
        return np.concatenate(drawn) / unit, model.classify_proba(DOUBLE * unit), score

    expected = figures(1.0)
    for unit in (1e-58, 6e58):
        for found, one in zip(figures(unit), expected, strict=True):
            np.testing.assert_allclose(found, one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-300, 1e-161, 1e-62, 1e61, 1e148])
def test_pixels_out_of_range_are_refused(unit):
    with pytest.raises(ValueError, match="rescale"):
        LinearDiffusion(10).fit(NAMES, DOUBLE * unit)


@pytest.mark.parametrize("unit", [1e-8, 1e45])
def test_images_far_away_have_a_finite_answer_or_an_error(unit):
    model = LinearDiffusion(10).fit(NAMES, DOUBLE * unit)
    pair = DOUBLE[:2].reshape(2, -1)

    def answers(far):
        images = DOUBLE[:2] * unit * far
        yield lambda: model.classify_proba(images)
        yield lambda: model.score_samples(images)
        yield lambda: model.typicality(images)
        yield lambda: model.inpaint(images, np.eye(8, dtype=bool), seed=0)
        yield lambda: model.restore(pair * unit * far, np.eye(64), unit, seed=0)
        yield lambda: model.denoise(["3", "8"], images, unit)
        yield lambda: model.invert(["3", "8"], images)
        yield lambda: model.predict(["3", "8"], start=images)

    refused = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for far in (1e4, 1e9, 1e20, 1e100, 1e145):
            for i, answer in enumerate(answers(far)):
                try:
                    assert np.isfinite(answer()).all()
                except ValueError as error:
                    refused.append((far, i, str(error)))
    assert min(far for far, *_ in refused) == 1e20
    assert {i for far, i, _ in refused if far == 1e145} == set(range(8))


def test_one_pixel_far_away_does_not_hide_the_others(ld):
    hot = IMAGES[:50].astype(np.float64)
    expected = ld.classify_proba(hot)
    hot[:, 0, 0] = 1e9  # a corner that is the same in all images: every digit is as unlikely
    np.testing.assert_allclose(ld.classify_proba(hot), expected, atol=1e-6)


@pytest.mark.parametrize(("sigma", "clean"), [(1e-300, False), (1e300, True)])
@pytest.mark.parametrize("styles", [1, 2])
def test_noise_levels_of_any_size(sigma, clean, styles):
    model = LinearDiffusion(64, n_styles=styles).fit(NAMES, IMAGES)
    found = model.denoise(["3", "8"], IMAGES[:2], sigma)
    means = np.array([model.decode(model.law(f"{u}~0" if styles > 1 else u).mean) for u in (3, 8)])
    assert np.isfinite(found).all()
    assert np.allclose(found, means, atol=1e-3) == (clean and styles == 1)


def test_all_noise_and_no_measurement_leave_the_prior(ld):
    y, A = IMAGES[:3].reshape(3, -1).astype(np.float64), np.eye(64)
    found = ld.restore(y, A, 1e300, NAMES[:3], n_samples=0)
    means = np.array([ld.decode(ld.law(name).mean) for name in NAMES[:3]])
    np.testing.assert_allclose(found, means, atol=1e-4)
    assert np.isfinite(ld.restore(y, A, 1e300, seed=0)).all()


@pytest.mark.parametrize("settings", SETTINGS[:4], ids=str)
def test_a_model_does_not_depend_on_the_unit_of_the_weights(settings):
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 200)
    one, unweighted = (LinearDiffusion(10, **settings).fit(NAMES, IMAGES, w) for w in (weight, None))
    for unit in (1e-300, 1e-46, 1e38, 1e306):
        other = LinearDiffusion(10, **settings).fit(NAMES, IMAGES, weight * unit)
        np.testing.assert_allclose(other.predict(["3"], 0), one.predict(["3"], 0), atol=1e-4)
        np.testing.assert_allclose(other.prompt_prior_, one.prompt_prior_)
    assert not np.allclose(unweighted.predict(["3"], 0), one.predict(["3"], 0), atol=1e-2)


def test_a_prompt_of_negligible_weight_keeps_its_styles():
    few = np.where(LABELS == 3, 1e-46, 1.0)
    model = LinearDiffusion(10, n_styles=2).fit(NAMES, IMAGES, few)
    weight, _ = model.styles_["3"]
    assert weight.sum() == pytest.approx(1e-46 * (LABELS == 3).sum())
    assert (weight > 0).sum() == 2
    with pytest.raises(ValueError, match="of the largest"):
        LinearDiffusion(10, n_styles=2).fit(NAMES, IMAGES, np.where(LABELS == 3, 1e-200, 1.0))


# ---------------------------------------------------------------------- seeds


@pytest.mark.parametrize("styles", [1, 2])
def test_random_states(styles):
    def fit(random_state):
        return LinearDiffusion(5, n_styles=styles, random_state=random_state).fit(["a"] * 50, IMAGES[:50])

    for seed in (2**32 - 1, 2**32, 2**64, np.uint64(2**63)):
        model = fit(seed)
        np.testing.assert_array_equal(model.predict(["a"]), model.predict(["a"], int(seed)))
    assert fit(np.random.RandomState(3)).predict(["a"]).shape == (1, 8, 8)
    generator = np.random.default_rng(0)
    for seed in (-1, "a", 1.0, True, [1], np.random, generator):
        with pytest.raises(ValueError, match="random_state"):
            fit(seed)
    assert fit(int(generator.integers(2**31))).predict(["a"]).shape == (1, 8, 8)  # the advice


def test_a_loader_by_any_name_is_told_the_call():
    class Shards:
        def __len__(self):
            return 2

        def __iter__(self):
            yield from [(IMAGES[:10], NAMES[:10]), (IMAGES[10:], NAMES[10:])]

    for arguments in ((Shards(),), (NAMES, Shards())):
        with pytest.raises(TypeError, match="fit_batches"):
            LinearDiffusion().fit(*arguments)
