"""The file of a page: its text, its size and what is refused. No test needs a browser."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_digits
from lineardiffusion.page import contents as contents_module
from lineardiffusion.page import document as document_module
from lineardiffusion.page import write_page
from lineardiffusion.page.bundle import bundle, bundled
from lineardiffusion.page.contents import contents
from lineardiffusion.page.document import document
from lineardiffusion.page.plane import mixture, point_sets


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
    images = [part[:1000] for part in load_digits()]

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
    """The estimated size is that of the page, within 15 %."""
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
        assert said == pytest.approx(size / 1e6, rel=0.15)


# ---------------------------------------------------------------------- the script


def run_node(script, path, *how):
    node = shutil.which("node")
    if node is None:
        pytest.skip("the syntax of the page's script is checked by node, which is not here: apt-get install nodejs")
    path.write_text(script)
    return subprocess.run([node, *how, str(path)], capture_output=True, text=True, check=False)


def test_the_script_of_the_page_is_javascript(tmp_path):
    assert run_node(bundle(), tmp_path / "page.js", "--check").returncode == 0
    assert "SyntaxError" in run_node(bundle()[:-5], tmp_path / "cut.js", "--check").stderr


MODULES = {
    "main.js": """
import {
  a, b, half,
} from "./parts.js";
import {again, text, url} from "./text.js";
/* a comment of a line */
const c = 7;
console.log(JSON.stringify([a, b, c, half(4), text, url, again(2)])); // done
""",
    "parts.js": """
export const a = (x => ({x, y: "; const c = 1"}).x)(1), b = [2, 3].map((c) => c);
export function half(c) { return c / 2 / 1; } /* not / a regex */
""",
    "text.js": r"""
