"""Schedulers of diffusers, as the oracle runs them.

A pipeline of diffusers calls ``set_timesteps``, and then, at each timestep t, the network on the scaled state and
``step`` on the network's output. So does the adapter, with the exact denoiser in place of the network:

    seen = scheduler.scale_model_input(x, t)
    D = denoise(seen, alpha, sigma)                     seen = alpha z + sigma n
    x = scheduler.step(output(D, seen), t, x)

Level: (alpha, sigma) is by default what the timestep t meant in training, because t is all that a network is told
(``level="time"``). A fractional t stands between two training steps, and log(sigma / alpha) is interpolated
there, as ``_sigma_to_t`` of diffusers does. With ``level="sigma"`` it is the level that the scheduler holds. They
differ where a scheduler rounds its timesteps.

Output: what ``prediction_type`` names, with eps = (seen - alpha D) / sigma:

    epsilon eps        sample D        v_prediction alpha eps - sigma D        flow_prediction eps - D

Flow-matching schedulers have alpha = 1 - sigma, sigma = t / num_train_timesteps; MiniMaxH3, RFD4Proteina and
``invert_sigmas`` count t from noise to data, and their velocity is D - eps. EDM schedulers have x = z + sigma n and
the preconditioning of Karras et al. (2022), D = c_skip x + c_out F(c_in x). KarrasVe and ScoreSdeVe take the score
times sigma and the score, IPNDM the velocity.

Distilled networks: schedulers that were made for one (LCM, FlowMatchLCM, CM, SCM, TCD, FlowMap, Piflow, HeliosDMD,
ConsistencyDecoder) are given the exact consistency function, the end of the probability flow from the state, or
what stands for it: the mean velocity to the next timestep (FlowMap), the noised end (TCD), the clean states
expected along the flow (Piflow). ``network="diffusion"`` gives them the plain denoiser instead.

Noise: while a run lasts, a ``TorchFunctionMode`` answers ``torch.randn`` and ``torch.randn_like``, which every
scheduler draws by (``randn_tensor`` calls the former). It acts on its own thread alone and changes no module, so
other threads draw as before, and no lock is needed. The Brownian trees of DPMSolverSDE and
CosineDPMSolverMultistep are replaced in the fresh scheduler, by assigning its ``noise_sampler``; torchsde need not
be installed.

A run has a fresh scheduler, ``from_config`` of what the user gave, which stays unchanged. States are tensors
(m, 1, 1, k) on the CPU and stay in double precision: a cast of a state to single precision is skipped, so that what
is measured is the method. The schedulers' own levels and coefficients keep their precision.

Refused are discrete tokens, schedulers that need an image, that run from image to noise, that need a variance from
the network, or that change the resolution between steps.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import sys
import types
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.adapter import Adapter, NotAffineError, Start
from lineardiffusion.oracle.adapters.tensors import replaced_noise
from lineardiffusion.oracle.noise import Draws, Noise

TOKENS = "it draws discrete tokens, which have no Gaussian law"
INVERSE = "it runs from image to noise, so what it ends at is no draw"
REFUSED = {
    "AmusedScheduler": TOKENS,
    "BlockRefinementScheduler": TOKENS,
    "DiscreteDDIMScheduler": TOKENS,
    "EntropyBoundScheduler": TOKENS,
    "VQDiffusionScheduler": TOKENS,
    "DDIMInverseScheduler": INVERSE,
    "DPMSolverMultistepInverseScheduler": INVERSE,
    "RePaintScheduler": "it fills in part of an image, and needs the image and a mask at every step",
}
# where the class lives that diffusers replaces by a placeholder when an optional dependency is missing
BEHIND = {
    "DPMSolverSDEScheduler": "scheduling_dpmsolver_sde",
    "CosineDPMSolverMultistepScheduler": "scheduling_cosine_dpmsolver_multistep",
    "KarrasVeScheduler": "deprecated.scheduling_karras_ve",
}
NOT_AFFINE = {"clip_sample": False, "thresholding": False, "clip_denoised": False}
GIVEN = {"self", "generator", "return_dict", "variance_noise", "device", "num_inference_steps", "args", "kwargs"}
GIVEN |= {"model_output", "timestep", "sample"}  # what the oracle itself passes


class DiffusersScheduler(Adapter):
    """A scheduler of diffusers.

    Parameters
    ----------
    scheduler : scheduler object, class, or factory without parameters
        The object is not changed.
    level : {"time", "sigma"}, default="time"
        Noise level that the denoiser is told: that of the timestep in training, or the one that the scheduler
        holds.
    network : {"diffusion", "consistency"}, optional
        What the network answers with: the expected clean state, or the exact consistency function. By default
        that which the scheduler was made for.
    **options
        By name: parameters of the scheduler's constructor, which replace those of an object's configuration
        (``timestep_spacing="trailing"``); of its ``set_timesteps`` (``mu=1.15``, ``original_inference_steps=100``);
        or of its ``step`` (``eta=0.5``). The first of the three that has the name takes it. A function given for
        ``sigmas`` or ``timesteps`` is called with the number of steps.

    Raises
    ------
    ValueError
        If the scheduler is refused; the message says why.
    TypeError
        If it has no such option.

    Examples
    --------
    >>> from lineardiffusion.oracle.adapters import get_adapter
    >>> import diffusers                                                                  # doctest: +SKIP
    >>> adapter = get_adapter(diffusers.DDIMScheduler, clip_sample=False, eta=1.0)        # doctest: +SKIP
    """

    def __init__(self, scheduler: Any, level: str = "time", network: str | None = None, **options: Any) -> None:
        if level not in ("time", "sigma"):
            raise ValueError(f'level must be "time" or "sigma", got {level!r}')
        if network not in (None, "diffusion", "consistency"):
            raise ValueError(f'network must be "diffusion" or "consistency", got {network!r}')
        if isinstance(scheduler, partial) and isinstance(scheduler.func, type):
            scheduler, options = scheduler.func, {**scheduler.keywords, **options}
        if not isinstance(scheduler, type) and _is_placeholder(type(scheduler)):
            scheduler = type(scheduler)
        if not isinstance(scheduler, type) and not hasattr(scheduler, "config"):
            scheduler = scheduler()
        kind = scheduler if isinstance(scheduler, type) else type(scheduler)
        self.kind, self.loop = _convention(kind)
        if network not in (None, *self.loop.networks):
            raise ValueError(f"{kind.__name__} takes the ordinary network, network='diffusion'")
        self.config = {} if kind is scheduler else _explicit(scheduler.config)
        self.shift = None if kind is scheduler or not hasattr(self.kind, "set_shift") else scheduler.shift
        self.level, self.network = level, network
        self.for_grid, self.for_step = dict[str, Any](), dict[str, Any]()
        self.options = options
        self.ready = dict[int, Any]()  # schedulers with their timesteps, by number of steps
        for name, value in options.items():
            self._place(name)[name] = value
        fresh = self._fresh()
        self.settings = _explicit(fresh.config)
        self.loop.check(self.settings, kind.__name__)
        self.name = self._name()
        modules = (importlib.import_module(one) for one in ("diffusers", "torch"))
        self.versions = {one.__name__: one.__version__ for one in modules}

    def _place(self, name: str) -> dict[str, Any]:
        """Return the options to which one of this name belongs."""
        places = (self.kind.__init__, self.config), (self.kind.set_timesteps, self.for_grid)
        steps = [(getattr(self.kind, one), self.for_step) for one in self.loop.steps]
        for function, found in (*places, *steps):
            if name in set(inspect.signature(function).parameters) - GIVEN:
                return found
        raise TypeError(
            f"{self.kind.__name__} has no option {name!r}, in its configuration, its set_timesteps or its step"
        )

    def _fresh(self) -> Any:
        """Return a scheduler of the configuration that has made no step."""
        fresh = self.kind.from_config(self.config) if self.config else self.kind()
        if self.shift is not None and "shift" not in self.options:
            fresh.set_shift(self.shift)
        return fresh

    def _name(self) -> str:
        """Return the class with what differs from its defaults."""
        defaults = inspect.signature(self.kind.__init__).parameters
        found = {
            name: value
            for name, value in self.settings.items()
            if name in defaults and defaults[name].default is not inspect.Parameter.empty
            if not _same(value, defaults[name].default)
        }
        text = ", ".join(f"{name}={value!r}" for name, value in (found | self.for_grid | self.for_step).items())
        return f"{self.kind.__name__}({text})" if text else self.kind.__name__

    def _begin(self, num_steps: int) -> _Loop:
        """Return a run that has made no step."""
        if num_steps not in self.ready:
            grid = dict(self.for_grid)
            for name in ("sigmas", "timesteps"):
                if callable(grid.get(name)):
                    grid[name] = grid[name](num_steps)
            if not {"sigmas", "timesteps"} & grid.keys():
                grid["num_inference_steps"] = num_steps
            fresh = self._fresh()
            with np.errstate(all="ignore"):
                self.loop.set_timesteps(fresh, grid)
            if self.level == "sigma" and not hasattr(fresh, "sigmas"):
                raise ValueError(f'{self.kind.__name__} holds no sigmas; level must be "time"')
            self.ready[num_steps] = fresh
        consistency = self.loop.consistency if self.network is None else self.network == "consistency"
        return self.loop(copy.deepcopy(self.ready[num_steps]), self.level == "sigma", consistency, self.for_step)

    def start(self, num_steps: int) -> Start:
        return self._begin(num_steps).start()

    def run(self, num_steps: int, x: Array, denoise: Any, noise: Noise) -> Array:
        torch = _torch()
        loop = self._begin(num_steps)
        loop.use(noise)
        state = torch.tensor(x * loop.unit).reshape(len(x), *loop.inner, -1)
        with torch.no_grad(), replaced_noise(noise, keep_double=True):
            found = loop.sample(state, denoise)
        return np.asarray(found.double().reshape(x.shape).numpy() / loop.unit)

    def without(self) -> Iterator[tuple[str, Adapter]]:
        found = [one for one, off in NOT_AFFINE.items() if self.settings.get(one, off) != off]
        for names in [[one] for one in found] + ([found] if len(found) > 1 else []):
            scheduler = self.kind.from_config({**self.settings, **{one: NOT_AFFINE[one] for one in names}})
            options = self.for_grid | self.for_step
            text = ", ".join(f"{one}={self.settings[one]!r}" for one in names)
            yield text, DiffusersScheduler(scheduler, self.level, self.network, **options)


# ------------------------------------------------------------------------------------------------- conventions


class _Loop:
    """One run of a scheduler under a process whose levels are its ``alphas_cumprod``, or flow sigmas.

    The state may be scaled by another factor than the network's input (Euler and others: x = z + sigma n).
    """

    inner: ClassVar[tuple[int, ...]] = (1, 1)  # axes of a state between its rows and its coordinates
    consistency: ClassVar[bool] = False  # whether the network that it was made for is a consistency function
    networks: ClassVar[tuple[str, ...]] = ("diffusion", "consistency")  # that it can be given
    steps: ClassVar[tuple[str, ...]] = ("step",)
    unit: float = 1.0  # of the state, in standard deviations of the law's own scale

    def __init__(self, scheduler: Any, by_sigma: bool, consistency: bool, options: Mapping[str, Any]) -> None:
        self.scheduler, self.config, self.options = scheduler, scheduler.config, options
        self.by_sigma, self.consistent = by_sigma, consistency
        self.prediction = self.config.get("prediction_type", "epsilon")
        self.flow_sigmas = bool(self.config.get("use_flow_sigmas", False))

    @classmethod
    def check(cls, config: Mapping[str, Any], name: str) -> None:
        """Refuse a configuration, with the option's name."""
        kind = str(config.get("variance_type", ""))
        if kind.startswith("learned"):
            raise ValueError(f"{name} is refused: variance_type={kind!r} takes a variance from the network")

    @staticmethod
    def set_timesteps(scheduler: Any, options: dict[str, Any]) -> None:
        scheduler.set_timesteps(**options)

    def use(self, noise: Noise) -> None:
        """Replace a Brownian tree."""
        if hasattr(self.scheduler, "noise_sampler"):
            self.scheduler.noise_sampler = lambda a, b: self._increment(noise, float(a), float(b))

    def _increment(self, noise: Noise, a: float, b: float) -> Any:
        found = _torch().tensor(noise.increment(a, b) / math.sqrt(abs(b - a)))
        return found.reshape(len(found), *self.inner, -1)

    def start(self) -> Start:
        t = self.times()[0]
        scale = float(self.scale(_torch().ones(1, *self.inner, 1, dtype=_torch().float64), t))
        alpha, sigma = (one / scale / self.unit for one in self.level(t))
        return Start(alpha, sigma, float(getattr(self.scheduler, "init_noise_sigma", 1.0)))

    def times(self) -> Any:
        return self.scheduler.timesteps

    def scale(self, x: Any, t: Any) -> Any:
        """Return what the network sees."""
        scale = getattr(self.scheduler, "scale_model_input", None)
        return x if scale is None else scale(x, t)

    def level(self, t: Any) -> tuple[float, float]:
        """Return (alpha, sigma) of what the network sees."""
        return self.of_ratio(self.held()) if self.by_sigma else self.trained(t)

    def of_ratio(self, sigma: float) -> tuple[float, float]:
        if self.flow_sigmas:
            return 1 - sigma, sigma
        alpha = 1 / math.sqrt(1 + sigma**2)
        return alpha, alpha * sigma

    def held(self) -> float:
        """Return the sigma that the scheduler holds now."""
        one, i = self.scheduler, self.scheduler.step_index or 0
        if not getattr(one, "state_in_first_order", True):
            if hasattr(one, "sigmas_interpol"):
                return float(one.sigmas_interpol[i])
            if getattr(one, "mid_point_sigma", None) is not None:
                return float(one.mid_point_sigma)
        return float(one.sigmas[i])

    def trained(self, t: Any) -> tuple[float, float]:
        """Return the level that a timestep has in training."""
        if self.flow_sigmas:
            return self.of_ratio(float(t) / self.config.num_train_timesteps)
        if self.config.get("timestep_type") == "continuous" and self.prediction == "v_prediction":
            return self.of_ratio(math.exp(4 * float(t)))
        kept = self.scheduler.alphas_cumprod.double().numpy()
        if float(t) == int(t):
            kept = float(kept[int(t)])
            return math.sqrt(kept), math.sqrt(1 - kept)
        low = max(math.floor(float(t)), 0)
        ends = kept[low : low + 2]
        logs = 0.5 * np.log((1 - ends) / np.maximum(ends, 1e-300))
        return self.of_ratio(math.exp(np.interp(float(t), np.arange(low, low + len(ends)), logs)))

    def clean(self, x: Any, seen: Any, t: Any, level: tuple[float, float], denoise: Any) -> Any:
        """Return the clean state that the network's output stands for."""
        return denoise.flow(seen, level, (1.0, 0.0)) if self.consistent else denoise(seen, *level)

    def output(self, clean: Any, x: Any, seen: Any, t: Any, level: tuple[float, float]) -> Any:
        """Return the network's output that stands for a clean state."""
        alpha, sigma = level
        noise = (seen - alpha * clean) / sigma
        kinds = {
            "epsilon": lambda: noise,
            "sample": lambda: clean,
            "original_sample": lambda: clean,
            "v_prediction": lambda: alpha * noise - sigma * clean,
            "flow_prediction": lambda: noise - clean,
        }
        return kinds.get(self.prediction, lambda: noise)()  # of another one the scheduler itself complains

    def step(self, i: int, t: Any, out: Any, x: Any) -> Any:
        return self.scheduler.step(out, t, x, **self.options)[0]

    def sample(self, x: Any, denoise: Any) -> Any:
        for i, t in enumerate(self.times()):
            seen = self.scale(x, t)
            level = self.level(t)
            clean = self.clean(x, seen, t, level, denoise)
            x = self.step(i, t, self.output(clean, x, seen, t, level), x)
        return x


