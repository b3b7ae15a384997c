"""Download one file from the first of several mirrors that serves it unchanged."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
from collections.abc import Iterable
from pathlib import Path

_TIMEOUT = 5.0  # seconds without an answer after which a mirror is given up


def download(urls: Iterable[str], path: Path, sha256: str) -> None:
    """Download a file to `path` whole and with this SHA-256, or leave `path` as it is and raise OSError."""
    failures = []
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                content = response.read()
            if (found := hashlib.sha256(content).hexdigest()) != sha256:
                raise OSError(f"the SHA-256 of the file is {found}, expected {sha256}")
            path.parent.mkdir(parents=True, exist_ok=True)
            # A temporary folder, because NamedTemporaryFile would make the file readable for its owner only; on
            # the same disk, so that os.replace is atomic.
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                temporary = Path(folder, path.name)
                temporary.write_bytes(content)
                os.replace(temporary, path)
            return
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{url}: {error}")
    raise OSError("; ".join(failures))
