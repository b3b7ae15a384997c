"""The HTML of a page: the model, the script and the style in one self-contained file.

The description of the model is JSON and its arrays are gzip in base64, both in elements that no browser executes. A
content security policy admits this script and this style, by their hashes, and blocks all else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import zlib
from importlib import resources
from typing import Any

import numpy as np

from lineardiffusion.estimator import LinearDiffusion
from lineardiffusion.page.bundle import bundle
from lineardiffusion.page.contents import Contents, contents
from lineardiffusion.page.plane import point_sets
from lineardiffusion.page.size import LARGEST, Layout, refusal


def document(model: LinearDiffusion) -> str:
    """Return the HTML of the page of a model.

    Parameters
    ----------
    model : LinearDiffusion
        Fitted model.

    Returns
    -------
    str
        The HTML, at most 3 MB in UTF-8.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    ValueError
        If a page cannot hold the model, or if it would be larger than 3 MB.

    Examples
    --------
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> html = document(LinearDiffusion(16).fit(*load_digits()))
    >>> html.count("<script"), len(html) < 200_000
    (3, True)
    """
    held = contents(model)
    arrays = base64.b64encode(gzip.compress(held.blob, 9, mtime=0)).decode("ascii")
    folder = resources.files(__package__) / "app"
    style, script = (folder / "style.css").read_text(encoding="utf-8"), bundle()
    parts = {
        "policy": f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        "style": style,
        "meta": _json({"model": held.meta, "plane": point_sets()}),
        "arrays": arrays,
        "script": script,
    }
    html = (folder / "page.html").read_text(encoding="utf-8")
    html = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], html)  # what is put in is not searched
    if (size := len(html.encode())) > LARGEST:
        raise ValueError(_refusal(held, size, len(arrays)))
    return html


def _json(value: Any) -> str:
    """Return JSON that may stand in an HTML element: ASCII, without <."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        what = "a page cannot hold NaN or infinity, and a setting or a statistic of this model is one"
        raise ValueError(f"{what}; check its parameters and the images of its fit") from error
    return text.replace("<", "\\u003c")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _refusal(held: Contents, size: int, encoded: int) -> str:
    """Return the message for a page that is too large, from the compressed sizes of its arrays."""
    index = held.meta["arrays"]
    places = sorted((entry[1], name) for name, entry in index.items())
    ends = [*(place for place, _ in places[1:]), len(held.blob)]
    zipped = {name: len(zlib.compress(held.blob[at:end])) for (at, name), end in zip(places, ends, strict=True)}
    ratio = encoded / sum(zipped.values())
    length = {name: ratio * bytes_ for name, bytes_ in zipped.items()}
    length["symbols"] = len(_json([held.meta["symbols"], held.meta["styles"]]))
    styles = held.meta["styles"]
    images = None if styles is None else np.array(styles["images"], dtype=np.float64)
    now = Layout(index["components"][2], len(held.meta["symbols"]["prompt"]), images)
    return refusal(size, LARGEST, length, now, len(held.meta["prompts"]))