class _CogVideoXDPM(_Loop):
    """A step is given the clean state of the step before, and its time."""

    def sample(self, x: Any, denoise: Any) -> Any:
        old, back = None, None
        for t in self.times():
            level = self.level(t)
            out = self.output(self.clean(x, x, t, level, denoise), x, x, t, level)
            x, old = self.scheduler.step(out, old, t, back, x, **self.options)
            back = t
        return x


class _UnCLIP(_Loop):
    def step(self, i: int, t: Any, out: Any, x: Any) -> Any:
        times = self.times()
        to = times[i + 1] if i + 1 < len(times) else None
        return self.scheduler.step(out, t, x, prev_timestep=to, **self.options)[0]


class _Wuerstchen(_Loop):
    """Times from 1 to 0, one for each row; the last is no step."""

    def times(self) -> Any:
        return self.scheduler.timesteps[:-1]

    def trained(self, t: Any) -> tuple[float, float]:
        kept = float(self.scheduler._alpha_cumprod(t.reshape(1), t.device))
        return math.sqrt(kept), math.sqrt(1 - kept)

    def step(self, i: int, t: Any, out: Any, x: Any) -> Any:
        return self.scheduler.step(out, t.expand(len(x)), x, **self.options)[0]


class _IPNDM(_Loop):
    """t is the angle, sigma = sin(t pi / 2)."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.by_sigma, self.prediction = False, "v_prediction"

    def trained(self, t: Any) -> tuple[float, float]:
        angle = float(t) * math.pi / 2
        return math.cos(angle), math.sin(angle)


class _LCM(_Loop):
    """The clean state that ``step`` derives is mixed with the state, c_out x0 + c_skip x."""

    consistency = True

    def clean(self, x: Any, seen: Any, t: Any, level: tuple[float, float], denoise: Any) -> Any:
        found = super().clean(x, seen, t, level, denoise)
        if not self.consistent:
            return found
        skip, out = self.scheduler.get_scalings_for_boundary_condition_discrete(t)
        return (found - float(skip) * x) / float(out)


class _TCD(_Loop):
    """The network leads from t to s, the time from which ``step`` adds noise."""

    consistency = True

    def clean(self, x: Any, seen: Any, t: Any, level: tuple[float, float], denoise: Any) -> Any:
        if not self.consistent:
            return super().clean(x, seen, t, level, denoise)
        (alpha, sigma), times = level, self.times()
        i = (self.scheduler.step_index or 0) + 1
        after = times[i] if i < len(times) else _torch().tensor(0)
        eta = self.options.get("eta", inspect.signature(self.scheduler.step).parameters["eta"].default)
        to = self.trained(_torch().floor((1 - eta) * after))
        noise = (denoise.flow(x, level, to) - to[0] / alpha * x) / (to[1] - to[0] * sigma / alpha)
        return (x - sigma * noise) / alpha


class _Skip(_Loop):
    """The clean state is affine in the network's output F, D = c_skip x + c_out F, with x = z + sigma n."""

    def sigma_of(self, t: Any) -> float:
        return math.exp(4 * float(t))

    def level(self, t: Any) -> tuple[float, float]:
        sigma = self.held() if self.by_sigma else self.sigma_of(t)
        scale = 1 / math.sqrt(sigma**2 + self.config.sigma_data**2)
        return scale, scale * sigma

    def derived(self, x: Any, out: Any, sigma: float) -> Any:
        """Return what the scheduler takes for the clean state."""
        return self.scheduler.precondition_outputs(x, out, sigma)

    def output(self, clean: Any, x: Any, seen: Any, t: Any, level: tuple[float, float]) -> Any:
        alpha, sigma = level
        x, sigma = seen / alpha, sigma / alpha
        zero = x.new_zeros(x.shape)
        factor = float(self.derived(zero[:1, ..., :1], zero[:1, ..., :1] + 1, sigma))
        return (clean - self.derived(x, zero, sigma)) / (factor or 1.0)


