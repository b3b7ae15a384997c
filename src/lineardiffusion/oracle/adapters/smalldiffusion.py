"""The sampler of smalldiffusion (https://github.com/yuanchenyang/smalldiffusion).

Its one function ``samples`` is DDIM (gam=1, mu=0), DDPM (gam=1, mu=0.5) or the accelerated sampler (gam=2, mu=0) of
Permenter and Yuan (2024). With its schedules of sigma the state is x = z + sigma n and the model predicts n. With
its flow schedules it is x = (1 - t) z + t n and the model predicts n - z.

References
----------
Permenter and Yuan (2024), Interpreting and improving diffusion models from an optimization perspective. ICML.
"""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from lineardiffusion._arrays import Array
from lineardiffusion.oracle.adapter import Adapter, Start
from lineardiffusion.oracle.adapters.alone import load_alone
from lineardiffusion.oracle.adapters.tensors import replaced_noise, to_array, to_tensor
from lineardiffusion.oracle.noise import Noise


class SmallDiffusionSampler(Adapter):
    """The function ``samples`` of smalldiffusion under one of its schedules.

    Parameters
    ----------
    function : callable
        ``smalldiffusion.samples``, or a function with its signature.
    schedule : Schedule of smalldiffusion or callable, default=None
        Schedule whose ``sample_sigmas(n)`` are the n + 1 levels, or a function ``n -> levels`` as a tensor. None is
        ``ScheduleLogLinear(1000)``.
    gam, mu : float, default=1.0, 0.0
        Weight of the newest prediction, above 1 to extrapolate; and share of the noise, from 0 to below 1.
    """

    rounding = 1e-11  # states and levels are in double precision

    def __init__(self, function: Any, schedule: Any = None, gam: float = 1.0, mu: float = 0.0) -> None:
        self.function, self.gam, self.mu = function, gam, mu
        library = load()
        self.schedule = schedule or library.ScheduleLogLinear(1000)
        self.is_flow = isinstance(self.schedule, library.ScheduleFlow)
        of = getattr(type(self.schedule), "__name__", "") if hasattr(self.schedule, "sample_sigmas") else ""
        self.name = f"samples gam={gam:g} mu={mu:g} {of}".rstrip()
        self.versions = {"smalldiffusion": version("smalldiffusion"), "torch": version("torch")}

    def levels(self, num_steps: int) -> Any:
        """Return the n + 1 falling levels of a run, as a tensor in double precision."""
        return getattr(self.schedule, "sample_sigmas", self.schedule)(num_steps).double()

    def start(self, num_steps: int) -> Start:
        sigma = float(self.levels(num_steps)[0])
        return Start(1.0 - sigma if self.is_flow else 1.0, sigma, sigma)

    def run(self, num_steps: int, x: Array, denoise: Any, noise: Noise) -> Array:
        model = _Model(denoise, self.is_flow, noise)
        device = SimpleNamespace(device="cpu")  # in place of an Accelerator
        with replaced_noise(noise):
            *_, end = self.function(
                model, self.levels(num_steps), gam=self.gam, mu=self.mu, xt=to_tensor(x), accelerator=device
            )
        return to_array(end)


class _Model:
    """A model of smalldiffusion: the predicted noise, or the velocity of the flow."""

    def __init__(self, denoise: Any, is_flow: bool, noise: Noise) -> None:
        self.denoise, self.is_flow, self.noise = denoise, is_flow, noise

    def eval(self) -> _Model:
        """Return the model itself, as ``torch.nn.Module.eval`` does: the denoiser has no training mode."""
        return self

    def rand_input(self, batchsize: int) -> Any:
        """Return noise of the shape of the state."""
        return to_tensor(self.noise.fresh())

    def predict_eps_cfg(self, x: Any, sigma: Any, cond: Any, cfg_scale: float) -> Any:
        """Return the noise, or the velocity, predicted at a level; there is no guidance."""
        level = float(sigma)
        if self.is_flow:
            return (x - self.denoise(x, 1.0 - level, level)) / level
        return (x - self.denoise(x, 1.0, level)) / level


def load() -> Any:
    """Return smalldiffusion's module ``diffusion``, without the rest of the package and without torchvision.

    Raises
    ------
    ImportError
        If smalldiffusion is not installed.
    """
    return load_alone("smalldiffusion", "diffusion", {"accelerate": {"Accelerator": None}})
