"""The page: every control changes its picture, drawing is fast, and everybody can use it.

What the page computes is tested in test_page_parity.py. Accessibility is tested by accessibility.js, and by axe
where the environment variable AXE_CORE has the path of axe.min.js, from the package axe-core of npm.
"""

import os
import re
import statistics
from pathlib import Path

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion
from lineardiffusion.datasets import load_digits
from lineardiffusion.page import document as document_module
from lineardiffusion.page import write_page
from lineardiffusion.page.bundle import bundle, bundled
from lineardiffusion.page.document import document
from lineardiffusion.page.plane import mixture, point_sets
from page_browser import chromium, opened

browser_test = pytest.mark.browser

TABS = ("complete", "components", "denoise", "samplers", "hand", "styles", "plane")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1120, "height": 720}}
MEDIAN, WORST = 5, 16  # milliseconds of an update
TOUCH = 40  # pixels, the least size of what a finger touches


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    prompts, images = load_digits()
    found = tmp_path_factory.mktemp("page") / "page.html"
    ld = LinearDiffusion(12, n_styles=2, contrast="affine", random_state=0).fit(prompts[:1000], images[:1000])
    assert write_page(ld, found) == found.stat().st_size
    return found


@pytest.fixture(scope="module")
def desk(browser, path):
    """A page for all tests that leave it as they like."""
    with opened(browser, path, **DESK) as page:
        ready(page)
        yield page


def ready(page):
    page.wait_for_selector("body[data-ready]")