class _Cosine(_Skip):
    def sigma_of(self, t: Any) -> float:
        return math.tan(float(t) * math.pi / 2)


class _CM(_Skip):
    """The consistency function ends at sigma_min, not at 0."""

    consistency = True

    def sigma_of(self, t: Any) -> float:
        return math.exp(float(t) / 250)

    def derived(self, x: Any, out: Any, sigma: float) -> Any:
        skip, factor = self.scheduler.get_scalings_for_boundary_condition(_torch().tensor(sigma).double())
        return factor * out + skip * x

    def clean(self, x: Any, seen: Any, t: Any, level: tuple[float, float], denoise: Any) -> Any:
        if not self.consistent:
            return denoise(seen, *level)
        return denoise.flow(seen, level, (1.0, self.config.sigma_min))


class _ConsistencyDecoder(_Loop):
    consistency = True

    def scale(self, x: Any, t: Any) -> Any:
        return x  # the scale that the network's own input has is undone by its exact answer

    def trained(self, t: Any) -> tuple[float, float]:
        one = self.scheduler
        return float(one.sqrt_alphas_cumprod[t]), float(one.sqrt_one_minus_alphas_cumprod[t])

    def output(self, clean: Any, x: Any, seen: Any, t: Any, level: tuple[float, float]) -> Any:
        return (clean - float(self.scheduler.c_skip[t]) * x) / float(self.scheduler.c_out[t])


