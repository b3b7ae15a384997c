"""Picture files: every command reads a picture alike, whoever wrote it and in whatever format."""

import json
import unicodedata
from pathlib import PureWindowsPath

import numpy as np
import pytest
from PIL import Image, ImageOps

from cli_runs import refusal, run, write_folders
from lineardiffusion import LinearDiffusion
from lineardiffusion.cli.pictures import file_name, in_units, pixels_for_model, read_pixels
from lineardiffusion.cli.source import open_source


@pytest.fixture(scope="module")
def models(digits):
    """The same images in several units: 0..16 as bytes, and others as floats."""
    prompts, images = digits
    units = {
        "own": lambda x: x,
        "unit": lambda x: x / 16,
        "signed": lambda x: x / 8.0 - 1,
        "large": lambda x: x * 15,
    }
    return {name: LinearDiffusion().fit(prompts, unit(images)) for name, unit in units.items()}


# ------------------------------------------------------------------ units


def test_a_model_of_pictures_that_sample_wrote_reads_them_as_fit_does(saved, tmp_path):
    run("sample", saved, *"13479", "-n", 20, "--seed", 0, "-o", tmp_path / "pics")
    run("fit", tmp_path / "pics", "-o", tmp_path / "m", "--n-components", 5)
    model = LinearDiffusion.from_pretrained(tmp_path / "m")
    files = sorted((tmp_path / "pics").glob("*/*"))
    assert len(files) == 100
    for path in files:
        np.testing.assert_array_equal(in_units(*read_pixels(path)), pixels_for_model(path, model, False))
    rows = [line.split("\t") for line in run("classify", tmp_path / "m", *files).stdout.splitlines()]
    assert np.mean([prompt == path.parent.name for path, (_, prompt, _) in zip(files, rows, strict=True)]) > 0.9
    source = open_source(str(tmp_path / "pics"), "all")
    originals = LinearDiffusion.from_pretrained(saved).predict(list("13479"), seed=[0] * 5)
    first = source.read(np.arange(0, 100, 20))  # 1-0.png, 3-0.png, ...
    np.testing.assert_allclose(first, originals.clip(0, 16), atol=16 / 255)  # in the units of the first model


def test_pictures_of_a_model_are_brought_to_the_range_of_another(models, tmp_path):
    """Every model reads every model's pictures right, with the recorded range and without."""
    for writer, model in models.items():
        model.save_pretrained(tmp_path / writer)
        run("sample", tmp_path / writer, *"0123456789", "--seed", 7, "-o", tmp_path / "pics" / writer)
        files = sorted((tmp_path / "pics" / writer).glob("*/*"))
        for plain in (False, True):
            for path in files if plain else ():
                Image.fromarray(np.asarray(Image.open(path))).save(path)
            read = {
                name: np.stack([pixels_for_model(f, one, False) for f in files]) for name, one in models.items()
            }
            for name, one in models.items():
                low, high = one.pixel_range_
                share = np.stack([np.asarray(Image.open(path)) for path in files]) / 255
                plain_bytes = plain and name == "large"  # 0..240 and 0..255 are one unit
                expected = share * 255 if plain_bytes else low + share * (high - low)
                np.testing.assert_allclose(read[name], expected, atol=1e-4 * (high - low))
                assert plain or (one.classify(read[name]) == list("0123456789")).mean() > 0.8


def test_bytes_of_few_levels_are_read_unchanged(models, forms):
    """The digits are files of the numbers 0 to 16, which no model of the same data may stretch."""
    one = next((forms / "folders" / "3").iterdir())
    np.testing.assert_array_equal(pixels_for_model(one, models["own"], False), np.asarray(Image.open(one)))


def test_a_folder_of_two_units_is_refused(saved, forms, tmp_path):
    run("sample", saved, "3", "-n", 3, "-o", tmp_path / "d")
    Image.open(next((forms / "folders" / "3").iterdir())).save(tmp_path / "d" / "3" / "x.png")
    assert "range 0 to 16" in refusal("fit", tmp_path / "d", "-o", tmp_path / "m")
    answer = json.loads(run("fit", tmp_path / "d", "-o", tmp_path / "m", "--skip-bad", "--json").stdout)
    assert answer["skipped"] == 1


# ------------------------------------------------------------------ formats


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_the_orientation_of_the_camera_is_undone(tmp_path, suffix):
    seen = np.zeros((16, 24, 3), np.uint8)
    seen[:8] = 255
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation: inverse transposition
    for orientation, inverse in back.items():
        exif = Image.Exif()
        exif[0x112] = orientation
        stored = Image.fromarray(seen)
        stored = stored if inverse is None else stored.transpose(Image.Transpose(inverse))
        path = tmp_path / f"{orientation}.{suffix}"
        stored.save(path, exif=exif)
        pixels, _ = read_pixels(path)
        assert pixels.shape == seen.shape
        assert np.abs(pixels.astype(int) - seen).mean() < 8, orientation  # JPEG and WebP lose a little
        if suffix == "png":
            assert (np.asarray(ImageOps.exif_transpose(Image.open(path))) == pixels).all()