def settle(page):
    """Wait until the pending update has run."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def show(page, tab):
    page.locator(f"#tab-{tab}").click()
    settle(page)
    return page.locator(f"#panel-{tab}")


def pictures(panel):
    """Return the pixels of all pictures of a tab."""
    return panel.evaluate("(panel) => Array.from(panel.querySelectorAll('canvas'), (one) => one.toDataURL())")


def use(control):
    """Change a control to another value, or press it."""
    kind = control.evaluate("(one) => one.type")
    if kind == "range":
        control.press("PageDown" if control.evaluate("(one) => one.value === one.max") else "PageUp")
    elif kind == "select-one":
        control.select_option(index=control.evaluate("(one) => (one.selectedIndex + 1) % one.options.length"))
    else:
        control.click()


def draw(page, panel):
    """Draw an arc into the upper half with the mouse, and return the times of the updates in milliseconds."""
    box = panel.locator(".sketch canvas").bounding_box()
    page.evaluate("linearDiffusion.timings.length = 0")
    for i, angle in enumerate(np.linspace(np.pi, 2.2 * np.pi, 4)):
        x, y = 0.5 + 0.3 * np.cos(angle), 0.4 + 0.25 * np.sin(angle)
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        if i == 0:
            page.mouse.down()
    page.mouse.up()
    settle(page)
    return page.evaluate("linearDiffusion.timings")


# ---------------------------------------------------------------------- controls


@browser_test
@pytest.mark.parametrize("tab", TABS)
def test_every_control_changes_the_picture(desk, tab):
    panel = show(desk, tab)
    controls = panel.locator("input[type=range], select, button:not([aria-pressed=true])")
    count = controls.count()
    assert count >= 3
    for i in range(count):
        control = controls.nth(i)
        before = pictures(panel)
        control.focus()
        settle(desk)
        assert pictures(panel) == before  # the focus alone changes nothing
        use(control)
        settle(desk)
        assert pictures(panel) != before, control.evaluate("(one) => one.outerHTML")


@browser_test
def test_each_tool_does_its_own(desk):
    panel, found = show(desk, "complete"), []
    for tool in ("Draw", "Erase", "Hide", "Show"):
        panel.get_by_label("Hidden part").select_option("centre")
        panel.get_by_role("button", name="Clear").click()
        panel.get_by_label("Draw", exact=True).check()
        draw(desk, panel)
        before = pictures(panel)
        panel.get_by_label(tool, exact=True).check()
        settle(desk)
        assert pictures(panel) == before  # a tool does nothing until it is used
        draw(desk, panel)
        found.append(pictures(panel))
        assert found[-1] != before
    assert len({str(one) for one in found}) == len(found)
    assert panel.get_by_label("Hidden part").input_value() == "painted by hand"


@browser_test
def test_a_link_opens_a_state_and_the_state_is_a_link(browser, path):
    with opened(browser, path, **DESK) as page:
        page.goto(path.as_uri() + "#samplers?prompt=7&style=1&sampler=heun&steps=3&guidance=oops&noise=-1")
        ready(page)
        panel = page.locator("#panel-samplers")
        assert panel.get_by_label("Prompt", exact=True).input_value() == "7"
        assert panel.get_by_label("Sampler", exact=True).input_value() == "heun"
        assert panel.get_by_label("Style", exact=True).input_value().startswith("1 (")
        assert "heun with 3 steps" in panel.inner_text()
        panel.get_by_label("Sampler", exact=True).select_option("rk4")
        page.wait_for_timeout(400)
        assert page.evaluate("location.hash") == "#samplers?prompt=7&style=1&sampler=rk4&steps=3"
        page.evaluate("location.hash = '#samplers?guidance=2'")  # a link has all of a state
        page.wait_for_timeout(100)
        assert "W₂ of ddim with 6 steps and guidance 2 to" in panel.inner_text()
        assert panel.get_by_label("Prompt", exact=True).input_value() == "3"
        page.evaluate("location.hash = '#no-such-tab?steps=2'")
        page.wait_for_timeout(100)
        assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Complete"
        page.evaluate("location.hash = '#plane?points=moons&gaussians=4&steps=1e9'")
        page.wait_for_timeout(100)
        assert "with 40 steps" in page.locator("#panel-plane").inner_text()
        assert page.locator("#panel-plane").get_by_label("Number of Gaussians").input_value() == "4 Gaussians"


# ---------------------------------------------------------------------- speed


def fast(page, panel):
    """Return whether drawing keeps within the budget, at the best of three trials."""
    for _ in range(3):
        times = draw(page, panel)
        assert len(times) >= 3
        if statistics.median(times) <= MEDIAN and max(times) <= WORST:
            return True
    return False


SLOW = """() => {
  const own = linearDiffusion.Posterior.prototype, observe = own.observe;
  own.observe = function (image) {
    const end = performance.now() + 20;
    while (performance.now() < end);
    return observe.call(this, image);
  };
}"""


@browser_test
def test_drawing_keeps_within_the_frame_budget(browser, path):
    with opened(browser, path, **DESK) as page:
        ready(page)
        assert page.evaluate("Number(document.body.dataset.ready)") < 1000
        panel = page.locator("#panel-complete")
        assert fast(page, panel)
        page.evaluate(SLOW)
        assert not fast(page, panel)


@browser_test
def test_at_most_one_update_is_pending(desk):
    panel = show(desk, "components")
    desk.evaluate("linearDiffusion.timings.length = 0")
    panel.locator("input[type=range]").first.evaluate(
        "(one) => { for (let i = 0; i < 50; i++) { one.value = i; one.dispatchEvent(new Event('input')); } }"
    )
    settle(desk)
    assert len(desk.evaluate("linearDiffusion.timings")) == 1


# ---------------------------------------------------------------------- everybody


@browser_test
def test_tabs_follow_the_practices_of_aria(desk):
    tabs = desk.get_by_role("tablist").get_by_role("tab")
    assert tabs.all_inner_texts() == [name.capitalize() for name in TABS]
    tabs.first.focus()
    for key, expected in (("ArrowRight", 1), ("End", 6), ("ArrowRight", 0), ("ArrowLeft", 6), ("Home", 0)):
        desk.keyboard.press(key)
        chosen = tabs.nth(expected)
        assert (
            chosen.evaluate("(one) => one === document.activeElement && one.getAttribute('aria-selected')")
            == "true"
        )
        assert desk.locator("[role=tab][tabindex='0']").count() == 1
        assert desk.locator("[role=tabpanel]:visible").get_attribute("id") == chosen.get_attribute("aria-controls")
        assert desk.get_by_role("tabpanel", name=TABS[expected].capitalize()).count() == 1


FOCUSED = """() => {
  const one = document.activeElement, shown = one.matches('input[type=radio]') ? one.nextElementSibling : one;
  return [`${one.ariaLabel ?? one.id} ${one.id} ${one.textContent}`, getComputedStyle(shown).outlineStyle];
}"""


@browser_test
def test_the_keyboard_reaches_everything_in_order_and_draws(browser, path):
    with opened(browser, path, **DESK) as page:
        ready(page)
        panel, order = page.locator("#panel-complete"), []
        page.get_by_role("tab", name="Complete").focus()
        for _ in range(7):
            page.keyboard.press("Tab")
            name, outline = page.evaluate(FOCUSED)
            assert outline != "none"
            order.append(name)
        expected = ["panel-complete", "Drawing area", "draw", "Clear", "Next example", "hidden", "Other draws"]
        assert [name in found for name, found in zip(expected, order, strict=True)] == [True] * 7, order
        panel.get_by_role("application").focus()
        before = pictures(panel)
        page.keyboard.press("ArrowUp")
        settle(page)
        assert pictures(panel) == before  # the cursor alone paints nothing
        page.keyboard.press("Space")
        settle(page)
        spot = pictures(panel)
        assert spot != before
        page.keyboard.press("Shift+ArrowLeft")
        settle(page)
        assert pictures(panel) != spot
        page.wait_for_timeout(500)
        assert re.fullmatch(r"Likeliest prompt: \d, \d+\.\d\u00a0%", page.locator("#live").inner_text())


@browser_test
def test_labels_of_pictures_follow_the_pictures(desk):
    panel = show(desk, "styles")
    labels = "(panel) => Array.from(panel.querySelectorAll('canvas'), (one) => one.ariaLabel).join()"
    before = panel.evaluate(labels)
    panel.get_by_label("Prompt", exact=True).select_option("3")
    settle(desk)
    assert "Draw 10 of 3" in panel.evaluate(labels)
    assert panel.evaluate(labels) != before


FINDINGS = (Path(__file__).parent / "accessibility.js").read_text()
BAD = """() => document.querySelector('main').insertAdjacentHTML('beforeend',
  '<p id=live>twice</p><p id=pale>pale</p><button></button><canvas></canvas><i aria-controls=none>x</i>')
  ?? (document.getElementById('pale').style.color = '#777')"""


SMALL = """(least) => {
  const all = Array.from(document.querySelectorAll('[role=tab], select, button, .segment, input[type=range]'));
  return all.filter((one) => one.checkVisibility()).filter((one) => {
    const box = one.getBoundingClientRect();
    return Math.min(box.width, box.height) < least;
  }).map((one) => one.outerHTML);
}"""


@browser_test
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nobody_is_shut_out(browser, path, scheme, size):
    """Names, roles, references and contrast; on a phone no sideways scroll, and nothing too small for a finger."""
    axe = Path(os.environ["AXE_CORE"]).read_text() if "AXE_CORE" in os.environ else None
    with opened(browser, path, color_scheme=scheme, **size) as page:
        ready(page)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", paper))) < 50) == (scheme == "dark")
        if axe is not None:
            page.evaluate(axe)
        for tab in TABS:
            show(page, tab)
            assert page.evaluate(FINDINGS) == []
            if size is PHONE:
                assert page.evaluate("document.documentElement.scrollWidth") == 390
                assert page.evaluate(SMALL, TOUCH) == []
            if axe is not None:
                page.wait_for_timeout(300)
                found = page.evaluate("async () => (await axe.run()).violations.map((one) => [one.impact, one.id])")
                assert [one for one in found if one[0] in ("serious", "critical")] == []
        page.evaluate(BAD)
        found = {one.split(":")[0] for one in page.evaluate(FINDINGS)}
        assert found == {"an id twice", "contrast", "no name", "no role", "a reference to nothing"}


# ---------------------------------------------------------------------- what may come


@browser_test
def test_blank_pictures_have_probabilities(browser, path):
    with opened(browser, path, **DESK) as page:
        ready(page)
        for tab in ("complete", "hand"):
            panel = show(page, tab)
            panel.get_by_role("button", name="Clear").click()
            settle(page)
            numbers = [float(text.split()[0]) for text in panel.locator(".bars b").all_inner_texts()]
            assert sum(numbers) == pytest.approx(100, abs=0.6)
            assert "NaN" not in panel.inner_text()
        panel = show(page, "complete")
        symbols = page.evaluate("linearDiffusion.model.symbols")
        prior = sum(one["weight"] for one in symbols if one["prompt"] == 0)
        panel.get_by_label("Hidden part").select_option("everything")
        settle(page)
        assert panel.locator(".bars b").first.inner_text() == f"{100 * prior:.1f}\u00a0%"


@browser_test
def test_prompts_are_text_and_any_shape_is_shown(browser, tmp_path):
    prompts = [
        "<img src=x onerror=\"document.title='read as HTML'\">",
        "</script><script>document.title = 1</script>",
        "",
        "\u2028&amp;",
    ]
    rng = np.random.default_rng(0)
    for shape, names in (((3, 4, 3), prompts), ((7,), prompts[:1])):
        file = tmp_path / f"{len(shape)}.html"
        which = np.arange(80) % len(names)
        write_page(
            LinearDiffusion(3).fit(
                [names[u] for u in which], rng.normal(size=(80, *shape)) + 3 * which.reshape(-1, *[1] * len(shape))
            ),
            file,
        )
        with opened(browser, file, **PHONE) as page:
            ready(page)
            assert page.locator("#tab-styles").count() == 0
            for tab in [one for one in TABS if one != "styles"]:
                panel = show(page, tab)
                assert page.evaluate(FINDINGS) == []
                assert page.evaluate("document.documentElement.scrollWidth") == 390
                if tab == "denoise" and len(names) > 1:
                    options = panel.get_by_label("Prompt", exact=True).locator("option").all_text_contents()
                    assert set(options) == {"all prompts", "(empty prompt)", *filter(None, prompts)}
            assert page.title() == "Linear Diffusion"
            assert page.locator("main img, main script").count() == 0


@browser_test
def test_a_browser_that_cannot_start_the_page_says_so(browser, path):
    context = browser.new_context(offline=True)
    context.add_init_script("delete globalThis.DecompressionStream")
    page = context.new_page()
    page.goto(path.as_uri())
    notice = page.get_by_role("alert")
    notice.wait_for()
    assert "browser" in notice.inner_text()
    context.close()
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert "needs JavaScript" in page.locator("main").inner_text()
    context.close()


# ---------------------------------------------------------------------- the file


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


def test_the_page_asks_for_nothing(path):
    html = path.read_text()
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
