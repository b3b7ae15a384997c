"""A model as an interactive page: one HTML file that holds it, and needs no server and no network.

``contents`` selects the arrays of a model that a page needs, ``bundle`` makes one script of the modules in
``app/``, ``plane`` fits mixtures to points of the plane, ``document`` writes all of it into one file, and ``size``
says which smaller model would fit. The page computes what the library computes.
"""

from __future__ import annotations

import os
from pathlib import Path

from lineardiffusion.estimator import LinearDiffusion
from lineardiffusion.io.replacing import replacing
from lineardiffusion.page.document import document as html_of

__all__ = ["write_page"]


def write_page(model: LinearDiffusion, path: str | os.PathLike[str]) -> int:
    """Write the interactive page of a model to an HTML file.

    If writing fails, an older file of this name stays as it is.

    Parameters
    ----------
    model : LinearDiffusion
        Fitted model.
    path : path-like
        Name of the file, such as ``"page.html"``.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    TypeError
        If `model` is not a LinearDiffusion.
    ValueError
        If a page cannot hold the model, if it would be larger than 3 MB, or if `path` names no file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> from lineardiffusion.page import write_page
    >>> ld = LinearDiffusion(16).fit(*load_digits())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = write_page(ld, Path(folder) / "page.html")
    >>> 100_000 < size < 200_000
    True
    """
    if not isinstance(model, LinearDiffusion):
        advice = "; load a saved one with LinearDiffusion.from_pretrained" if isinstance(model, (str, Path)) else ""
        raise TypeError(f"model is a fitted LinearDiffusion, got {model!r:.100}{advice}")
    file = Path(path)
    if not file.name:
        raise ValueError(f'path is the name of a file, such as "page.html", got {os.fspath(path)!r}')
    data = html_of(model).encode()
    with replacing(file) as new:
        new.write_bytes(data)
    return len(data)