def test_palettes_and_transparent_colours(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    palette = Image.fromarray(grey % 4, "P")
    palette.putpalette([9, 9, 9, 70, 70, 70, 200, 200, 200, 5, 5, 5])
    Image.fromarray(grey).save(tmp_path / "grey.png", transparency=0)
    palette.save(tmp_path / "greys.png")
    palette.save(tmp_path / "hole.png", transparency=1)
    Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "colours.png")
    found = {path.stem: read_pixels(path)[0] for path in tmp_path.iterdir()}
    np.testing.assert_array_equal(found["greys"], np.array([9, 70, 200, 5])[grey % 4])
    assert found["colours"].shape == (8, 8, 3)
    np.testing.assert_array_equal(found["grey"][..., 3] == 0, grey == 0)
    np.testing.assert_array_equal(found["hole"][..., 3] == 0, grey % 4 == 1)


def test_every_format_of_pillow_is_read_and_other_files_are_named(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8))
    (tmp_path / "d" / "a").mkdir(parents=True)
    for name, form in (("1.jfif", "JPEG"), ("2.tga", "TGA"), ("3.JPE", "JPEG"), ("4.dib", "DIB"), ("5.PNG", "PNG")):
        image.save(tmp_path / "d" / "a" / name, form)
    (tmp_path / "d" / "a" / "notes.txt").write_text("no picture")
    done = run("fit", tmp_path / "d", "-o", tmp_path / "m", "--json")
    assert json.loads(done.stdout)["images"] == 5
    assert "notes.txt" in done.stderr


# ------------------------------------------------------------------ names


def test_a_prompt_that_is_no_folder_name_comes_back(tmp_path, digits):
    _, images = digits
    prompts = ["a/b", "A", "aux", "nul.txt", "e\u0301t\u00e9", "..", "two\nlines", "plain", "x-0123abcd", "?", "-5"]
    assert len({file_name(prompt) for prompt in prompts}) == len(prompts)
    LinearDiffusion(5).fit(prompts * 20, images[:220]).save_pretrained(tmp_path / "m")
    run("sample", tmp_path / "m", "-n", 3, "--seed", 0, "-o", tmp_path / "d", "--", *prompts)
    found = json.loads(run("fit", tmp_path / "d", "-o", tmp_path / "n", "--json").stdout)
    assert found["prompts"] == sorted(prompts)
    assert found["images"] == 33


def test_one_prompt_goes_into_a_folder_of_its_name(saved, tmp_path):
    run("sample", saved, "3", "--seed", 0, "-o", tmp_path / "d" / "3")
    run("sample", saved, "7", "--seed", 0, "-o", tmp_path / "d")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("d/**/*.png")) == [
        "d/3/3-0.png",
        "d/7/7-0.png",
    ]
    assert open_source(str(tmp_path / "d"), "all").classes == ("3", "7")


@pytest.mark.filterwarnings("ignore:.*is_reserved:DeprecationWarning")
@pytest.mark.parametrize("prompt", ["aux.h", "nul.txt", "con .a", "com1.2", "lpt\u00b9", "prn", "auxiliary"])
def test_names_are_not_reserved_on_windows(prompt):
    for name in (file_name(prompt), file_name(prompt) + "-0.png"):
        assert not PureWindowsPath(name).is_reserved()
    assert (file_name(prompt) == prompt) == (prompt == "auxiliary")


def test_folders_in_another_normal_form_are_the_same_prompt(tmp_path, digits):
    prompt = "caf\u00e9"
    names = [unicodedata.normalize(form, prompt) for form in ("NFC", "NFD")]
    write_folders(tmp_path / "d" / "Train", [names[1], "x"] * 10, digits[1][:20])
    write_folders(tmp_path / "d" / "TEST", [names[0], "x"] * 5, digits[1][:10])
    assert open_source(str(tmp_path / "d"), "all").classes == (prompt, "x")
    assert [len(open_source(str(tmp_path / "d"), split)) for split in ("train", "test")] == [20, 10]
    run("fit", tmp_path / "d", "-o", tmp_path / "m")
    for name in names:
        run("sample", tmp_path / "m", name, "-o", tmp_path / "x.png")
        assert Image.open(tmp_path / "x.png").text["prompt"] == prompt


# ------------------------------------------------------------------ resize and skip


