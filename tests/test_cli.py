"""Run every command of the command line, on every form of DATA."""

import json
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from cli_runs import refusal, run, write_folders
from idx_files import idx
from lineardiffusion import LinearDiffusion, __version__, metrics
from lineardiffusion.cli import main
from lineardiffusion.cli.common import import_if_path
from lineardiffusion.cli.pictures import file_name
from lineardiffusion.cli.source import open_source

MASK = np.arange(8)[:, None] >= np.full(8, 4)  # the lower half is missing


# ------------------------------------------------------------------ fit


@pytest.mark.parametrize("form", ["labels.npz", "prompts.npz", "idx", "folders", "digits"])
def test_every_form_of_data_gives_the_same_model(forms, tmp_path, digits, form):
    data = form if form == "digits" else forms / form
    run("fit", data, "-o", tmp_path / "m")
    found = LinearDiffusion.from_pretrained(tmp_path / "m")
    expected = LinearDiffusion().fit(*digits)
    assert found.get_params() == expected.get_params()
    assert (found.prompts_ == expected.prompts_).all()
    assert found.pixel_dtype_ == expected.pixel_dtype_
    assert found.pixel_range_ == expected.pixel_range_
    np.testing.assert_allclose(found.statistics_.moments.mean, expected.statistics_.moments.mean, atol=1e-5)
    law, other = found.law("7"), expected.law("7")
    np.testing.assert_allclose(np.linalg.eigvalsh(law.covariance), np.linalg.eigvalsh(other.covariance), atol=1e-5)


def test_styles_are_found_in_many_batches(forms, tmp_path, monkeypatch):
    monkeypatch.setattr("lineardiffusion.cli.source.BATCH", 300)
    sizes, check_batch = [], LinearDiffusion._check_batch

    def count(self, prompts, images, *how):
        sizes.append(len(images))
        return check_batch(self, prompts, images, *how)

    monkeypatch.setattr(LinearDiffusion, "_check_batch", count)
    run("fit", forms / "folders", "-o", tmp_path / "m", "--n-styles", 3, "--contrast", "histogram")
    assert sizes[-12:] == 2 * (5 * [300] + [297])  # one pass for the moments, one for the styles
    found = LinearDiffusion.from_pretrained(tmp_path / "m")
    assert {len(weight) for weight, _ in found.styles_.values()} == {3}
    assert sum(weight.sum() for weight, _ in found.styles_.values()) == 1797
    assert found.contrast == "histogram"
    assert found.predict(["7"], seed=1).shape == (1, 8, 8)


def test_the_first_batch_has_every_prompt(tmp_path):
    prompts = ["common"] * 300 + ["rare"] * 3 + ["single"]
    np.savez(tmp_path / "d.npz", images=np.arange(304 * 4).reshape(304, 2, 2), prompts=prompts)
    source = open_source(str(tmp_path / "d.npz"), "all")
    mixed = source.prompts(source.order())
    assert set(mixed[:3]) == {"common", "rare", "single"}
    assert [mixed[i : i + 102].count("rare") for i in (0, 102, 204)] == [1, 1, 1]
    assert sorted(source.order()) == list(range(304))
    assert (source.order() == source.order()).all()


def test_images_whose_moments_exceed_the_memory_are_streamed_too(forms, tmp_path, digits):
    run("fit", forms / "folders", "-o", tmp_path / "m", "--max-memory", 200_000, "--n-components", 8)
    found = LinearDiffusion.from_pretrained(tmp_path / "m")
    assert found.statistics_.encoder is not None
    whole = LinearDiffusion(8).fit(*digits)
    np.testing.assert_allclose(found.predict(["7"], seed=1), whole.predict(["7"], seed=1), atol=1e-3)


def test_parts_are_kept_apart(tmp_path, digits):
    prompts, images = digits
    write_folders(tmp_path / "train", prompts[:100], images[:100])
    write_folders(tmp_path / "test", prompts[100:140], images[100:140])
    assert [len(open_source(str(tmp_path), split)) for split in ("train", "test", "all")] == [100, 40, 140]
    answer = json.loads(run("fit", tmp_path, "-o", tmp_path / "m", "--json").stdout)
    assert answer["images"] == 100
    assert answer["image_shape"] == [8, 8]