class _SCM(_Loop):
    """x = sigma_data (cos t z + sin t n), and the network answers with -dx/dt of the flow."""

    consistency = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unit = float(self.config.sigma_data)

    @staticmethod
    def set_timesteps(scheduler: Any, options: dict[str, Any]) -> None:
        if options.get("num_inference_steps") != 2:
            options = {"intermediate_timesteps": None} | options
        scheduler.set_timesteps(**options)

    def times(self) -> Any:
        return self.scheduler.timesteps[:-1]

    def level(self, t: Any) -> tuple[float, float]:
        return max(math.cos(float(t)), 0.0) * self.unit, math.sin(float(t)) * self.unit  # t begins above pi / 2

    def output(self, clean: Any, x: Any, seen: Any, t: Any, level: tuple[float, float]) -> Any:
        return (math.cos(float(t)) * x - self.unit * clean) / math.sin(float(t))


class _Flow(_Loop):
    """x = (1 - sigma) z + sigma n; the velocity is eps - D."""

    sign: float = 1.0  # -1 where time runs from noise to data

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.flow_sigmas, self.prediction = True, "flow_prediction"
        self.inverted = bool(self.config.get("invert_sigmas", False))
        if self.inverted:
            self.sign = -1.0

    def trained(self, t: Any) -> tuple[float, float]:
        found = super().trained(t)
        return found[::-1] if self.inverted else found

    def held(self) -> float:
        found = super().held()
        return 1 - found if self.inverted else found

    def output(self, clean: Any, x: Any, seen: Any, t: Any, level: tuple[float, float]) -> Any:
        return self.sign * (x - clean) / level[1]


