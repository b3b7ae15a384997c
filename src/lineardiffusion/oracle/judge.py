"""The oracle: how far a sampler's law is from the law that it ought to draw, at any number of steps, exactly.

    sampler -> adapter -> responses -> the sampler's law -> W2, order, floor, warnings -> report

The order of convergence comes from the distances between the laws of n and 2 n steps, which fall as n^-p
whatever the limit is. So a sampler that converges to another law than the target has an order and a floor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lineardiffusion._validation import check_integer
from lineardiffusion.distributions.gaussian import Gaussian
from lineardiffusion.distributions.mixture import Mixture
from lineardiffusion.oracle.adapter import Adapter, NotAffineError
from lineardiffusion.oracle.adapters import get_adapter
from lineardiffusion.oracle.mixtures import judge_by_draws
from lineardiffusion.oracle.report import (
    CONVERGED,
    LEFT,
    ROUNDING,
    Report,
    Row,
    failed,
    failures,
    fit_order,
    pairs_of_worse,
)
from lineardiffusion.oracle.responses import Responses, respond
from lineardiffusion.oracle.target import Target

ORDER_STEPS = (25, 50, 100, 200)  # doubled numbers of steps, from which the order is fitted
FLOOR_STEPS = 500


def oracle(
    sampler: Any,
    law: Gaussian | Mixture,
    *,
    steps: int | Sequence[int] = (5, 10, 20, 50, 100),
    start: str = "exact",
    convergence: bool = True,
    n_draws: int = 512,
    seed: int = 0,
    **options: Any,
) -> Report:
    """Judge a sampler of any library: the exact distance of its law to the law that it ought to draw.

    Under a Gaussian nothing is drawn: the sampler's law follows from its responses to a few inputs
    (``lineardiffusion.oracle.responses``). It must be affine in its state, as samplers are that scale and add
    the state, the denoiser's answers and noise; clipping and thresholding are not.

    Parameters
    ----------
    sampler : str, Sampler, function, or scheduler, sampler or function of another library
        Of this library: a name, an object of ``lineardiffusion.samplers``, or a generator function with the
        signature of :meth:`lineardiffusion.samplers.Sampler.__call__`. Of others: a scheduler of diffusers
        (object, class, or a function without parameters that makes one), a sampler of azula, a function of
        (model, x, sigmas) as in k-diffusion, or any sampler in an :class:`Adapter`.
    law : Gaussian or Mixture
        The law that the sampler ought to draw, for example ``ld.law("7", space="pixels")`` or
        ``Gaussian.diagonal(mean, variance)``. Under a Gaussian the sampler is given its exact denoiser. Under a
        mixture the denoiser is not affine, and distances are estimated from `n_draws` draws.
    steps : int or sequence of int, default=(5, 10, 20, 50, 100)
        Numbers of steps.
    start : {"exact", "noise"}, default="exact"
        Law of the state at the first step: the exact marginal there, so that only the sampler is judged, or the
        noise alone that the library starts from, so that the signal that the schedule leaves is judged too.
    convergence : bool, default=True
        Whether to measure the order of convergence and the floor, with up to 500 steps.
    n_draws : int, default=512
        Number of draws under a mixture.
    seed : int, default=0
        Seed of these draws.
    **options
        Options of the sampler's library. This library: ``schedule="cosine"``. diffusers, azula and k-diffusion: see
        :mod:`lineardiffusion.oracle.adapters`. For diffusers ``level="time"`` (default) tells the denoiser the
        noise level that the timestep has in training, and ``level="sigma"`` the one that the scheduler holds.

    Returns
    -------
    Report
        Distances (in the units of x), their parts, order, floor, costs and warnings.

    Raises
    ------
    NotAffineError
        If the sampler is not affine; the message names the option that is to blame.
    ValueError
        If it fails for every number of steps.

    See Also
    --------
    Report : The result.
    optimal_times : The noise levels of least distance.

    Examples
    --------
    >>> import numpy as np
    >>> from lineardiffusion import Gaussian
    >>> from lineardiffusion.oracle import oracle
    >>> law = Gaussian.diagonal(np.array([1.0, 0.0]), np.array([4.0, 0.25]))
    >>> report = oracle("ddim", law, steps=(10, 20, 40))
    >>> round(report.order, 1)
    1.0
    >>> report.rows[0].distance > 1.9 * report.rows[1].distance
    True
    """
    if not isinstance(law, Gaussian | Mixture):
        raise TypeError(f'law must be a Gaussian or a Mixture, such as ld.law("7"), got {type(law).__name__}')
    given: Any = [steps] if np.ndim(steps) == 0 else steps
    numbers = sorted({check_integer(n, "steps") for n in given})
    if not numbers:
        raise ValueError("steps must hold at least one number of steps")
    if start not in ("exact", "noise"):
        raise ValueError(f'start must be "exact" or "noise", got {start!r}')
    adapter = get_adapter(sampler, **options)
    if isinstance(law, Mixture):
        return judge_by_draws(adapter, law, numbers, start, n_draws, seed)
    return _Judgement(adapter, Target.of(law), start).report(numbers, convergence)


class _Judgement:
    """Responses of one sampler under one target, each number of steps run once."""

    def __init__(self, adapter: Adapter, target: Target, start: str) -> None:
        self.adapter, self.target, self.start = adapter, target, start
        self.known: dict[int, Responses | Exception] = {}
        self.alone = True  # whether states are to be run alone, too; once is enough

    def responses(self, num_steps: int) -> Responses | Exception:
        """Return the responses, or what the sampler raised."""
        if num_steps not in self.known:
            try:
                self.known[num_steps] = found = respond(
                    self.adapter, num_steps, self.target.variance, self.start, self.target.largest_mean, self.alone
                )
                self.alone = self.alone and not np.isfinite(found.std).all()
            except NotAffineError:
                raise
            except Exception as error:  # whatever another library raises at a number of steps
                self.known[num_steps] = error
        return self.known[num_steps]

    def found(self, num_steps: int) -> Responses:
        found = self.responses(num_steps)
        if isinstance(found, Exception):
            raise found
        return found

    def row(self, num_steps: int) -> Row:
        found = self.responses(num_steps)
        if isinstance(found, Exception):
            return failed(num_steps, found)
        mean, spread = self.target.parts(found.offset, found.std)
        level = found.start.alpha, found.start.sigma
        near = self.start == "exact" and self.holds_signal(*level)
        distance = math.hypot(mean, spread)
        return Row(num_steps, found.calls, distance, mean, spread, found.noise_left, level, near_data=near)

    def apart(self, first: int, second: int) -> float:
        """Return W2 between the laws of two numbers of steps, NaN if one has none."""
        a, b = self.responses(first), self.responses(second)
        if isinstance(a, Exception) or isinstance(b, Exception):
            return math.nan
        return self.target.apart((a.offset, a.std), (b.offset, b.std))

    def report(self, steps: list[int], convergence: bool) -> Report:
        rows = [self.row(n) for n in steps]
        failures(self.adapter.name, rows)  # before the runs for the order
        p, p_error, floor, floor_steps, notes = math.nan, math.nan, math.nan, 0, list[str]()
        if convergence:
            least = self.adapter.rounding * self.target.size
            p, p_error = fit_order(ORDER_STEPS[:-1], [self.apart(*pair) for pair in pairwise(ORDER_STEPS)], least)
            last = self.row(FLOOR_STEPS)
            floor, floor_steps = last.distance, 0 if last.error else FLOOR_STEPS
            notes = [f"{FLOOR_STEPS} steps: {last.error}"] if last.error and FLOOR_STEPS not in steps else []
        return Report(
            sampler=self.adapter.name,
            measure="W2",
            spread=self.target.spread,
            size=self.target.size,
            rows=tuple(rows),
            order=p,
            order_error=p_error,
            floor=floor,
            floor_steps=floor_steps,
            warnings=(*self.warnings(rows, floor if floor_steps else math.nan), *notes),
            versions=self.adapter.versions,
            start=self.start,
            _laws=self.law,
            _maps=self.map,
        )

    def warnings(self, rows: list[Row], floor: float) -> list[str]:
        """Return the warnings of the report."""
        spread = self.target.spread or 1.0
        found = failures(self.adapter.name, rows)
        if near := [row for row in rows if row.near_data]:
            numbers, (alpha, sigma) = ", ".join(str(row.num_steps) for row in near), near[0].start_level
            found.append(
                f"the first level with {numbers} steps is near the data (alpha {alpha:.3g}, sigma {sigma:.3g}), "
                'which the exact start hands over; start="noise" shows what is drawn'
            )
        for before, after in pairs_of_worse(rows, self.target.size):
            a, b = (next(row.distance for row in rows if row.num_steps == n) / spread for n in (before, after))
            found.append(f"{after} steps are worse than {before}: {b:.3g} and {a:.3g}")
        fine = [row for row in rows if math.isfinite(row.distance)]
        typical = spread / math.sqrt(max((self.target.variance[self.target.place] > 0).sum(), 1))
        if fine and fine[-1].noise_left > LEFT * typical:
            left = f"{fine[-1].noise_left:.3g} is left with {fine[-1].num_steps} steps"
            found.append(f"does not reach sigma 0: {left}")
        if not math.isfinite(floor):
            return found
        first, last = (self.apart(*pair) for pair in (ORDER_STEPS[:2], ORDER_STEPS[-2:]))
        change, least = self.apart(ORDER_STEPS[-1], FLOOR_STEPS), 10 * ROUNDING * self.target.size
        if last > max(first, least):
            found.append(f"{FLOOR_STEPS} steps are too few to tell where it converges to")
        elif floor > max(CONVERGED * change, least):
            found.append(
                f"does not converge to the law: {floor / spread:.3g} is left with {FLOOR_STEPS} steps, and from "
                f"{ORDER_STEPS[-1]} steps on the law moves by {change / spread:.2g}"
            )
        return found

    def holds_signal(self, alpha: float, sigma: float) -> bool:
        """Return whether a level holds more signal than noise in the strongest direction."""
        return bool(alpha**2 * self.target.variance[-1] > sigma**2)

    def law(self, num_steps: int) -> Gaussian:
        found = self.found(num_steps)
        return self.target.gaussian(found.offset, found.std)

    def map(self, num_steps: int) -> tuple[Any, Any]:
        found = self.found(num_steps)
        mean = found.offset[self.target.place] * self.target.mean
        basis = self.target.basis
        return self.target.matrix(found.gain), mean if basis is None else basis @ mean