def test_fit_resizes_as_classify_does(tmp_path, digits):
    prompts, images = digits
    large = images[:20].repeat(3, axis=1).repeat(2, axis=2)
    write_folders(tmp_path / "d", prompts[:20], large)
    answer = json.loads(run("fit", tmp_path / "d", "-o", tmp_path / "m", "--resize", "8x8", "--json").stdout)
    assert answer["image_shape"] == [8, 8]
    found, model = LinearDiffusion.from_pretrained(tmp_path / "m"), LinearDiffusion().fit(prompts[:20], images[:20])
    np.testing.assert_allclose(found.statistics_.moments.mean, model.statistics_.moments.mean, atol=1e-5)
    for size, shape in (("5x4", (4, 5)), ("6", (6, 6)), ("9X26", (26, 9))):
        run("fit", tmp_path / "d", "-o", tmp_path / "n", "--resize", size, "--n-components", 3)
        odd = LinearDiffusion.from_pretrained(tmp_path / "n")
        assert odd.image_shape_ == shape
        path = next((tmp_path / "d" / "0").iterdir())
        expected, _ = read_pixels(path, shape[::-1])
        np.testing.assert_array_equal(pixels_for_model(path, odd, True), expected)
    assert "--resize" in refusal("fit", "digits", "-o", tmp_path / "n", "--resize", "4")
    assert "64x48" in run("fit", tmp_path / "d", "-o", tmp_path / "n", "--resize", "0x4", status=2).stderr


def test_odd_pictures_are_named_and_skipped_on_request(tmp_path, digits):
    """The commonest kind counts, though an odd picture comes first."""
    prompts, images = digits
    write_folders(tmp_path / "d", prompts[:100], images[:100])
    Image.fromarray(images[0].repeat(2, axis=0)).save(tmp_path / "d" / "0" / "0-first.png")
    whole = (tmp_path / "d" / "1" / "00001.png").read_bytes()
    (tmp_path / "d" / "1" / "half.png").write_bytes(whole[:60])
    (tmp_path / "d" / "2" / "text.jpg").write_text("no picture")
    line = refusal("fit", tmp_path / "d", "-o", tmp_path / "m")
    assert "0-first.png" in line
    assert "--skip-bad" in line
    for extra in ([], ["--n-styles", 2]):
        done = run("fit", tmp_path / "d", "-o", tmp_path / "m", "--skip-bad", "--json", *extra)
        for name in ("0-first.png", "half.png", "text.jpg"):
            assert name in done.stderr
        answer = json.loads(done.stdout)
        assert (answer["images"], answer["skipped"]) == (100, 3)
    expected = LinearDiffusion().fit(prompts[:100], images[:100]).statistics_.moments
    found = LinearDiffusion.from_pretrained(tmp_path / "m").statistics_.moments
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)
    assert "3 pictures skipped" in run("fit", tmp_path / "d", "-o", tmp_path / "m", "--skip-bad").stdout
    (tmp_path / "d" / "odd").mkdir()
    (tmp_path / "d" / "odd" / "x.png").write_bytes(whole[:60])
    assert "'odd'" in run("fit", tmp_path / "d", "-o", tmp_path / "n", "--skip-bad", status=1).stderr
    assert not (tmp_path / "n").exists()


def test_pictures_outside_of_the_class_folders_are_counted(digits, tmp_path):
    write_folders(tmp_path, digits[0][:20], digits[1][:20])
    (tmp_path / "0" / "deep" / "er").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "0" / "deep", tmp_path / "0" / "deep" / "er"):
        Image.fromarray(digits[1][0]).save(place / "loose.png")
    (tmp_path / "0" / "deep" / "notes.txt").write_text("no picture")
    found = run("fit", tmp_path, "-o", tmp_path / "m")
    assert "left out 3 pictures" in found.stderr
    assert "20 images" in found.stdout


def test_few_large_pictures_are_read_twice_and_not_streamed(tmp_path):
    """The moments of 80 x 80 pixels would be 300 MB; of 12 such images 11 components are all."""
    images = np.random.default_rng(0).integers(0, 256, (12, 80, 80), dtype=np.uint8)
    write_folders(tmp_path / "d", ["a"] * 12, images)
    run("fit", tmp_path / "d", "-o", tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").stat().st_size < 1e6
    ld = LinearDiffusion.from_pretrained(tmp_path / "m")
    np.testing.assert_allclose(ld.decode(ld.encode(images)), images, atol=1e-2)
    write_folders(tmp_path / "some", ["a"] * 3, images[:3])
    told = run("forget", tmp_path / "m", tmp_path / "some", "-o", tmp_path / "n").stderr
    assert "still come from all images" in told
