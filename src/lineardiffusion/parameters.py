"""The parameters of a model: checked once, then frozen.

They are those of :class:`lineardiffusion.LinearDiffusion`, where each is described. A fitted model keeps the
parameters that it was solved with, so parameters that are set on the estimator afterwards take effect at the
next ``fit``, ``partial_fit`` or ``refit``.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_scalar

from lineardiffusion._cache import computed_once
from lineardiffusion._noise import check_random_state
from lineardiffusion._validation import check_integer
from lineardiffusion.diffusion.samplers import Sampler, get_sampler
from lineardiffusion.diffusion.schedules import get_schedule
from lineardiffusion.diffusion.trajectory import Trajectory
from lineardiffusion.encoders.text import check_text_encoder

CONTRASTS = (None, "affine", "histogram", "pixelwise")
MISSING = ("error", "em")


@dataclass(frozen=True)
class Parameters:
    """The constructor's parameters of :class:`lineardiffusion.LinearDiffusion`, all checked."""

    n_components: int | float
    scale: bool
    basis_tolerance: float
    image_encoder: Any
    text_encoder: Any
    n_styles: int | str
    style_rank: float | str
    shrinkage: float | str
    missing: str
    contrast: str | None
    schedule: Any
    sampler: Any
    num_steps: int
    guidance_scale: Any
    max_memory: float
    cache_memory: float
    random_state: Any

    def __post_init__(self) -> None:
        check_integer(self.num_steps, "num_steps")
        share = isinstance(self.n_components, float | np.floating)
        if isinstance(self.n_components, str) or (share and not 0.0 < self.n_components < 1.0):
            what = "n_components must be a number of components, or a share of the variance between 0 and 1"
            raise (ValueError if share else TypeError)(f"{what}; got {self.n_components!r}")
        if not share:
            check_integer(self.n_components, "n_components")
        check_scalar(self.basis_tolerance, "basis_tolerance", numbers.Real)
        if not 0.0 < self.basis_tolerance < 1.0:
            raise ValueError(f"basis_tolerance must be a share between 0 and 1, got {self.basis_tolerance!r}")
        if not _is(self.n_styles, "auto"):
            if isinstance(self.n_styles, str):
                raise TypeError(f'n_styles must be "auto" or an int of 1 or more, got {self.n_styles!r}')
            check_integer(self.n_styles, "n_styles")
        if not _is(self.style_rank, "auto"):
            if isinstance(self.style_rank, bool | str | np.bool_ | None):
                raise TypeError(
                    f'style_rank must be "auto" or a number above 0 and at most 1, got {self.style_rank!r}'
                )
            check_scalar(self.style_rank, "style_rank", numbers.Real)
            if not 0.0 < self.style_rank <= 1.0:
                raise ValueError(
                    f'style_rank must be "auto" or a number above 0 and at most 1, got {self.style_rank!r}'
                )
        if not _is(self.shrinkage, "auto"):
            if isinstance(self.shrinkage, bool | str | np.bool_ | None):
                raise TypeError(f'shrinkage must be "auto" or a number from 0 to 1, got {self.shrinkage!r}')
            check_scalar(self.shrinkage, "shrinkage", numbers.Real, min_val=0, max_val=1)
            if np.isnan(self.shrinkage):
                raise ValueError('shrinkage must be "auto" or a number from 0 to 1, got NaN')
        if self.missing not in MISSING:
            raise ValueError(f"missing must be one of {', '.join(map(repr, MISSING))}, got {self.missing!r}")
        for name in ("max_memory", "cache_memory"):
            check_scalar(bytes_ := getattr(self, name), name, numbers.Real, min_val=0)
            if np.isnan(bytes_):
                raise ValueError(f"{name} must be a number of bytes, got {bytes_!r}")
        encoder = self.image_encoder
        usable = hasattr(encoder, "encode") and hasattr(encoder, "decode") and not isinstance(encoder, type)
        if encoder is not None and not usable:
            what = f"image_encoder must be an object with encode and decode, got {encoder!r}"
            raise TypeError(f"{what}; for a basis use ImageEncoder.from_basis")
        if not isinstance(self.scale, bool | np.bool_):
            raise TypeError(f"scale must be True or False, got {self.scale!r}")
        check_text_encoder(self.text_encoder)
        # a copy: the user's transformer may change before the model is solved
        object.__setattr__(self, "text_encoder", clone(self.text_encoder, safe=False))
        if self.contrast not in CONTRASTS:
            raise ValueError(f"contrast must be one of {', '.join(map(repr, CONTRASTS))}, got {self.contrast!r}")
        check_guidance(self.guidance_scale)
        check_random_state(self.random_state)
        _ = self.trajectory.levels

    @computed_once
    def trajectory(self) -> Trajectory:
        """The sampler and the schedule of the model."""
        steps = None if isinstance(self.sampler, Sampler) else self.num_steps
        return Trajectory(get_sampler(self.sampler, steps), get_schedule(self.schedule))

    @property
    def has_styles(self) -> bool:
        """Whether prompts have styles; with "auto", also if their number turns out to be 1."""
        return self.n_styles != 1

    @property
    def counted(self) -> str | None:
        """The contrast that needs sums over the pixels beside the moments: "histogram", "pixelwise" or None."""
        if self.contrast == "pixelwise" and self.shares_words:
            return None  # prompts that share words have no pixels of their own
        return self.contrast if self.contrast in ("histogram", "pixelwise") else None

    @property
    def shares_words(self) -> bool:
        """Whether prompts share words, and so styles."""
        return self.text_encoder not in (None, "onehot")

    def raw(self) -> dict[str, Any]:
        """Return the parameters as the constructor takes them."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def _is(value: Any, name: str) -> bool:
    return isinstance(value, str) and value == name


def check_guidance(guidance_scale: Any, negative_prompt: Any = None) -> None:
    """Check the guidance scale, a number or a function; a negative prompt needs one other than 1."""
    if callable(guidance_scale) and not isinstance(guidance_scale, type):
        return
    if isinstance(guidance_scale, bool) or not isinstance(guidance_scale, int | float | np.number):
        raise TypeError(f"guidance_scale must be a number or a function of the time t, got {guidance_scale!r}")
    if not np.isfinite(guidance_scale):
        raise ValueError(f"guidance_scale must be finite, got {guidance_scale!r}")
    if negative_prompt is not None and guidance_scale == 1.0:
        raise ValueError("negative_prompt needs a guidance_scale other than 1, which is no guidance")
