"""A page in Chromium, without a network: it may ask for nothing but its own file, and must say nothing."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from lineardiffusion.page.bundle import bundled, read_modules

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium; skip the test where it, or playwright, is missing."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="tests of the page need playwright: pip install playwright"
    )
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("tests of the page need Chromium: apt-get install chromium")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, path: Path, **context: Any) -> Iterator[Any]:
    """Open a file; fail on a request beyond it, on a message of the console, and on an error of the page.

    `context` are settings of the browser's context, such as ``viewport`` and ``color_scheme``.
    """
    own = browser.new_context(offline=True, **context)
    page = own.new_page()
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url[:200]))
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: messages.append(f"error: {error}"))
    try:
        page.goto(path.as_uri())
        yield page
        beyond = [url for url in requests if url.split("#")[0] != path.as_uri()]
        assert not beyond, f"the page asked for {beyond}"
        assert not messages, f"the page said {messages}"
        errors = page.evaluate("(globalThis.linearDiffusion?.errors ?? []).map(String)")
        assert not errors, f"the page shows {errors}"
    finally:
        own.close()


def modules(*folders: str) -> str:
    """Return the modules of some folders of the page as one script, whose exported names are global."""
    texts = read_modules(resources.files("lineardiffusion.page") / "app")
    own = {path: text for path, text in texts.items() if path.split("/")[0] in folders}
    exported = {
        path: re.findall(r"^export (?:async )?(?:function\*?|class|const) (\w+)", own[path], re.M) for path in own
    }
    lines = [f'import {{{", ".join(names)}}} from "./{path}";' for path, names in exported.items()]
    names = ", ".join(name for found in exported.values() for name in found)
    return bundled({**texts, "all.js": "\n".join([*lines, f"Object.assign(globalThis, {{{names}}});"])}, "all.js")
