"""A model as an interactive page: one HTML file that holds it, and needs no server and no network.

``contents`` chooses what of a model a page needs, ``bundle`` makes one script of the modules in ``app/``,
``plane`` fits points of the plane, and ``document`` puts all of it into one file. The page computes what the
library computes.
"""

from __future__ import annotations

import os
from pathlib import Path

from lineardiffusion.estimator import LinearDiffusion
from lineardiffusion.io.replacing import replacing
from lineardiffusion.page.document import document as html_of

__all__ = ["write_page"]


def write_page(model: LinearDiffusion, path: str | os.PathLike[str]) -> int:
    """Write the page of a model to a file, which a failure leaves as it was.

    Parameters
    ----------
    model : LinearDiffusion
        Fitted model.
    path : path-like
        The file, such as ``"page.html"``.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    ValueError
        If a page cannot hold the model, or if it would be larger than 3 MB.

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
    data = html_of(model).encode()
    with replacing(Path(path)) as new:
        new.write_bytes(data)
    return len(data)
