"""Check the built site: ``python scripts/check_site.py [FOLDER]`` (default: docs/_build/html).

No page and no style sheet loads anything from another host. What they load and link to is there, a named place in
it too. Every picture has an ``alt`` text. The faults are printed, and the exit status is 1 if there are any.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).parent.parent / "docs" / "_build" / "html"
LOADED = {  # attributes whose address a browser loads when it opens the page
    **dict.fromkeys(("audio", "embed", "iframe", "input", "script", "track"), ("src",)),
    **dict.fromkeys(("feimage", "image", "use"), ("href", "xlink:href")),
    **dict.fromkeys(("img", "source"), ("src", "srcset")),
    "object": ("data",),
    "video": ("src", "poster"),
}
NOT_LOADED = {
    "alternate",
    "author",
    "canonical",
    "help",
    "index",
    "license",
    "next",
    "prev",
    "search",
}  # <link rel>
STATE = {"page.html"}  # what follows the # in a link to it is a state of the page, not a place in it


class Page(HTMLParser):
    """Addresses that a page loads, addresses that it links to, its places, and its pictures without a text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.silent: list[str] = []
        self._style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._style = tag == "style"
        self.places |= {found[name] for name in (("id", "name") if tag == "a" else ("id",)) if name in found}
        self.loaded += styled(found.get("style", ""))
        for name in LOADED.get(tag, ()):
            if name == "srcset":
                self.loaded += [choice.split()[0] for choice in found.get(name, "").split(",") if choice.strip()]
            elif name in found:
                self.loaded.append(found[name])
        if tag == "link" and "href" in found:
            unloaded = set(found.get("rel", "").lower().split()) <= NOT_LOADED
            (self.links if unloaded else self.loaded).append(found["href"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "img" and "alt" not in found:
            self.silent.append(found.get("src", ""))

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self.loaded += styled(data)


def styled(css: str) -> list[str]:
    """Return the addresses that a style sheet loads."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    quoted = r"""(?:"([^"]*)"|'([^']*)'|([^"')\s]+))\s*"""
    found = re.findall(rf"url\(\s*{quoted}\)|@import\s*(?:\"([^\"]*)\"|'([^']*)')", css)
    return ["".join(groups) for groups in found]


def is_elsewhere(address: str) -> bool:
    """Whether an address names another host."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https")


@cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def target(source: Path, address: str) -> Path:
    """Return the file that an address names within the site."""
    path = unquote(urlsplit(address).path)
    found = source if not path else source.parent / path
    return (found / "index.html" if found.is_dir() else found).resolve()


def missing(source: Path, address: str) -> str | None:
    """Return what is wrong with an address within the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:  # data, mailto, and links to other sites
        return None
    found = target(source, address)
    if not found.is_file():
        return f"no such file: {address}"
    if parts.fragment and found.suffix == ".html" and found.name not in STATE:
        place = unquote(parts.fragment)
        if place not in page(found).places and not place.startswith(":~:"):
            return f"no such place: {address}"
    return None


def pages(site: Path) -> list[Path]:
    """Return the pages of the site; what a theme keeps beside its style sheets is none."""
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)


def findings(site: Path) -> Iterator[str]:
    """Yield a line for each fault of the site."""
    for path in pages(site):
        name, read = path.relative_to(site), page(path)
        for address in read.loaded:
            if is_elsewhere(address):
                yield f"{name}: loads from another host: {address}"
        for address in dict.fromkeys([*read.loaded, *read.links]):
            if fault := missing(path, address):
                yield f"{name}: {fault}"
        for picture in read.silent:
            yield f"{name}: a picture without an alt text: {picture}"
    for path in sorted(site.rglob("*.css")):
        for address in styled(path.read_text(encoding="utf-8")):
            if is_elsewhere(address):
                yield f"{path.relative_to(site)}: loads from another host: {address}"
            elif fault := missing(path, address):
                yield f"{path.relative_to(site)}: {fault}"


def main() -> None:
    site = Path(sys.argv[1]) if len(sys.argv) > 1 else SITE
    if not (site / "index.html").is_file():
        raise SystemExit(f"no site in {site}: make docs builds it")
    found = list(findings(site))
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(pages(site))} pages, {len(found)} faults")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