class _FlowLCM(_Flow):
    consistency = True

    @classmethod
    def check(cls, config: Mapping[str, Any], name: str) -> None:
        if config.get("scale_factors") and config.get("upscale_mode"):
            raise ValueError(f"{name} is refused: scale_factors changes the resolution between steps")


class _FlowMap(_Flow):
    """The network answers with the mean velocity to the next timestep."""

    consistency = True

    def sample(self, x: Any, denoise: Any) -> Any:
        if not self.consistent:
            return super().sample(x, denoise)
        ends = [float(one) for one in self.scheduler.sigmas[1:]]
        for t, end in zip(self.times(), ends, strict=True):
            sigma = self.level(t)[1]
            mean = (denoise.flow(x, (1 - sigma, sigma), (1 - end, end)) - x) / (end - sigma)
            x = self.scheduler.step(mean, t, x, **self.options)[0]
        return x


class _Helios(_Flow):
    @classmethod
    def check(cls, config: Mapping[str, Any], name: str) -> None:
        if config["stages"] != 1:
            stages = config["stages"]
            raise ValueError(
                f"{name} is refused: stages={stages} changes the resolution between steps; stages=1 runs"
            )


class _HeliosDMD(_Helios):
    """The noise of every step is the start, as in the pipeline."""

    inner = (1, 1, 1)
    consistency = True

    def sample(self, x: Any, denoise: Any) -> Any:
        times, sigmas, start = self.times(), self.scheduler.sigmas, x
        for i, t in enumerate(times):
            level = self.level(t)
            out = self.output(self.clean(x, x, t, level, denoise), x, x, t, level)
            known = {
                "dmd_noisy_tensor": start,
                "dmd_sigmas": sigmas,
                "dmd_timesteps": times,
                "all_timesteps": times,
            }
            x = self.scheduler.step(out, t, x, cur_sampling_step=i, **known, **self.options)[0]
        return x

    def held(self) -> float:
        raise ValueError('HeliosDMDScheduler keeps no step index; level must be "time"')