def test_options_reach_the_model(tmp_path):
    options = ["--n-components", 9, "--contrast", "affine", "--scale", "--schedule", "vp", "--shrinkage", 0.25]
    run("fit", "digits", "-o", tmp_path / "m", "--quiet", *options, "--text-encoder", "words")
    params = LinearDiffusion.from_pretrained(tmp_path / "m").get_params()
    expected = dict(
        n_components=9, contrast="affine", scale=True, text_encoder="words", schedule="vp", shrinkage=0.25
    )
    assert params == LinearDiffusion(**expected).get_params()


def test_the_data_choose_components_and_styles(forms, tmp_path, digits):
    how = ["--n-components", 0.9, "--n-styles", "auto", "--shrinkage", "auto"]
    run("fit", forms / "folders", "-o", tmp_path / "m", *how)
    found = LinearDiffusion.from_pretrained(tmp_path / "m")
    expected = LinearDiffusion(0.9, n_styles="auto").fit(*digits)
    assert (found.n_components, found.n_styles, found.shrinkage) == (0.9, "auto", "auto")
    assert found.n_components_ == expected.n_components_ < 30
    sizes = {prompt: len(weight) for prompt, (weight, _) in expected.styles_.items()}
    assert json.loads(run("info", tmp_path / "m", "--json").stdout)["styles"] == sizes


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--n-components", ("0", "1.0", "many")),
        ("--n-styles", ("0.5", "many")),
        ("--shrinkage", ("2", "-1", "much")),
    ],
)
def test_no_other_words_are_numbers(tmp_path, option, values):
    for value in values:
        assert option in run("fit", "digits", "-o", tmp_path / "m", option, value, status=2).stderr


