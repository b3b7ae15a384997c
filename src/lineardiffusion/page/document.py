"""The HTML of a page: the model, the script and the style in one file that asks for nothing else.

The description of the model is JSON and its arrays are gzip in base64, both in elements that no browser executes. A
content security policy admits this one script and this one style, by their hashes, and nothing from anywhere.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from importlib import resources
from typing import Any

from lineardiffusion.estimator import LinearDiffusion
from lineardiffusion.page.bundle import bundle
from lineardiffusion.page.contents import Contents, contents
from lineardiffusion.page.plane import point_sets

LARGEST = 3_000_000  # bytes of a page


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
    for name, text in parts.items():
        head, tail = html.split(f"{{{{{name}}}}}")
        html = head + text + tail
    if (size := len(html.encode())) > LARGEST:
        raise ValueError(_advice(held, size, len(arrays)))
    return html


def _json(value: Any) -> str:
    """Return JSON that may stand in an HTML element: ASCII, without <."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _advice(held: Contents, size: int, encoded: int) -> str:
    """Say how large a page would be, and about how many components or styles fit.

    The roots of covariances grow with the square of the number of components d, and what all laws have with the
    number of symbols K.
    """
    index, ratio = held.meta["arrays"], encoded / len(held.blob)
    d, K = index["components"][2], len(held.meta["symbols"]["prompt"])
    ends = [*sorted(entry[1] for entry in index.values()), len(held.blob)]
    length = {name: ratio * (ends[ends.index(entry[1]) + 1] - entry[1]) for name, entry in index.items()}
    linear = length["components"]
    quadratic = sum(n for name, n in length.items() if name.endswith((".roots", ".left")))
    by_symbol = sum(n for name, n in length.items() if index[name][2] == K)
    room = 0.97 * (LARGEST - (size - linear - quadratic))
    share = (math.sqrt(linear**2 + 4 * quadratic * room) - linear) / (2 * quadratic) if room > 0 else 0.0
    ways = [f"n_components={int(share * d)}"] if share * d >= 1 else []
    if held.meta["styles"] is not None:
        per_prompt = K / len(held.meta["prompts"])
        styles = per_prompt * (1 - (size - 0.97 * LARGEST) / by_symbol)
        ways += [f"n_styles={int(styles)}"] if styles >= 2 else []
    instead = f"about {' or '.join(ways)} would fit" if ways else "fit on smaller images or with fewer prompts"
    return f"the page would have {size / 1e6:.1f} MB, and at most {LARGEST / 1e6:.0f} MB are allowed; {instead}"