class _MiniMax(_Flow):
    """t = 1 - sigma."""

    sign = -1.0

    def trained(self, t: Any) -> tuple[float, float]:
        return float(t), 1 - float(t)


class _Proteina(_MiniMax):
    """The state has rows of tokens, all of which are updated."""

    inner = (1,)

    def step(self, i: int, t: Any, out: Any, x: Any) -> Any:
        mask = x.new_ones(x.shape[:2]).bool()
        return self.scheduler.step(out, t, x, emit_mask=mask, **self.options)[0]


class _Piflow(_Flow):
    """The network answers with velocities to the clean states expected at a grid of times of the step to come."""

    consistency = True

    def sample(self, x: Any, denoise: Any) -> Any:
        one, n = self.scheduler, self.scheduler.n_grid
        raw, shift = one._piflow_raw_timesteps.double().tolist(), float(self.config.shift)
        exact = getattr(denoise, "denoiser", denoise)  # one evaluation of the network is one call
        for t, source, end in zip(self.times(), raw, [*raw[1:], one.eps], strict=True):
            level = self.level(t)
            cleans = [denoise(x, *level)] * n
            for j in range(n - 1) if self.consistent else ():
                at = end + (source - end) * j / (n - 1)
                sigma = shift * at / (1 + (shift - 1) * at)
                cleans[j] = exact(exact.flow(x, level, (1 - sigma, sigma)), 1 - sigma, sigma)
            out = _torch().cat([(x - clean) / level[1] for clean in cleans], dim=-1)
            x = one.step(out, t, x, **self.options)[0]
        return x


