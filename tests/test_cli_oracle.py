"""The command ``oracle``: its figures are those of the library, and its exit status tells a fault."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from cli_runs import refusal, run
from lineardiffusion import Gaussian, LinearDiffusion
from lineardiffusion.oracle import oracle

MINE = """
def worsens(denoise, x, schedule, times, add_noise):
    for _ in times[1:]:
        yield (1.0 + 0.01 * len(times)) * denoise.flow(x, schedule(times[0]), (1.0, 0.0))

def fails_late(denoise, x, schedule, times, add_noise):
    if len(times) > 400:
        raise IndexError("too many")
    yield from halves(denoise, x, schedule, times, add_noise)

def halves(denoise, x, schedule, times, add_noise):
    for _ in times[1:]:
        yield 0.5 * denoise.flow(x, schedule(times[0]), (1.0, 0.0))
"""


@pytest.fixture
def law(tmp_path):
    np.savez(tmp_path / "law.npz", mean=np.ones(3), covariance=np.array([2.0, 1.0, 0.5]))
    return Gaussian.diagonal(np.ones(3), np.array([2.0, 1.0, 0.5]))


def test_figures_are_those_of_the_library(tmp_path, law):
    how = ["--law", tmp_path / "law.npz", "--steps", 40, 50, "--option", "schedule=vp", "--start", "noise"]
    answer = json.loads(
        run("oracle", "ddim", "--set", "eta=0.5", *how, "--plot", tmp_path / "o.png", "--json").stdout
    )
    from lineardiffusion import samplers

    expected = oracle(samplers.ddim(eta=0.5), law, steps=(40, 50), start="noise", schedule="vp")
    assert [row["distance"] for row in answer["rows"]] == [row.distance for row in expected.rows]
    assert answer["order"] == expected.order
    assert answer["passed"] is True
    assert np.asarray(Image.open(tmp_path / "o.png").convert("L")).std() > 10
    text = run("oracle", "ddim", "--law", tmp_path / "law.npz").stdout
    assert "order of convergence" in text
    assert "lineardiffusion 0" in text


def test_exit_status(tmp_path, law, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    how = ["--law", "law.npz", "--steps", 5, 10]
    assert "10 steps are worse than 5" in run("oracle", "mine:worsens", *how, status=1).stdout
    run("oracle", "mine:halves", *how)  # wrong, but no worse with more steps
    assert "not below --floor 0.1" in run("oracle", "mine:halves", *how, "--floor", 0.1, status=1).stdout
    run("oracle", "heun", *how, "--floor", 0.1)
    assert "not below" in run("oracle", "mine:fails_late", *how, "--floor", 0.9, status=1).stdout
    assert "10 steps" in run("oracle", "mine:worsens", "--law", "law.npz", "--steps=5", 10, status=1).stdout


def test_the_law_of_a_prompt_is_that_of_its_pixels(tmp_path, digits):
    prompts, images = digits
    chosen = np.array(prompts) == "7"
    LinearDiffusion(20, n_styles=2).fit(prompts, images).save_pretrained(tmp_path / "m")
    how = ["--law", f"{tmp_path / 'm'}:7", "--steps", 5, "--json"]
    answer = json.loads(run("oracle", "ddim", *how).stdout)
    pixels = images[chosen].reshape(chosen.sum(), -1) / 8.0 - 1.0  # from 0 to 16
    ld = LinearDiffusion(20, n_styles=2).fit(prompts, images)
    latents = ld.decode(ld.encode(images[chosen])).reshape(chosen.sum(), -1) / 8.0 - 1.0
    drawn = ld.law("7").covariance.trace() * ld.scaling_factor_**2 / 64
    assert math.isclose(answer["spread"] ** 2, drawn, rel_tol=1e-9)
    assert 0.8 < answer["spread"] ** 2 / latents.var(axis=0).sum() < 1.25  # of the data, to the rule of styles
    assert latents.var(axis=0).sum() < pixels.var(axis=0).sum()
    mixed = json.loads(run("oracle", "ddim", *how, "--mixture").stdout)
    assert mixed["measure"].startswith("strong error")


def test_refusals(tmp_path, law):
    how = ["--law", tmp_path / "law.npz"]
    assert "pip install nolibrary" in refusal("oracle", "nolibrary:Sampler", *how)
    assert "unknown sampler" in refusal("oracle", "ddmi", *how)
    assert "unknown sampler" in refusal("oracle", "ddmi", "--set", "eta=1", *how)
    assert "MODEL:PROMPT" in refusal("oracle", "ddim", "--law", "mnist")
    LinearDiffusion(2).fit(["7", "8"] * 5, np.arange(40.0).reshape(10, 4) ** 2).save_pretrained(tmp_path / "m")
    assert "unknown prompt" in refusal("oracle", "ddim", "--law", f"{tmp_path / 'm'}:banana")
    assert "no setting 'foo'; its settings are num_steps, eta" in refusal("oracle", "ddim", "--set", "foo=1", *how)
    assert "--mixture" in run("oracle", "ddim", *how, "--mixture", "--floor", 0.1, status=2).stderr
    assert "--option steps" in run("oracle", "ddim", *how, "--option", "steps=3", status=2).stderr
    np.savez(tmp_path / "bad.npz", mu=np.ones(3))
    assert "arrays mean and covariance" in refusal("oracle", "ddim", "--law", tmp_path / "bad.npz")
    assert "NAME=VALUE" in run("oracle", "ddim", "--set", "eta", status=2).stderr
    run("oracle", "ddim", *how, "--plot", tmp_path / "o.txt", status=2)
