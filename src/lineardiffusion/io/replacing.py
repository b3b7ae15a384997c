"""Files that are written in one step: a reader or an interrupt finds the old file or the new one, whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file that replaces the old one at the end, in one step."""
    new = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        new.touch(exist_ok=False)
        mode = new.stat().st_mode
        yield new
        new.chmod(mode)  # safetensors makes files for their owner alone
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:  # name the file that is asked for, not the new one
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        new.unlink(missing_ok=True)