def test_colour(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    write_folders(tmp_path / "data", ["a b", "c"] * 30, images)
    run("fit", tmp_path / "data", "-o", tmp_path / "m")
    run("sample", tmp_path / "m", "a b", "--seed", 3, "-o", tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").mode == "RGB"
    assert Image.open(tmp_path / "x.png").size == (5, 4)
    run("classify", tmp_path / "m", tmp_path / "x.png")


def _write_idx(folder, name, images, labels, dot="-"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}images{dot}idx3-ubyte").write_bytes(idx(images))
    (folder / f"{name}labels{dot}idx1-ubyte").write_bytes(idx(np.array(labels, np.uint8)))


def test_of_several_idx_collections_one_is_used(tmp_path, digits):
    _, images = digits
    sizes = {"emnist-digits": (60, 40), "emnist-letters": (50, 30), "latest": (20, 10)}
    for i, (name, counts) in enumerate(sizes.items()):
        for part, n in zip(("train", "test"), counts, strict=True):
            _write_idx(tmp_path / "d", f"{name}-{part}-", images[:n], np.arange(n) % 10 + i)
    assert "emnist-letters" in refusal("fit", tmp_path / "d", "-o", tmp_path / "m")
    for i, (name, counts) in enumerate(sizes.items()):
        parts = {split: open_source(str(tmp_path / "d" / name), split) for split in ("train", "test", "all")}
        assert tuple(len(parts[split]) for split in ("train", "test")) == counts
        assert len(parts["all"]) == sum(counts)
        assert set(parts["train"].classes) == {str(label + i) for label in range(10)}
    assert "does not exist" in refusal("fit", tmp_path / "d" / "emnist", "-o", tmp_path / "m")
    _write_idx(tmp_path / "d", "train-", images[:20], np.zeros(20))
    assert "folder of their own" in refusal("fit", tmp_path / "d", "-o", tmp_path / "m")


@pytest.mark.parametrize("name", ["t10k-", "test-", "Test."])
def test_idx_files_are_known_by_other_names_too(tmp_path, digits, name):
    _write_idx(tmp_path, "train-", digits[1][:30], np.arange(30) % 3, dot=".")
    _write_idx(tmp_path, name, digits[1][:9], np.arange(9) % 3)
    assert [len(open_source(str(tmp_path), split)) for split in ("train", "test", "all")] == [30, 9, 39]


def test_the_suffix_of_an_archive_may_be_upper_case(forms, tmp_path):
    (tmp_path / "D.NPZ").write_bytes((forms / "labels.npz").read_bytes())
    assert len(open_source(str(tmp_path / "D.NPZ"), "all")) == 1797


# ------------------------------------------------------------------ sample


def test_a_file_has_the_image_of_predict_and_records_its_settings(saved, tmp_path):
    out = tmp_path / "seven.png"
    how = ["sample", saved, "7", "--seed", 5, "--sampler", "ddim", "--num-steps", 9, "-o", out]
    how += ["--guidance-scale", 1.5]
    run(*how)
    ld = LinearDiffusion.from_pretrained(saved)
    settings = {"sampler": "ddim", "num_steps": 9, "guidance_scale": 1.5}
    (expected,) = ld.predict(["7"], seed=5, output_type="pil", **settings)
    picture = Image.open(out)
    assert (np.asarray(picture) == np.asarray(expected)).all()
    assert picture.text == {
        "prompt": "7", "seed": "5", "sampler": "ddim", "num_steps": "9", "guidance_scale": "1.5",
        "version": f"lineardiffusion {__version__}", "pixel_range": "0.0 16.0",
    }  # fmt: skip
    before = out.read_bytes()
    run(*how)
    assert out.read_bytes() == before


def test_a_folder_and_a_grid_have_the_same_images(saved, tmp_path):
    (tmp_path / "more.txt").write_text("3\n\n7~1\n")
    common = ["sample", saved, "7", "--prompts-file", tmp_path / "more.txt", "--seed", 4, "--seed", 9]
    answer = json.loads(run(*common, "-o", tmp_path / "out", "--json").stdout)
    assert [(one["prompt"], one["seed"]) for one in answer["files"]] == [
        (p, s) for p in ("7", "3", "7~1") for s in (4, 9)
    ]
    assert sorted(map(str, (tmp_path / "out").glob("*/*"))) == sorted(one["file"] for one in answer["files"])
    run(*common, "-o", tmp_path / "grid.png")
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == (28, 18)
    for k, one in enumerate(answer["files"]):
        i, j = divmod(k, 2)
        assert (grid[10 * i : 10 * i + 8, 10 * j : 10 * j + 8] == np.asarray(Image.open(one["file"]))).all()


def test_n_counts_up_from_each_seed_or_from_a_fresh_one_that_is_recorded(saved, tmp_path):
    answer = json.loads(
        run("sample", saved, "7", "-n", 2, "--seed", 4, "--seed", 9, "-o", tmp_path / "a", "--json").stdout
    )
    assert [one["seed"] for one in answer["files"]] == [4, 5, 9, 10]
    answer = json.loads(run("sample", saved, "7", "-o", tmp_path / "b.png", "--json").stdout)
    assert Image.open(tmp_path / "b.png").text["seed"] == str(answer["files"][0]["seeds"][0])


def test_file_names_are_valid_and_unique():
    plain = ["7", "a", "a_b", "ankle boot", "t-shirt", "7~1", "\u00f6"]
    odd = [
        "a/b",
        "a:b",
        "..",
        "-x",
        "A",
        "\u00f6" * 200,
        "\u00f6" * 201,
        "",
        "_/",
        "o\u0308",
        "a\tb",
        " a",
        "a_b-c8687a08",
    ]
    names = [file_name(prompt) for prompt in plain + odd]
    assert names[: len(plain)] == plain
    same = {unicodedata.normalize("NFC", name).casefold() for name in names}
    assert len(same) == len(names)  # also on a file system that ignores case
    for name in names:
        assert name[0] not in ".-"
        assert not set(name) & set('/\\:*?"<>|\n\t')
        assert len(name.encode()) < 120


# ------------------------------------------------------------------ classify, inpaint, info, evaluate


def test_classify_reads_training_images_and_samples(saved, forms, tmp_path):
    files = sorted((forms / "folders").glob("*/000[0-4]?.png"))
    found = json.loads(run("classify", saved, *files, "--json").stdout)
    assert [one["file"] for one in found] == list(map(str, files))
    assert np.mean([one["prompt"] == path.parent.name for one, path in zip(found, files, strict=True)]) > 0.95
    assert all(0 <= one["probability"] <= 1 for one in found)
    run("sample", saved, "0", "8", "-n", 5, "--seed", 0, "-o", tmp_path / "drawn")
    drawn = sorted((tmp_path / "drawn").glob("*/*"))
    lines = [line.split("\t") for line in run("classify", saved, *drawn).stdout.splitlines()]
    assert [(Path(file).name[0], float(chance) > 0.9) for file, _, chance in lines] == [
        (prompt, True) for _, prompt, _ in lines
    ]


def test_classify_resizes_only_on_request(saved, forms, tmp_path):
    one = next((forms / "folders" / "0").iterdir())
    large = tmp_path / "large.png"
    Image.open(one).convert("RGB").resize((32, 32), Image.Resampling.NEAREST).save(large)
    assert "32 x 32" in refusal("classify", saved, large)
    unchanged = run("classify", saved, one).stdout.split("\t")[1:]
    assert run("classify", saved, large, "--resize").stdout.split("\t")[1:] == unchanged
    small = tmp_path / "small.png"
    Image.open(one).resize((5, 5)).save(small)
    assert len(run("classify", saved, small, "--resize").stdout.split("\t")) == 3


def test_inpaint_keeps_known_pixels_and_draws_the_others(saved, forms, tmp_path):
    image = next((forms / "folders" / "3").iterdir())
    Image.fromarray(MASK.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    common = ["inpaint", saved, image, "--mask", tmp_path / "mask.png", "--seed", 2]
    run(*common, "-n", 4, "-o", tmp_path / "four.png", "--prompt", "3")
    grid = np.asarray(Image.open(tmp_path / "four.png"))
    known = np.rint(np.asarray(Image.open(image)) * (255 / 16))
    assert grid.shape == (8, 38)
    draws = [grid[:, 10 * i : 10 * i + 8] for i in range(4)]
    assert all((draw[:4] == known[:4]).all() for draw in draws)
    assert len({draw[4:].tobytes() for draw in draws}) == 4
    ld = LinearDiffusion.from_pretrained(saved)
    expected = ld.inpaint(np.asarray(Image.open(image))[None], MASK, ["3"], 2, n_samples=4)[0]
    assert (draws[1] == np.rint(np.clip(expected[1], 0, 16) * (255 / 16))).all()
    answer = json.loads(run(*common, "-n", 2, "-o", tmp_path / "two", "--json").stdout)
    assert [Image.open(one["file"]).text["prompt"] for one in answer["files"]] == [
        one["prompt"] for one in answer["files"]
    ]
    run(*common, "-n", 0, "-o", tmp_path / "mean.png")
    assert Image.open(tmp_path / "mean.png").size == (8, 8)


def test_without_a_mask_the_transparent_pixels_are_missing(saved, forms, tmp_path):
    image = next((forms / "folders" / "3").iterdir())
    grey = np.asarray(Image.open(image))
    Image.fromarray(np.dstack([grey, np.where(MASK, 0, 255).astype(np.uint8)]), "LA").save(tmp_path / "la.png")
    result = run("inpaint", saved, tmp_path / "la.png", "--seed", 2, "-o", tmp_path / "a.png")
    assert "50% of the pixels" in result.stdout
    Image.fromarray(MASK.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    run("inpaint", saved, image, "--mask", tmp_path / "mask.png", "--seed", 2, "-o", tmp_path / "b.png")
    assert (np.asarray(Image.open(tmp_path / "a.png")) == np.asarray(Image.open(tmp_path / "b.png"))).all()
    assert "no missing pixels" in refusal("inpaint", saved, image, "-o", tmp_path / "c.png")


def test_partly_transparent_pixels_are_missing_at_any_size(saved, forms, tmp_path):
    """An image seven times as large and with soft edges has the same missing pixels."""
    grey = np.asarray(Image.open(next((forms / "folders" / "3").iterdir())))
    hard = np.where(MASK, 0, 255).astype(np.uint8)
    soft = hard.copy()
    soft[4] = 130
    large = np.kron(np.dstack([grey, soft]), np.ones((7, 7, 1), np.uint8))
    Image.fromarray(np.dstack([grey, hard]), "LA").save(tmp_path / "small.png")
    Image.fromarray(large, "LA").save(tmp_path / "large.png")
    run("inpaint", saved, tmp_path / "small.png", "--seed", 2, "-o", tmp_path / "a.png")
    result = run("inpaint", saved, tmp_path / "large.png", "--resize", "--seed", 2, "-o", tmp_path / "b.png")
    assert "50% of the pixels" in result.stdout
    assert (np.asarray(Image.open(tmp_path / "a.png")) == np.asarray(Image.open(tmp_path / "b.png"))).all()
    Image.fromarray(np.kron(MASK, np.ones((7, 7))).astype(np.uint16) * 65535).save(tmp_path / "mask.png")
    common = ["inpaint", saved, tmp_path / "small.png", "--mask", tmp_path / "mask.png", "--resize"]
    run(*common, "--seed", 2, "-o", tmp_path / "c.png")
    assert (np.asarray(Image.open(tmp_path / "a.png")) == np.asarray(Image.open(tmp_path / "c.png"))).all()


def test_sixteen_bit_and_float_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
    run("fit", write_folders(tmp_path / "d", ["a", "b"] * 20, images), "-o", tmp_path / "m")
    Image.fromarray(images[0].astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(images[0]).save(tmp_path / "8.png")
    eight, sixteen = (
        run("classify", tmp_path / "m", tmp_path / f"{k}.png").stdout.split("\t")[1:] for k in (8, 16)
    )
    assert eight == sixteen
    for other in (images / 255, np.repeat(images[..., None], 3, axis=3)):  # a model of floats, and one of colours
        np.savez(tmp_path / "d.npz", images=other, prompts=["a", "b"] * 20)
        run("fit", tmp_path / "d.npz", "-o", tmp_path / "n")
        read = [run("classify", tmp_path / "n", tmp_path / f"{k}.png").stdout.split("\t")[1:] for k in (8, 16)]
        assert read[0] == read[1]
    Image.fromarray((images[0] / 255).astype(np.float32)).save(tmp_path / "f.tiff")
    assert "float" in refusal("classify", tmp_path / "m", tmp_path / "f.tiff")


def test_a_sampler_can_be_imported_from_the_working_directory(saved, tmp_path, monkeypatch):
    """A copy of ddim draws what ddim draws, and half a ddim does not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_samplers.py").write_text(
        "from lineardiffusion.samplers import ddim\n"
        "def same(denoise, x, schedule, times, add_noise):\n"
        "    yield from ddim()(denoise, x, schedule, times, add_noise)\n"
        "def half(*args):\n"
        "    yield from (0.5 * x for x in same(*args))\n"
        "number = 5\n"
    )
    pictures = {}
    for name in ("ddim", "my_samplers:same", "my_samplers:half"):
        run("sample", saved, "7", "--seed", 1, "-o", "x.png", "--sampler", name, "--num-steps", 5)
        picture = Image.open("x.png")
        assert picture.text["sampler"] == name
        pictures[name] = np.asarray(picture)
    assert (pictures["my_samplers:same"] == pictures["ddim"]).all()
    assert (pictures["my_samplers:half"] != pictures["ddim"]).any()
    for name in ("my_samplers:fast", "my_samplers:number", "nowhere:slow", ":slow"):
        assert name in refusal("sample", saved, "7", "-o", "y.png", "--sampler", name)
    assert [import_if_path(name) for name in (None, "exact", "dpm++2m")] == [None, "exact", "dpm++2m"]


def test_zoom(saved, tmp_path):
    common = ["sample", saved, "7", "3", "--seed", 1, "-o"]
    run(*common, tmp_path / "plain.png")
    run(*common, tmp_path / "large.png", "--zoom", 3)
    plain = np.asarray(Image.open(tmp_path / "plain.png"))
    assert (np.asarray(Image.open(tmp_path / "large.png")) == np.kron(plain, np.ones((3, 3), np.uint8))).all()


def test_prompts_from_the_standard_input(saved, tmp_path):
    args = ["sample", saved, "--prompts-file", "-", "--seed", 1, "-o", tmp_path / "out"]
    run(*args, input="7\n\n3\n")
    assert sorted(path.name for path in (tmp_path / "out").glob("*/*")) == ["3-1.png", "7-1.png"]


@pytest.mark.parametrize("scale", [-20, 1e30, 1e308])
def test_a_guidance_scale_that_overflows_is_refused(saved, tmp_path, scale):
    for prompt in ("7~0", "7"):
        args = ["sample", saved, prompt, "--guidance-scale", scale, "-o", tmp_path / "x.png", "-q"]
        assert "guidance_scale" in refusal(*args)
    assert not (tmp_path / "x.png").exists()


def test_hidden_files_and_folders_are_ignored(tmp_path, digits):
    """Hidden files, and a folder whose name ends in .png, are not images."""
    prompts, images = digits
    write_folders(tmp_path / "d", prompts[:50], images[:50])
    (tmp_path / "d" / "0" / "._1.png").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "d" / "0" / ".DS_Store").write_bytes(b"\x00")
    (tmp_path / "d" / "0" / "more.png").mkdir()
    assert len(open_source(str(tmp_path / "d"), "all")) == 50


def test_odd_file_names_stay_in_one_line(saved, forms, tmp_path):
    one = next((forms / "folders" / "0").iterdir()).read_bytes()
    for name in ("a\tb.png", "c\n.png", "\udcff.png"):
        (tmp_path / name).write_bytes(one)
    files = sorted(tmp_path.iterdir())
    text = run("classify", saved, *files).stdout
    assert [len(line.split("\t")) for line in text.splitlines()] == [3, 3, 3]
    found = json.loads(run("classify", saved, *files, "--json").stdout_bytes.decode())
    assert [one["file"] for one in found] == list(map(str, files))


def test_info(saved):
    text = run("info", saved).stdout
    assert "0, 1, 2, 3" in text
    assert "8 x 8, uint8 from 0 to 16" in text
    assert "3 per prompt" in text
    value = json.loads(run("info", saved, "--json").stdout)
    assert value["prompts"] == list("0123456789")
    assert value["image_shape"] == [8, 8]
    assert value["styles"]["7"] == 3
    assert value["parameters"]["n_styles"] == 3
    assert value["bytes"] == (saved / "model.safetensors").stat().st_size
    assert value["precision"] == "full"
    assert json.loads(run("info", "mnist", "--json").stdout)["precision"] == "low_rank"


def test_evaluate(tmp_path, digits):
    prompts, images = digits
    data = tmp_path / "idx"
    data.mkdir()
    for part, block in (("train", slice(0, 1200)), ("t10k", slice(1200, None))):
        (data / f"{part}-images-idx3-ubyte").write_bytes(idx(images[block]))
        (data / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.array(prompts[block], np.uint8)))
    run("fit", data, "-o", tmp_path / "m")
    value = json.loads(run("evaluate", tmp_path / "m", data, "--json").stdout)
    ld = LinearDiffusion().fit(prompts[:1200], images[:1200])
    held_out = images[1200:], prompts[1200:]
    assert value["images"] == 597
    assert value["log_likelihood"] == pytest.approx(ld.score_samples(*held_out).mean(), rel=1e-4)
    assert value["bits_per_dim"] == pytest.approx(ld.bits_per_dim(*held_out).mean(), rel=1e-4)
    assert value["classification_error"] == pytest.approx(
        (ld.classify(images[1200:]) != prompts[1200:]).mean(), abs=2e-3
    )
    assert value["fidelity"] > 0.9
    assert value["fidelity_of_real"] > 0.85
    assert 0.5 < value["coverage"] <= 1
    assert 0 < value["frechet"] < 200
    assert value["real"]["images"] == 597
    _, train = open_source(str(data), "train").take(597)
    features = images[1200:].reshape(597, -1), train.reshape(597, -1)  # 64 components are a rotation of 64 pixels
    assert value["real"]["frechet"] == pytest.approx(metrics.frechet_distance(*features), rel=1e-4)
    assert value["real"]["coverage"] == metrics.precision_recall_density_coverage(*features).coverage
    words, test = open_source(str(data), "test").take()
    drawn = ld.predict(words, seed=list(range(597)))
    copying = metrics.copying(words, drawn, words, test, images[:1200])._asdict()
    found = {name: value[f"copying_{name}"] for name in copying}
    assert found == pytest.approx(copying, abs=1.5 / 597)  # rounding may move an image across a quantile
    assert "copying share" in run("evaluate", tmp_path / "m", data, "-n", 50).stdout
    run("fit", data, "--n-styles", 20, "-o", tmp_path / "styles")
    by_style = json.loads(run("evaluate", tmp_path / "styles", data, "--json").stdout)
    assert by_style["copying_concentration_of_test"] > 2 * value["copying_concentration_of_test"]
    text = run("evaluate", tmp_path / "m", data, "-n", 50).stdout
    assert "50 test images" in text
    assert "bits per dim" in text


def test_evaluate_halves_data_without_parts(saved, tmp_path, digits):
    """No image stands on both sides, and each side has half of every prompt's images."""
    prompts, images = digits[0][:121], digits[1][:121]
    np.savez(tmp_path / "d.npz", images=images, prompts=prompts)
    test, train = (half.take() for half in open_source(str(tmp_path / "d.npz"), "test").halves())
    assert sorted(map(bytes, (*test[1], *train[1]))) == sorted(map(bytes, images))
    for word in "0123456789":
        assert train[0].count(word) - test[0].count(word) in (0, 1)
    write_folders(tmp_path / "d", prompts, images)
    done = run("evaluate", saved, tmp_path / "d", "--json")
    assert "half" in done.stderr
    value = json.loads(done.stdout)
    assert value["images"] == value["real"]["images"] == len(test[0])


# ------------------------------------------------------------------ plot, forget


@pytest.mark.parametrize(
    ("kind", "pictures"),
    [("components", 5), ("means", 4), ("styles", 3), ("denoising", 20), ("singular-values", 1)],
)
def test_plot_writes_the_figures_of_the_library(digits, tmp_path, monkeypatch, kind, pictures):
    axes = []
    savefig = Figure.savefig
    LinearDiffusion(5, n_styles=3).fit(digits[0][:2] * 30, digits[1][:60]).save_pretrained(tmp_path / "m")

    def count(self, *args, **how):
        axes.append(len(self.axes))
        savefig(self, *args, **how)

    monkeypatch.setattr(Figure, "savefig", count)
    run("plot", tmp_path / "m", "--kind", kind, "-o", tmp_path / "x.png")
    assert axes == [pictures]
    assert np.asarray(Image.open(tmp_path / "x.png").convert("L")).std() > 10
    assert len(list(tmp_path.iterdir())) == 2  # no part of a file is left


def test_plot_takes_prompts_and_samplers(saved, tmp_path):
    how = ["plot", saved, "-o", tmp_path / "x.svg", "--kind"]
    run(*how, "singular-values", "--prompt", "3~1", "--sampler", "exact", "--sampler", "ddim", "--num-steps", 5)
    assert "<svg" in (tmp_path / "x.svg").read_text()
    assert "'7~0'" in refusal(*how, "singular-values", "--prompt", "7")
    assert "banana" in refusal(*how, "means", "--prompt", "banana")
    for extra in (["components", "--seed", 1], ["styles", "--prompt", 3, "--prompt", 4], ["painting"]):
        run(*how, *extra, status=2)
    LinearDiffusion(4).fit(np.eye(6), np.eye(6)).save_pretrained(tmp_path / "e")
    assert "embeddings" in refusal("plot", tmp_path / "e", "-o", tmp_path / "x.png", "--kind", "means")
    run("fit", "digits", "-o", tmp_path / "m", "--n-components", 3)
    assert "--n-styles" in refusal("plot", tmp_path / "m", "-o", tmp_path / "x.png", "--kind", "styles")


@pytest.mark.parametrize("precision", ["full", "half"])
def test_forget_leaves_the_model_that_never_saw_the_images(tmp_path, digits, monkeypatch, precision):
    monkeypatch.setattr("lineardiffusion.cli.source.BATCH", 40)
    prompts, images = digits
    write_folders(tmp_path / "gone", prompts[:100], images[:100])
    LinearDiffusion(20).fit(prompts, images).save_pretrained(tmp_path / "m", precision=precision)
    answer = json.loads(run("forget", tmp_path / "m", tmp_path / "gone", "-o", tmp_path / "n", "--json").stdout)
    assert (answer["forgotten"], answer["left"]) == (100, 1697)
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    assert "100 images" in run("forget", tmp_path / "m", tmp_path / "gone").stdout  # in place
    assert (tmp_path / "m" / "model.safetensors").read_bytes() != before
    assert json.loads(run("info", tmp_path / "m", "--json").stdout)["precision"] == precision
    expected = LinearDiffusion(20).fit(prompts[100:], images[100:]).predict(list("0123456789"), seed=3)
    for folder in ("m", "n"):
        found = LinearDiffusion.from_pretrained(tmp_path / folder).predict(list("0123456789"), seed=3)
        np.testing.assert_allclose(found, expected, atol={"full": 1e-4, "half": 0.3}[precision])


def test_a_refused_image_leaves_the_model_on_disk(tmp_path, digits, monkeypatch):
    monkeypatch.setattr("lineardiffusion.cli.source.BATCH", 10)
    prompts, images = digits
    run("fit", "digits", "-o", tmp_path / "m", "--n-components", 5)
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    write_folders(tmp_path / "gone", prompts[:30], images[:30])
    Image.fromarray(images[0]).save(tmp_path / "gone" / "3" / "zz.jpg")
    (tmp_path / "gone" / "3" / "zz.jpg").write_bytes(b"half")
    assert "zz.jpg" in refusal("forget", tmp_path / "m", tmp_path / "gone")  # after some batches
    assert "banana" in refusal("forget", tmp_path / "m", write_folders(tmp_path / "b", ["banana"], images[:1]))
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    answer = json.loads(run("forget", tmp_path / "m", tmp_path / "gone", "--skip-bad", "--json").stdout)
    assert (answer["forgotten"], answer["skipped"]) == (30, 1)
    assert "-o" in run("forget", "mnist", tmp_path / "gone", status=2).stderr


# ------------------------------------------------------------------ words of the shell


def test_a_console_without_the_characters_shows_the_rest(tmp_path, digits):
    words, chosen = ["plain", "\u65e5\u672c"], np.flatnonzero(np.isin(digits[0], ["0", "1"]))
    prompts = [words[int(digits[0][i])] for i in chosen]
    LinearDiffusion(5).fit(prompts, digits[1][chosen]).save_pretrained(tmp_path / "m")
    runner = CliRunner(charset="cp1252")

    def shown(*args, status=0):
        done = runner.invoke(main, list(map(str, args)))
        assert done.exit_code == status, done
        return done.output

    assert "2 images" in shown("sample", tmp_path / "m", *words, "--seed", 1, "-o", tmp_path / words[1])
    files = sorted((tmp_path / words[1]).glob("*/*"))
    lines = [line.split("\t") for line in shown("classify", tmp_path / "m", *files).splitlines()]
    assert [line[1] for line in lines] == ["plain", "\\u65e5\\u672c"]
    assert "plain" in shown("info", tmp_path / "m")
    assert json.loads(shown("classify", tmp_path / "m", *files, "--json"))[1]["prompt"] == words[1]
    assert "does not exist" in shown("fit", tmp_path / words[1] / "x", "-o", tmp_path / "x", status=1)
    assert "No such command" in shown(words[1], status=2)


def test_a_prompt_may_begin_with_a_hyphen(tmp_path, digits):
    LinearDiffusion(5).fit(["-5", "5"] * 10, digits[1][:20]).save_pretrained(tmp_path / "m")
    assert " -- -5" in run("sample", tmp_path / "m", "-5", "-o", tmp_path / "x.png", status=2).stderr
    assert " -- " not in run("sample", tmp_path / "m", "--sead", 5, "-o", tmp_path / "x.png", status=2).stderr
    run("sample", tmp_path / "m", "-o", tmp_path / "x.png", "--", "-5")
    assert Image.open(tmp_path / "x.png").text["prompt"] == "-5"


def test_a_tilde_is_the_home_folder(forms, saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(forms))
    monkeypatch.setenv("USERPROFILE", str(forms))
    monkeypatch.chdir(tmp_path)
    (forms / "words.txt").write_text("3")
    run("sample", "~/model", "--prompts-file", "~/words.txt", "--seed", 1, "-o", "~/x.png")
    run("classify", "~/model", "~/x.png")
    run("fit", "~/labels.npz", "-o", "~/again", "--n-components", 3)
    assert not list(tmp_path.iterdir())
