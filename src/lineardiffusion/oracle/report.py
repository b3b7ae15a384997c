"""Reports of the oracle: distances, order of convergence, floor and warnings, as values, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.distributions.gaussian import Gaussian

WORSE = 1.01  # times the distance of fewer steps, beyond which more steps are worse
ROUNDING = 1e-5  # share of the law's spread; smaller distances are rounding, of libraries in single precision
LEFT = 1e-3  # share of the mean standard deviation; noise below it counts as none
CONVERGED = 3.0  # times what more steps still change, beyond which a distance is a floor


@dataclass(frozen=True)
class Row:
    """What the oracle measured with one number of steps.

    Attributes
    ----------
    num_steps : int
        Number of steps.
    calls : int
        Calls of the denoiser.
    distance : float
        Distance to the law, in the units of x; NaN where the sampler failed or gave no number.
    mean_error : float
        Distance of the means, one of the two parts of the distance, which is their hypotenuse. NaN where the
        distance was estimated by draws.
    spread_error : float
        Distance of the standard deviations, the other part.
    noise_left : float
        Standard deviation of the noise that is left at the end; NaN where the distance was estimated by draws.
    start_level : tuple of float
        (alpha, sigma) of the first step.
    standard_error : float
        Standard error of the distance; 0 where it is exact.
    error : str
        Why the sampler failed; empty otherwise.
    near_data : bool
        Whether the first level holds more signal than noise, which an exact start hands over. Such a row is not
        compared with others in :attr:`Report.worse`.
    """

    num_steps: int
    calls: int
    distance: float
    mean_error: float
    spread_error: float
    noise_left: float
    start_level: tuple[float, float] = (math.nan, math.nan)
    standard_error: float = 0.0
    error: str = ""
    near_data: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """Report of the oracle on a sampler.

    Attributes
    ----------
    sampler : str
        Name of the sampler.
    measure : str
        "W2", exact; or what draws estimated.
    spread : float
        Root of the law's total variance; relative distances are shares of it. If it is 0, they are in the units
        of x.
    rows : tuple of Row
        One for each number of steps, rising.
    order : float
        Order of convergence p, by which laws of n and 2 n steps differ by a constant times n^-p, fitted to
        doubled numbers of steps. NaN where it is not defined.
    order_error : float
        Half the range of p between these numbers of steps.
    floor : float
        Distance with `floor_steps` steps.
    floor_steps : int
        Number of steps that the floor was measured with; 0 if it was not.
    warnings : tuple of str
        Warnings, in words.
    versions : mapping of str to str
        Versions of the libraries that ran.
    start : str
        "exact" or "noise".
    size : float
        Root of the law's mean square; distances below 1e-5 of it are rounding.

    See Also
    --------
    oracle : The function that makes it.
    lineardiffusion.plot.convergence : A figure of several reports.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Gaussian
    >>> from lineardiffusion.oracle import oracle
    >>> law = Gaussian.diagonal(np.zeros(3), np.array([2.0, 1.0, 0.5]))
    >>> report = oracle("heun", law, steps=(10, 20))
    >>> [row.calls for row in report.rows], round(report.order)
    ([19, 39], 2)
    """

    sampler: str
    measure: str
    spread: float
    rows: tuple[Row, ...]
    order: float = math.nan
    order_error: float = math.nan
    floor: float = math.nan
    floor_steps: int = 0
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    start: str = "exact"
    size: float = 0.0
    _laws: Callable[[int], Gaussian] | None = None
    _maps: Callable[[int], tuple[Array, Array]] | None = None

    def law(self, num_steps: int) -> Gaussian:
        """Return the law that the sampler draws from.

        Parameters
        ----------
        num_steps : int
            Number of steps, among those of the report or not.

        Returns
        -------
        Gaussian
            Law in the coordinates of x.

        Raises
        ------
        ValueError
            If the report is of a mixture, or was loaded from a pickle.
        """
        if self._laws is None:
            raise ValueError(
                "this report has no law: under a mixture it has no closed form, and a pickle keeps none"
            )
        return self._laws(num_steps)

    def map(self, num_steps: int) -> tuple[Array, Array]:
        """Return the sampler as one map, ``x = matrix @ z + offset``, of the standardised start z.

        With ``start="exact"`` z is the state at the first level, less its mean, over its standard deviation in
        each principal direction; with ``start="noise"`` it is the noise over its standard deviation.

        Parameters
        ----------
        num_steps : int
            Number of steps, among those of the report or not.

        Returns
        -------
        matrix : ndarray of shape (d, d)
            Matrix of the map, without the noise that a stochastic sampler adds.
        offset : ndarray of shape (d,)
            Offset of the map.

        Raises
        ------
        ValueError
            If the report is of a mixture, or was loaded from a pickle.
        """
        if self._maps is None:
            raise ValueError("this report has no map: under a mixture there is none, and a pickle keeps none")
        return self._maps(num_steps)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the sampler, which may have no pickle: a loaded report has its numbers only."""
        return {**vars(self), "_laws": None, "_maps": None}

    @property
    def worse(self) -> tuple[tuple[int, int], ...]:
        """Pairs of numbers of steps, the second larger than the first and worse."""
        return tuple(pairs_of_worse(self.rows, self.size))

    def to_frame(self) -> Any:
        """Return the rows as a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            One row for each number of steps, which is the index.

        Raises
        ------
        ImportError
            Without pandas.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas; rows has the same numbers") from error
        return pd.DataFrame([self._columns(row) for row in self.rows]).set_index("num_steps")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as numbers and strings, for JSON.

        Returns
        -------
        dict
            Attributes of the report and of its rows; None stands for NaN.
        """
        found = {
            "sampler": self.sampler,
            "measure": self.measure,
            "start": self.start,
            "versions": dict(self.versions),
            "spread": self.spread,
            "order": self.order,
            "order_error": self.order_error,
            "floor": self.floor,
            "floor_relative": self.floor / (self.spread or 1.0),
            "floor_steps": self.floor_steps,
            "warnings": list(self.warnings),
            "rows": [self._columns(row) for row in self.rows],
        }
        return _without_nan(found)  # type: ignore[no-any-return]

    def plot(self) -> Any:
        """Draw the distance and its parts against the calls of the denoiser.

        Returns
        -------
        matplotlib.figure.Figure
            Figure of :func:`lineardiffusion.plot.convergence`.
        """
        from lineardiffusion.plot.convergence import convergence

        return convergence([self])

    def _columns(self, row: Row) -> dict[str, Any]:
        relative = row.distance / (self.spread or 1.0)
        found = {"num_steps": row.num_steps, "calls": row.calls, "distance": row.distance, "relative": relative}
        if self.measure == "W2":
            found |= {"mean_error": row.mean_error, "spread_error": row.spread_error, "noise_left": row.noise_left}
        else:
            found |= {"standard_error": row.standard_error}
        return found | ({"error": row.error} if row.error else {})

    def __repr__(self) -> str:
        exact = self.measure == "W2"
        unit = self.spread or 1.0
        what = f"in units of its spread {self.spread:.4g}" if self.spread else "which has no variance"
        lines = [f"{self.sampler}: {self.measure} to the law, {what}"]
        lines[0] += {"exact": "", "noise": "; from noise alone"}[self.start]
        lines.append("  steps   calls  distance" + ("      mean    spread" if exact else "  standard error"))
        for row in self.rows:
            line = f"{row.num_steps:7d} {row.calls:7d} {row.distance / unit:9.3g}"
            parts = (row.mean_error, row.spread_error) if exact else (row.standard_error,)
            line += "".join(f" {part / unit:{9 if exact else 15}.3g}" for part in parts)
            lines.append(f"{line}  {row.error}".rstrip())
        if math.isfinite(self.order):
            lines.append(f"order of convergence {self.order:.2f} (+- {self.order_error:.2f})")
        if self.floor_steps:
            lines.append(f"with {self.floor_steps} steps {self.floor / unit:.3g}")
        lines += [f"warning: {one}" for one in self.warnings]
        return "\n".join(lines)