class _KarrasVe(_Loop):
    """Heun's method with churn (Karras et al. 2022, algorithm 2), as the former pipeline ran it."""

    networks = ("diffusion",)

    def start(self) -> Start:
        return Start(1.0, float(self.scheduler.schedule[-1]), float(self.scheduler.init_noise_sigma))

    def sample(self, x: Any, denoise: Any) -> Any:
        one = self.scheduler
        for t in one.timesteps.tolist():
            sigma, to = float(one.schedule[t]), float(one.schedule[t - 1]) if t else 0.0
            hat, at = one.add_noise_to_input(x, sigma)
            found = one.step((denoise(hat, 1.0, at) - hat) / at, at, to, hat)
            x = found.prev_sample
            if to:
                out = (denoise(x, 1.0, to) - x) / to
                x = one.step_correct(out, at, to, hat, x, found.derivative).prev_sample
        return x


class _ScoreSdeVe(_Loop):
    """Predictor and corrector (Song et al. 2021), of which the last mean is the result; the corrector has norms."""

    networks = ("diffusion",)
    steps = ("step_pred",)

    def use(self, noise: Noise) -> None:
        n = self.config.correct_steps
        if n and not isinstance(noise, Draws):  # without noise the corrector makes no step, so no probe finds it
            raise NotAffineError(
                f"ScoreSdeVeScheduler is not affine: correct_steps={n}. The corrector's step depends on the norms "
                "of the score and the noise; judge it with correct_steps=0"
            )

    @staticmethod
    def set_timesteps(scheduler: Any, options: dict[str, Any]) -> None:
        scheduler.set_timesteps(**options)
        scheduler.set_sigmas(len(scheduler.timesteps))

    def start(self) -> Start:
        return Start(1.0, float(self.scheduler.sigmas[0]), float(self.scheduler.init_noise_sigma))

    def sample(self, x: Any, denoise: Any) -> Any:
        one, mean = self.scheduler, x
        for sigma, t in zip(one.sigmas.tolist(), one.timesteps, strict=True):
            for _ in range(one.config.correct_steps):
                x = one.step_correct((denoise(x, 1.0, sigma) - x) / sigma**2, x).prev_sample
            found = one.step_pred((denoise(x, 1.0, sigma) - x) / sigma**2, t, x, **self.options)
            x, mean = found.prev_sample, found.prev_sample_mean
        return mean


