"""Fields: a JSON object whose every field is checked as it is read.

Files come from anywhere. So nobody takes a value from one but through these, and what is not as expected is
a ValueError that names the field, what it must be and what it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

SIZE_MAX = 2**40  # of anything that is counted; larger products still fit Python's integers


class Fields:
    """The fields of an object.

    Parameters
    ----------
    values : object
        What JSON had there.
    name : str
        What to call it in an error.
    """

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, dict):
            raise ValueError(f"{name} must be an object, got {values!r:.40}")
        self.values: Mapping[str, Any] = values
        self.name = name

    def only(self, names: Iterable[str]) -> None:
        """Refuse fields that are missing, and those that nobody knows."""
        names = set(names)
        if missing := sorted(names - set(self.values)):
            raise ValueError(f"{self.name} lacks {missing[0]!r:.40}")
        if unknown := sorted(set(self.values) - names):
            raise ValueError(f"{self.name} has the unknown field {unknown[0]!r:.40}")

    def raw(self, name: str) -> Any:
        if name not in self.values:
            raise ValueError(f"{self.name} lacks {name!r}")
        return self.values[name]

    def section(self, name: str) -> Fields:
        """An object in the object."""
        return Fields(self.raw(name), repr(name))

    def optional(self, name: str) -> Fields | None:
        """An object, or None where there is null."""
        return None if self.raw(name) is None else self.section(name)

    def size(self, name: str) -> int:
        """A whole number of 1 or more."""
        return self._size(self.raw(name), name)

    def sizes(self, name: str) -> tuple[int, ...]:
        return tuple(self._size(one, f"each of {name}") for one in self._list(name))

    def number(self, name: str, low: float = -math.inf) -> float:
        """A finite number of at least `low`, as a float."""
        value = self.raw(name)
        fine = isinstance(value, int | float) and not isinstance(value, bool)
        if not fine or not low <= float(value) < math.inf or not math.isfinite(value):
            least = "" if low == -math.inf else f" of {low} or more"
            raise self._wrong(name, f"a finite number{least}", value)
        return float(value)

    def flag(self, name: str) -> bool:
        value = self.raw(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def text(self, name: str, choices: Iterable[str]) -> str:
        value, choices = self.raw(name), list(choices)
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}", value)
        return value

    def strings(self, name: str) -> tuple[str, ...]:
        values = self._list(name)
        for value in values:
            if not isinstance(value, str):
                raise self._wrong(f"each of {name}", "a string", value)
        return tuple(values)

    def _list(self, name: str) -> list[Any]:
        value = self.raw(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list", value)
        return value

    def _size(self, value: Any, name: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= SIZE_MAX:
            raise self._wrong(name, f"an int from 1 to {SIZE_MAX}", value)
        return value

    def _wrong(self, name: str, expected: str, value: object) -> ValueError:
        return ValueError(f"{name!r} of {self.name} must be {expected}, got {value!r:.40}")
