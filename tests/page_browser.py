"""A page in Chromium, without a network: it may ask for nothing but its own file, and must say nothing."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import lineardiffusion

APP = Path(lineardiffusion.__file__).parent / "page" / "app"
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
    finally:
        own.close()


def modules(*folders: str) -> str:
    """Return the modules of some folders of the page as one script, whose exported names are global."""
    found: dict[Path, str] = {}

    def add(path: Path) -> None:
        if path not in found:
            text = path.read_text()
            for other in re.findall(r'^import .* from "(.+)";$', text, re.M):
                add((path.parent / other).resolve())
            found[path] = re.sub(r"^import .*\n", "", text, flags=re.M).replace("\nexport ", "\n")

    for folder in folders:
        for path in sorted((APP / folder).glob("*.js")):
            add(path.resolve())
    return '"use strict";\n' + "\n".join(found.values())