def failed(num_steps: int, error: Exception) -> Row:
    """Return the row of a number of steps with which a sampler raised an error."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Row(num_steps, 0, math.nan, math.nan, math.nan, math.nan, error=what)


def failures(name: str, rows: Sequence[Row]) -> list[str]:
    """Return the warnings of numbers of steps that failed or gave no number; a ValueError if all failed."""
    if all(row.error for row in rows):
        raise ValueError(f"{name} fails for every number of steps; {rows[0].error}")
    found = [f"{row.num_steps} steps: {row.error}" for row in rows if row.error]
    broken = [str(row.num_steps) for row in rows if not row.error and not math.isfinite(row.distance)]
    return [*found, f"gives no number with {', '.join(broken)} steps"] if broken else found


def pairs_of_worse(rows: Sequence[Row], size: float) -> list[tuple[int, int]]:
    """Return consecutive numbers of steps of which the second is worse than the first, beyond rounding.

    Those that failed are left out, and those that start near the data. Rounding is a share of the law's `size`.
    """
    found = []
    for before, after in pairwise(row for row in rows if math.isfinite(row.distance) and not row.near_data):
        noise = 3 * math.hypot(before.standard_error, after.standard_error)
        if after.distance > WORSE * before.distance + ROUNDING * size + noise:
            found.append((before.num_steps, after.num_steps))
    return found


def fit_order(steps: Sequence[int], differences: Sequence[float], least: float) -> tuple[float, float]:
    """Return the order p of differences ~ n^-p, and half the range of its local values.

    Differences after the first that is rounding are left out; NaN if fewer than two are left, or if they grow.
    """
    e = np.asarray(differences)
    kept = np.cumprod(np.isfinite(e) & (e > least)).astype(bool)
    if kept.sum() < 2:
        return math.nan, math.nan
    log_n, log_e = np.log(steps)[kept], np.log(e[kept])
    local = -np.diff(log_e) / np.diff(log_n)
    order = float(-np.polyfit(log_n, log_e, 1)[0])
    return (order, float(np.ptp(local) / 2)) if order > 0 else (math.nan, math.nan)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
