"""The file of a page: its text, its size and what is refused. No test needs a browser."""

import json
import re

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_digits
from lineardiffusion.page import contents as contents_module
from lineardiffusion.page import document as document_module
from lineardiffusion.page import write_page
from lineardiffusion.page.bundle import bundle
from lineardiffusion.page.contents import contents
from lineardiffusion.page.document import document


def small(prompts=("a", "b"), **params):
    images = np.random.default_rng(0).normal(size=(20, 3, 3)) + np.arange(20).reshape(-1, 1, 1) % 2
    return LinearDiffusion(2, random_state=0, **params).fit([prompts[i % 2] for i in range(20)], images)


def test_prompts_that_look_like_placeholders_stay_prompts():
    names = ("{{script}} {{meta}}", "{{arrays}} \\1 \\g<0> {{nothing}}")
    html = document(small(names))
    (meta,) = re.findall(r'<script type="application/json" id="meta">(.*?)</script>', html)
    assert json.loads(meta)["model"]["prompts"] == sorted(names)
    assert html.count(bundle()) == 1


def test_numbers_that_json_does_not_know_are_refused(monkeypatch):
    ld, given = small(), contents(small())
    for number in (float("nan"), float("inf")):
        held = given._replace(meta=given.meta | {"temperature": number})
        monkeypatch.setattr(document_module, "contents", lambda _, held=held: held)
        with pytest.raises(ValueError, match=r"NaN or infinity.*check"):
            document(ld)


def test_a_file_without_a_name_and_a_name_in_place_of_a_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'such as "page.html", got \'\''):
        write_page(small(), "")
    with pytest.raises(TypeError, match=r"got 'mnist-small'; load .* LinearDiffusion.from_pretrained"):
        write_page("mnist-small", tmp_path / "x.html")
    with pytest.raises(TypeError, match=r"got None$"):
        write_page(None, tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- size


def advice_of(error):
    return {name: int(n) for name, n in re.findall(r"(n_components|n_styles)=(\d+)", str(error.value))}


@pytest.mark.parametrize(
    ("share", "params"),
    [
        (0.8, {"n_components": 45, "n_styles": 20}),  # roots of low rank
        (0.8, {"n_components": 60, "n_styles": 6}),  # as many symbols as components
        (0.8, {"n_components": 50, "n_styles": 4}),  # as many symbols as examples
        (0.8, {"n_components": 30, "n_styles": 20, "contrast": "pixelwise"}),
        (0.8, {"n_components": 40, "n_styles": 3, "guidance_scale": 1.5, "sampler": "ddim", "num_steps": 3}),
        (0.9, {"n_components": 60}),
    ],
)
def test_a_model_that_follows_the_advice_fits(monkeypatch, share, params):
    """The advice fits, without giving away more than a sixth of the room."""
    monkeypatch.setattr(contents_module, "SMALL", 0)  # 16 bits, as in a model of 3 MB
    images = load_digits()

    def size(**change):
        return len(document(LinearDiffusion(**{"random_state": 0, **params, **change}).fit(*images)).encode())

    limit = int(share * size())
    with monkeypatch.context() as patch:
        patch.setattr(document_module, "LARGEST", limit)
        with pytest.raises(ValueError, match=r"MB are allowed.*mnist-small") as error:
            size()
    advice = advice_of(error)
    assert set(advice) == {"n_components"} | ({"n_styles"} & set(params))
    for name, n in advice.items():
        assert 0.83 * limit < size(**{name: n}) <= limit


def test_a_model_too_large_by_far_is_refused_before_its_page_is_made(monkeypatch):
    """The estimated size is that of the page, within a tenth."""
    monkeypatch.setattr(contents_module, "SMALL", 0)
    for params in ({"n_components": 45, "n_styles": 20}, {"n_components": 60, "n_styles": 8}):
        ld = LinearDiffusion(**params, random_state=0).fit(*load_digits())
        size = len(document(ld).encode())
        with monkeypatch.context() as patch:
            patch.setattr(contents_module, "MOST", 0)
            patch.setattr(contents_module, "LARGEST", int(0.8 * size))
            with pytest.raises(ValueError, match="MB are allowed") as error:
                document(ld)
        said = float(re.search(r"would have ([\d.]+) MB", str(error.value))[1])
        assert said == pytest.approx(size / 1e6, rel=0.1)