class _ScoreSdeVp(_Loop):
    """Euler-Maruyama (Song et al. 2021), of which the last mean is the result."""

    networks = ("diffusion",)
    steps = ("step_pred",)

    def trained(self, t: Any) -> tuple[float, float]:
        low, high = self.config.beta_min, self.config.beta_max
        log_mean = -0.25 * float(t) ** 2 * (high - low) - 0.5 * float(t) * low
        return math.exp(log_mean), math.sqrt(-math.expm1(2 * log_mean))

    def level(self, t: Any) -> tuple[float, float]:
        return self.trained(t)

    def sample(self, x: Any, denoise: Any) -> Any:
        mean = x
        for t in self.times():
            alpha, sigma = self.level(t)
            x, mean = self.scheduler.step_pred((x - alpha * denoise(x, alpha, sigma)) / sigma, x, t, **self.options)
        return mean


CONVENTIONS: dict[str, type[_Loop]] = {
    **dict.fromkeys(["CogVideoXDDIM", "DDIM", "DDIMParallel", "DDPM", "DDPMParallel", "PNDM"], _Loop),
    **dict.fromkeys(["DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "SASolver"], _Loop),
    **dict.fromkeys(["EulerAncestralDiscrete", "EulerDiscrete", "HeunDiscrete", "LMSDiscrete"], _Loop),
    **dict.fromkeys(["KDPM2AncestralDiscrete", "KDPM2Discrete", "DPMSolverSDE", "UniPCMultistep"], _Loop),
    **dict.fromkeys(["FlowMatchEulerDiscrete", "FlowMatchHeunDiscrete", "LTXEulerAncestralRF"], _Flow),
    **dict.fromkeys(["EDMEuler", "EDMDPMSolverMultistep"], _Skip),
    "CMStochasticIterative": _CM,
    "CogVideoXDPM": _CogVideoXDPM,
    "ConsistencyDecoder": _ConsistencyDecoder,
    "CosineDPMSolverMultistep": _Cosine,
    "DDPMWuerstchen": _Wuerstchen,
    "FlowMapEulerDiscrete": _FlowMap,
    "FlowMatchLCM": _FlowLCM,
    "Helios": _Helios,
    "HeliosDMD": _HeliosDMD,
    "IPNDM": _IPNDM,
    "KarrasVe": _KarrasVe,
    "LCM": _LCM,
    "MiniMaxH3": _MiniMax,
    "Piflow": _Piflow,
    "RFD4Proteina": _Proteina,
    "SCM": _SCM,
    "ScoreSdeVe": _ScoreSdeVe,
    "ScoreSdeVp": _ScoreSdeVp,
    "TCD": _TCD,
    "UnCLIP": _UnCLIP,
}


def _convention(kind: type) -> tuple[Any, type[_Loop]]:
    """Return a scheduler's class, behind a placeholder of diffusers if it is one, and how it is run."""
    for name in (one.__name__ for one in kind.__mro__):
        if name in REFUSED:
            raise ValueError(f"{kind.__name__} is refused: {REFUSED[name]}")
        found = CONVENTIONS.get(name.removesuffix("Scheduler"))
        if found is not None and name.endswith("Scheduler"):
            return _behind(name) if _is_placeholder(kind) else kind, found
    raise ValueError(
        f"{kind.__name__} is not known to the oracle: neither how its network is told the noise level, nor what it "
        "answers. Write an Adapter (lineardiffusion.oracle.Adapter) for it"
    )


def _is_placeholder(kind: type) -> bool:
    """Return whether diffusers has this class in the place of one whose dependencies are missing."""
    return "dummy" in kind.__module__


@cache
def _behind(name: str) -> Any:
    """Return the class that a placeholder of diffusers stands for."""
    if name not in BEHIND:
        raise ImportError(f"diffusers does not load {name}: an optional dependency of it is missing")
    module = f"diffusers.schedulers.{BEHIND[name]}"
    known = set(sys.modules)
    if "torchsde" not in known:
        sys.modules["torchsde"] = types.ModuleType("torchsde")  # its Brownian tree is replaced
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        if "torchsde" not in known:
            for one in ("torchsde", "diffusers.schedulers.scheduling_dpmsolver_sde", module):
                if one not in known:
                    sys.modules.pop(one, None)


def _explicit(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the private entries, one of which makes ``from_config`` ignore values."""
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _same(value: Any, default: Any) -> bool:
    return value is default or bool(np.all(value == default)) or (callable(value) and callable(default))


def _torch() -> Any:
    return importlib.import_module("torch")