export const text = `first
// no comment

import {d} from "./nowhere.js";
export const half = ${[1, 2].map((k) => `${k}} const c`).join("`")}
`;
export const url = "http://x/*".replace(/[/"'`{]/g, "-");
export async function* later() { const c = 1; yield c; }
export class again$ {}
export const again = (n) => n > 0 ? [n, ...again(n - 1)] : [];
""",
}


def test_a_bundle_computes_what_its_modules_do(tmp_path):
    """The bundle and the modules themselves print the same; nothing is lost in strings, templates and lists."""
    for path, text in MODULES.items():
        (tmp_path / path).write_text(text)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    expected = run_node(MODULES["main.js"], tmp_path / "main.js").stdout
    assert json.loads(expected)[3:4] == [2]
    assert "// no comment\n\nimport" in json.loads(expected)[4]
    found = run_node(bundled(MODULES, "main.js"), tmp_path / "bundle.cjs")
    assert found.stdout == expected
    assert "of a line" not in bundled(MODULES, "main.js")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("const a = 1, taken = 2;", "both declare 'taken'"),
        ("let a = [1, 2], b = (1, 2),\n  taken;", "both declare 'taken'"),
        ("const f = `}`; async function taken() {}", "both declare 'taken'"),
        ("const a = 1, a = 2;", "declares 'a' twice"),
        ("const {taken} = {taken: 1};", "cannot read the names in 'const {taken} = {taken: 1};'"),
        ("const a = 1, [b] = [2];", "write const a = ..., b = ...;"),
        ("const a = 1\nconst taken = 2;", "end the declaration 'const a = 1' with a semicolon"),
        ("var taken = 1;", "const or let in place of var"),
        ('  import {taken} from "./main.js";', "as import {a, b} from"),
        ("const a = 1;\nexport {a};", "export before a name"),
        ("const a = `${1}", "has no end"),
        ("const a = {;", "a brace has no end"),
        ("const a = 'one\n';", "no end in its line"),
        ("const a = '</script>';", "in two parts: '<' + '/script'"),
        ("const a = '<!--';", "may not contain '<!--'"),
    ],
)
def test_a_bundle_refuses_names_that_collide_and_what_it_cannot_read(text, said):
    modules = {"main.js": 'import {other} from "./b.js";\nconst taken = other;\n'}
    bundled(modules | {"b.js": "export const other = 1; function free(taken) { const a = taken; }"}, "main.js")
    with pytest.raises(ValueError, match=re.escape(said)):
        bundled(modules | {"b.js": f"export const other = 1;\n{text}\n"}, "main.js")


def test_a_bundle_needs_its_first_module():
    with pytest.raises(ValueError, match=r"no module 'start\.js' to start with; the modules are a\.js"):
        bundled({"a.js": ""}, "start.js")


def test_a_bundle_is_its_modules_in_order():
    modules = {
        "main.js": '// The page.\nimport {twice} from "./a/twice.js";\n'
        'import {once} from "./once.js";\n\ntwice(once);',
        "a/twice.js": 'import {once} from "../once.js";\n\n/** Return\n * twice. */\nexport function twice(f) {\n'
        '  // why\n  return once(f) + "// text";\n}\n',
        "once.js": "export const once = (f) => f();\n",
        "unused.js": "const once = 0;\n",
    }
    inner = 'const once = (f) => f();\nfunction twice(f) {\n  return once(f) + "// text";\n}\ntwice(once);\n'
    assert bundled(modules, "main.js") == f'"use strict";\n(() => {{\n{inner}}})();'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"b.js": "export const b = 1;\nfunction a() {}\n"}, "both declare 'a'"),
        ({"b.js": 'import {a} from "./a.js";\nexport const b = a;\n'}, "import each other: a.js -> b.js -> a.js"),
        ({"b.js": "const b = 1;\n"}, "imports b from b.js, which does not export it"),
        ({"a.js": 'import {c} from "./c.js";\n'}, "imports ./c.js, which does not exist"),
        ({"a.js": 'import b from "./b.js";\n'}, "write 'import b from"),
        ({"b.js": "export default 1;\nexport const b = 1;\n"}, "write 'export default"),
    ],
)
def test_a_bundle_refuses_what_it_cannot_do(change, said):
    modules = {"a.js": 'import {b} from "./b.js";\nexport const a = b;\n', "b.js": "export const b = 1;\n"} | change
    with pytest.raises(ValueError, match=re.escape(said)):
        bundled(modules, "a.js")


def test_a_page_loads_nothing():
    html = document(small())
    assert "default-src 'none'" in html
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert "{{" not in html.replace(bundle(), "")


def test_a_page_too_large_says_what_fits(monkeypatch):
    data = load_digits()
    ld = LinearDiffusion(40, n_styles=6, random_state=0).fit(*data)
    size = len(document(ld).encode())
    monkeypatch.setattr(document_module, "LARGEST", int(0.7 * size))
    with pytest.raises(ValueError, match="MB are allowed") as error:
        document(ld)
    advice = {name: int(n) for name, n in re.findall(r"(n_components|n_styles)=(\d+)", str(error.value))}
    assert set(advice) == {"n_components", "n_styles"}
    for change in advice.items():
        smaller = LinearDiffusion(**{"n_components": 40, "n_styles": 6, "random_state": 0} | dict([change])).fit(
            *data
        )
        assert 0.75 <= len(document(smaller).encode()) / (0.7 * size) <= 1


def test_mixtures_of_the_plane_have_the_moments_of_their_points():
    points = np.random.default_rng(0).normal(size=(500, 2)) @ [[1.0, 0.7], [0.0, 0.3]] + [3.0, -1.0]
    expected = np.cov(points.T, bias=True)

    def error(found):
        weights, means, covariances = (np.array(found[name]) for name in ("weights", "means", "covariances"))
        mean = weights @ means
        total = np.einsum("k,kij->ij", weights, covariances + means[:, :, None] * means[:, None]) - np.outer(
            mean, mean
        )
        return max(np.abs(mean - points.mean(axis=0)).max(), np.abs(total - expected).max() / expected.max())

    assert error(mixture(points, 1)) < 1e-4
    ten = mixture(points, 10)
    assert error(ten) < 0.03
    assert error(ten | {"weights": ten["weights"][::-1]}) > 0.1  # weights of other Gaussians
    for one in point_sets().values():
        assert np.abs(np.mean(one["points"], axis=0)).max() < 0.3
