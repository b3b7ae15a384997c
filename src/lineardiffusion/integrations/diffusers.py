"""A linear diffusion model as a network of diffusers, under any of its schedulers.

A network of diffusers is told a noisy sample and a timestep, and answers in one of several terms. All of them
follow from the expected clean sample x0 = E[y | x] of x = alpha y + sigma n, eps = (x - alpha x0) / sigma::

    epsilon             eps
    v_prediction        alpha eps - sigma x0                                (Salimans and Ho 2022)
    sample              x0
    flow_prediction     eps - x0                                            (alpha = 1 - sigma)
    edm                 (x0 - c_skip x) / c_out                             (Karras et al. 2022, table 1)

With the exact consistency function f (the end of the probability flow that passes through x; Song et al. 2023) in
place of x0 the same terms are those of a consistency model, which draws from the right law in any number of steps::

    consistency         eps of (f - c_skip x) / c_out in place of x0        (LCMScheduler)
    flow_consistency    eps - f, eps = (x - alpha f) / sigma                (FlowMatchLCMScheduler)
    edm_consistency     (f - c_skip x) / c_out                              (CMStochasticIterativeScheduler)

References
----------
- Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based models. NeurIPS.
- Luo et al. (2023), Latent consistency models: synthesizing high-resolution images with few-step inference.
- Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models. ICLR.
- Song, Dhariwal, Chen and Sutskever (2023), Consistency models. ICML.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils import check_array

try:
    import torch
    from diffusers import ConfigMixin, DiffusionPipeline, ImagePipelineOutput, ModelMixin
    from diffusers.utils import BaseOutput
    from diffusers.utils.torch_utils import randn_tensor
except ImportError as error:
    what = "lineardiffusion.integrations.diffusers needs PyTorch and diffusers"
    raise ImportError(f'{what}: pip install "linear-diffusion[diffusers]"') from error

from lineardiffusion._arrays import Array
from lineardiffusion._pictures import to_pil
from lineardiffusion._validation import check_prompts
from lineardiffusion.diffusion.denoisers import GaussianDenoiser
from lineardiffusion.encoders.conditioning import Request, StyleMixture
from lineardiffusion.estimator import LinearDiffusion
from lineardiffusion.integrations.noise_levels import is_flow, log_ratios, predicted_by, vp_level, vp_log_ratios
from lineardiffusion.integrations.teleport import teleport
from lineardiffusion.integrations.torch_gaussians import Gaussians, Samples, quotient
from lineardiffusion.io.locate import locate

__all__ = ["LinearModel", "LinearModelOutput", "LinearPipeline", "teleport"]

BETAS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
DISCRETE = ("epsilon", "v_prediction", "sample", "consistency")
FLOW, EDM = ("flow_prediction", "flow_consistency"), ("edm", "edm_consistency")
PREDICTION_TYPES = (*DISCRETE, *FLOW, *EDM)
SIGMA_MIN = 0.002  # at which the consistency function of CMStochasticIterativeScheduler ends
BEYOND = 1e-6  # share of the last timestep by which single precision may exceed it
LCM_SCALING, LCM_SIGMA = 10.0, 0.5  # timestep_scaling and sigma_data of LCMScheduler
FIXED: dict[str | None, dict[str, float]] = {
    "consistency": {"timestep_scaling": LCM_SCALING},
    "edm_consistency": {"sigma_min": SIGMA_MIN},
}


@dataclass
class LinearModelOutput(BaseOutput):
    """Output of a :class:`LinearModel`.

    Attributes
    ----------
    sample : tensor of shape (n, c, h, w)
        Prediction.
    """

    sample: torch.Tensor


class LinearModel(ModelMixin, ConfigMixin):
    """Network of diffusers that is a fitted linear diffusion model.

    Its samples are images whose pixel range ``ld.pixel_range_`` is scaled to [-1, 1], as those of a UNet2DModel.
    Directions that the PCA left out have no variance, as in what the model draws.

    Parameters
    ----------
    ld : LinearDiffusion
        Fitted model of images (h, w) or (h, w, c) with a linear image encoder.
    prediction_type : str, default="epsilon"
        What the network predicts: ``"epsilon"``, ``"v_prediction"``, ``"sample"``, ``"flow_prediction"``,
        ``"edm"``, ``"consistency"``, ``"flow_consistency"`` or ``"edm_consistency"``, see the module's docstring.
        :meth:`for_scheduler` finds it.
    prompt : str, default=None
        Prompt of calls that name none, as those of DDPMPipeline; None for the unconditional Gaussian of all images.
    num_train_timesteps : int, default=1000
        Number of timesteps. This and the next five give the noise levels, as in the configuration of a scheduler;
        the defaults are those of DDPMScheduler. Flow models need this one alone, EDM models none.
    beta_start : float, default=1e-4
        First beta.
    beta_end : float, default=0.02
        Last beta.
    beta_schedule : str, default="linear"
        Schedule of the betas between them, by its name in diffusers.
    trained_betas : sequence of float, default=None
        Betas, in place of those that the three parameters above give.
    rescale_betas_zero_snr : bool, default=False
        Whether the betas are rescaled so that the last timestep is pure noise.
    timestep_type : {"discrete", "continuous"}, default="discrete"
        What a timestep is, as in the configuration of EulerDiscreteScheduler: the number of a beta, or with
        ``"continuous"`` and ``"v_prediction"`` log(sigma / alpha) / 4, as in Stable Video Diffusion.
    sigma_data : float, default=0.5
        Standard deviation of the data by which EDM models scale inputs and outputs. Any value is right if the
        scheduler has the same.
    torch_dtype : torch.dtype, default=torch.float32
        Precision of the network's arithmetic, whatever that of the samples.

    Attributes
    ----------
    ld : LinearDiffusion
        Copy of the fitted model as it was when the network was built. What is learned later, by `ld` or by the
        copy, does not change the network.

    See Also
    --------
    LinearPipeline : The network with a scheduler.

    Notes
    -----
    Prompts that are symbols or styles are computed in PyTorch, on the device of the module, and gradients pass
    through them. A prompt with styles is answered by the posterior mean of their mixture, which is not linear.
    Weights of prompts, and prompts that share words, are computed by NumPy on the CPU, without gradients.

    Examples
    --------
    >>> from diffusers import DDIMPipeline, DDIMScheduler
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> from lineardiffusion.integrations.diffusers import LinearModel
    >>> ld = LinearDiffusion().fit(*load_digits())
    >>> pipe = DDIMPipeline(unet=LinearModel(ld, prompt="7"), scheduler=DDIMScheduler())
    >>> pipe.set_progress_bar_config(disable=True)
    >>> pipe(batch_size=2, num_inference_steps=20, output_type="np").images.shape
    (2, 8, 8, 1)
    """

    def __init__(
        self,
        ld: LinearDiffusion,
        prediction_type: str = "epsilon",
        *,
        prompt: Any = None,
        num_train_timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Any = None,
        rescale_betas_zero_snr: bool = False,
        timestep_type: str = "discrete",
        sigma_data: float = 0.5,
        torch_dtype: Any = None,
    ) -> None:
        super().__init__()
        if prediction_type not in PREDICTION_TYPES:
            known = ", ".join(map(repr, PREDICTION_TYPES))
            raise ValueError(f"unknown prediction_type {prediction_type!r}; choose one of {known}")
        if timestep_type not in ("discrete", "continuous"):
            raise ValueError(f'timestep_type must be "discrete" or "continuous", got {timestep_type!r}')
        if timestep_type == "continuous" and prediction_type != "v_prediction":
            raise ValueError(f'timestep_type="continuous" needs "v_prediction", got {prediction_type!r}')
        self._fitted = fitted = ld.fitted_
        self._ld = _copied(ld)
        given = locals()
        betas = {name: given[name] for name in BETAS}
        if trained_betas is not None:
            betas["trained_betas"] = np.asarray(trained_betas, dtype=float).tolist()
        self.samples = Samples.of(fitted.encoder, fitted.statistics.pixel_range)
        c, h, w = self.samples.shape
        self.register_to_config(
            prediction_type=prediction_type, prompt=prompt, timestep_type=timestep_type, sigma_data=sigma_data,
            **betas, sample_size=[h, w], in_channels=c, out_channels=c,
        )  # fmt: skip
        self._log_ratios = log_ratios(**betas) if prediction_type in DISCRETE else None
        dtype = torch_dtype or torch.float32
        for name in ("origin", "basis"):
            tensor = torch.from_numpy(np.array(getattr(self.samples, name))).to(dtype)
            self.register_buffer(name, tensor, persistent=False)
        self.unconditional = Gaussians(self.samples.coordinates(fitted.unconditional), dtype)
        self.conditional = None
        if isinstance(fitted.conditional, GaussianDenoiser):
            self.conditional = Gaussians(self.samples.coordinates(fitted.conditional), dtype)
        if prompt is not None:
            self.request([prompt])  # an error for an unknown one

    @property
    def ld(self) -> LinearDiffusion:
        return _copied(self._ld)

    @classmethod
    def for_scheduler(cls, ld: LinearDiffusion, scheduler: Any, **options: Any) -> Self:
        """Build the network that a scheduler expects.

        Parameters
        ----------
        ld : LinearDiffusion
            Fitted model.
        scheduler : scheduler of diffusers
            Its class and configuration tell the prediction type and the noise levels. LCMScheduler,
            FlowMatchLCMScheduler and CMStochasticIterativeScheduler get the exact consistency function.
        **options
            Parameters of :class:`LinearModel` that are not those of the scheduler.

        Returns
        -------
        LinearModel
            Network for this scheduler.

        Raises
        ------
        ValueError
            If no LinearModel is the network that the scheduler expects; the message says why.
        """
        return cls(ld, **{**_expected(scheduler), **options})

    def request(self, prompts: Any, generator: Any = None) -> Request:
        """Return the conditions of prompts, which :meth:`forward` takes in place of them.

        Parameters
        ----------
        prompts : list of str, int or dict, or array-like of shape (n, k)
            Prompts, as in :meth:`~lineardiffusion.LinearDiffusion.predict`.
        generator : torch.Generator or list of them, default=None
            With a generator each image whose prompt has styles draws one of them by its frequency.

        Returns
        -------
        Request
            Conditions of the images.
        """
        conditioner, given = self._fitted.conditioner, check_prompts(prompts, weights=True)
        if given is None:
            given = check_array(prompts, dtype=np.float64)
        elif not conditioner.known:
            raise ValueError("this model was fitted on prompts that are embeddings, got strings or labels")
        request = conditioner.request(given, 1.0)
        _check_generators(generator, len(request))
        if generator is None or conditioner.styles is None:
            return request
        owners = generator if isinstance(generator, list) else [generator] * len(request)
        seeds = [int(torch.randint(2**31, (1,), generator=one, device=one.device)) for one in owners]
        return conditioner.choose_styles(request, seeds)

    def forward(
        self, sample: Any, timestep: Any, class_labels: Any = None, return_dict: bool = True, *, prompt: Any = None
    ) -> Any:
        """Predict what the prediction type names.

        Parameters
        ----------
        sample : tensor of shape (n, c, h, w)
            Noisy samples, as ``scheduler.scale_model_input`` returns them.
        timestep : float, int or tensor of shape () or (n,)
            Timestep of all samples or of each. It may lie between the training timesteps, not beyond them.
        class_labels : tensor of int of shape (n,), default=None
            Places of the prompts in ``ld.prompts_``; an alternative to `prompt`.
        return_dict : bool, default=True
            Whether to return a :class:`LinearModelOutput` in place of a tuple.
        prompt : str, list of n prompts, or Request, default=None
            Prompt of all samples or of each; None for the parameter `prompt`.

        Returns
        -------
        LinearModelOutput or tuple
            Prediction, of the shape and type of `sample`.

        Raises
        ------
        ValueError
            For a sample of another shape, an unknown prompt, a place or a timestep that is out of range, or the
            consistency function of a mixture of styles.
        """
        n = len(sample)
        if tuple(sample.shape[1:]) != self.samples.shape:
            raise ValueError(f"samples must have the shape (n, *{self.samples.shape}), got {tuple(sample.shape)}")
        if class_labels is not None:
            prompt = self._named(torch.as_tensor(class_labels))
        request = self._request(prompt, n)
        work = self.origin.dtype
        kind, rows = self.config.prediction_type, sample.reshape(n, -1).to(work)
        t = np.broadcast_to(torch.as_tensor(timestep).detach().cpu().double().numpy(), (n,))
        alpha, sigma = self._levels(t)
        a, s = (torch.tensor(one[:, None], dtype=work, device=sample.device) for one in (alpha, sigma))
        sd = self.config.sigma_data
        if kind in EDM:
            rows = rows * (s**2 + sd**2).sqrt()
        level = alpha, sigma, a, s
        if kind.endswith("consistency"):
            end = (1.0, SIGMA_MIN) if kind == "edm_consistency" else (1.0, 0.0)
            clean = self._clean(rows, level, request, end)
        else:
            clean = self._clean(rows, level, request)
        if kind == "sample":
            found = clean
        elif kind in FLOW:  # without noise the sample is taken for an image of the model, whose eps is 0
            found = quotient(rows - a * clean, s) - clean
        elif kind in EDM:
            least = SIGMA_MIN if kind == "edm_consistency" else 0.0
            skip = sd**2 / ((s - least) ** 2 + sd**2)
            found = quotient(clean - skip * rows, (s - least) * sd / (s**2 + sd**2).sqrt())
        else:
            if kind == "consistency":
                scaled = torch.tensor(LCM_SCALING * t[:, None], dtype=work, device=sample.device)
                size = (scaled**2 + LCM_SIGMA**2).sqrt()
                clean = quotient(clean - (LCM_SIGMA / size) ** 2 * rows, scaled / size)
            found = quotient(rows - a * clean, s)
            if kind == "v_prediction":
                found = a * found - s * clean
        found = found.to(sample.dtype).reshape(sample.shape)
        return LinearModelOutput(sample=found) if return_dict else (found,)

    def _named(self, labels: Any) -> list[str]:
        """Return the prompts at these places."""
        known, places = self._fitted.conditioner.known, labels.reshape(-1).tolist()
        if labels.is_floating_point() or not all(0 <= place < len(known) for place in places):
            what = "the model has no prompts" if not known else f"expected integers from 0 to {len(known) - 1}"
            raise ValueError(f"class_labels are places in ld.prompts_: {what}, got {places}")
        return [known[place] for place in places]

    def _request(self, prompt: Any, n: int) -> Request:
        if isinstance(prompt, Request):
            request = prompt
        else:
            prompt = self.config.prompt if prompt is None else prompt
            if prompt is None:
                return Request(np.zeros(n, np.intp), [((None, 1.0),)])
            request = self.request([prompt] * n if isinstance(prompt, str | int | dict) else prompt)
        if len(request) != n:
            raise ValueError(f"expected one prompt for each of {n} samples, got {len(request)}")
        return request

    def _levels(self, t: Array) -> tuple[Array, Array]:
        """Return alpha and sigma (n,) at timesteps."""
        kind, last = self.config.prediction_type, self.config.num_train_timesteps
        if self.config.timestep_type == "continuous":
            return vp_level(4 * t)
        last -= kind in DISCRETE
        if kind not in EDM and not ((t >= 0) & (t <= last * (1 + BEYOND))).all():
            what = f"timesteps of this network are from 0 to {last}"
            raise ValueError(f"{what} (num_train_timesteps={self.config.num_train_timesteps}), got {t.tolist()}")
        if (ratios := self._log_ratios) is not None:
            return vp_level(np.interp(t, np.arange(len(ratios)), ratios))
        if kind in FLOW:
            sigma = t / self.config.num_train_timesteps
            return 1 - sigma, sigma
        return np.ones_like(t), np.exp(t / 250 if kind == "edm_consistency" else 4 * t)

    def _clean(self, x: Any, level: Any, request: Request, end: tuple[float, float] | None = None) -> Any:
        """Return E[y | x] (n, D) of rows; with `end`, the probability flow from their level to that one."""
        alpha, sigma, a, s = level
        origin, basis = self.origin, self.basis
        centred = x - a * origin
        w = centred @ basis
        moved = torch.empty_like(w)
        if request.embeddings is not None:
            request = request.gathered()
        for members, condition in zip(request.groups(), request.conditions, strict=True):
            at = torch.from_numpy(members).to(x.device)
            moved[at] = self._moved(condition, w[at], (alpha[members], sigma[members], a[at], s[at]), end)
        if end is None:
            return origin + moved @ basis.T
        return end[0] * origin + quotient(end[1], s) * (centred - w @ basis.T) + moved @ basis.T

    def _moved(self, condition: Any, w: Any, level: Any, end: Any) -> Any:
        """Return E[w0 | w] (m, d) under one condition, or the flow of w to the level `end`."""
        alpha, sigma, a, s = level
        part = condition[0][0] if len(condition) == 1 else ()
        if isinstance(part, StyleMixture) and self.conditional is not None:
            if end is not None:
                what = f"{part.prompt!r} has {len(part.styles)} styles, whose mixture has no consistency function"
                raise ValueError(f"{what} in closed form; name one, as in '{part.prompt}~0'")
            weights = torch.tensor(part.frequencies).to(w)
            return self.conditional.mixture_mean(w, list(part.styles), weights, a, s)
        law = self.unconditional if part is None else self.conditional
        if law is not None and (part is None or isinstance(part, int)):
            k = part or 0
            return law.posterior_mean(w, k, a, s) if end is None else law.flow(w, k, (a, s), end)
        length = self.samples.length
        if length is None:
            what = "weights of prompts, and prompts that share words, need a model without scale"
            raise ValueError(f"{what}: LinearDiffusion(scale=False)")
        denoiser, moved = self._fitted.denoiser(condition, mixed=True), torch.empty_like(w)
        z = w.detach().cpu().double().numpy() / length
        sigma = np.maximum(sigma / length, 1e-100)  # the squares of less are 0
        for one in set(zip(alpha.tolist(), sigma.tolist(), strict=True)):
            same = (alpha == one[0]) & (sigma == one[1])
            now = z[same][None]
            answer = denoiser(now, *one) if end is None else denoiser.flow(now, one, (end[0], end[1] / length))
            moved[torch.from_numpy(same).to(w.device)] = torch.from_numpy(length * answer[0]).to(w)
        return moved

    # ------------------------------------------------------------------ storage

    def save_pretrained(self, save_directory: str | Path, *, push_to_hub: bool = False, **options: Any) -> None:
        """Write ``model.safetensors`` of the linear model, and ``config.json`` of the network, to a folder.

        :meth:`~lineardiffusion.LinearDiffusion.from_pretrained` reads the folder too.

        Parameters
        ----------
        save_directory : str or Path
            Folder, made if need be.
        push_to_hub : bool, default=False
            Not supported here; use ``push_to_hub(repo_id)``.
        **options
            Options that diffusers passes on, without effect.
        """
        if push_to_hub:
            raise ValueError("save to a folder, or use push_to_hub(repo_id)")
        self._ld.save_pretrained(save_directory)
        self.save_config(save_directory)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        subfolder: str | None = None,
        torch_dtype: Any = None,
        dtype: Any = None,
        revision: str | None = None,
        token: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a network.

        Parameters
        ----------
        name_or_path : str or Path
            Folder that :meth:`save_pretrained` or :meth:`~lineardiffusion.LinearDiffusion.save_pretrained` wrote,
            name of a shipped model (``"mnist"``), or ``"owner/name"`` on the Hugging Face Hub.
        subfolder : str, default=None
            Folder inside of that folder.
        torch_dtype : torch.dtype, default=None
            Precision; None for single precision.
        dtype : torch.dtype, default=None
            Precision, by its other name.
        revision : str, default=None
            Branch, tag or commit on the Hub; None for the newest.
        token : str, default=None
            Access token for a private model on the Hub.
        **options
            Parameters of :class:`LinearModel`, in place of those that are stored. Other options, which diffusers
            passes on, have no effect.

        Returns
        -------
        LinearModel
            Network with the stored settings.
        """
        where = Path(name_or_path, subfolder) if subfolder else name_or_path
        weights = locate(where, revision, token)
        config = json.loads((weights.parent / cls.config_name).read_text(encoding="utf-8"))
        names = inspect.signature(cls.__init__).parameters.keys() - {"self", "ld", "torch_dtype"}
        stored = config if config.get("_class_name") == cls.__name__ else {}
        settings = {name: one[name] for one in (stored, options) for name in names if name in one}
        return cls(LinearDiffusion.from_pretrained(weights), torch_dtype=torch_dtype or dtype, **settings)


class LinearPipeline(DiffusionPipeline):
    """Pipeline of diffusers: a linear model and any scheduler.

    Parameters
    ----------
    model : LinearModel
        Network, of the prediction type and noise levels of the scheduler (:meth:`LinearModel.for_scheduler`).
    scheduler : scheduler of diffusers
        Scheduler. Those with ``clip_sample`` clip the network's answers to [-1, 1], which is not linear; pass
        ``clip_sample=False`` for the law of the model.

    See Also
    --------
    LinearModel : Its network.

    Examples
    --------
    >>> import torch
    >>> from diffusers import DPMSolverMultistepScheduler
    >>> from lineardiffusion import LinearDiffusion
    >>> from lineardiffusion.datasets import load_digits
    >>> from lineardiffusion.integrations.diffusers import LinearModel, LinearPipeline
    >>> ld = LinearDiffusion().fit(*load_digits())
    >>> scheduler = DPMSolverMultistepScheduler()
    >>> pipe = LinearPipeline(LinearModel.for_scheduler(ld, scheduler), scheduler)
    >>> pipe.set_progress_bar_config(disable=True)
    >>> generator = torch.Generator().manual_seed(137)
    >>> pipe(["7", "3"], num_inference_steps=20, generator=generator, output_type="np").images.shape
    (2, 8, 8, 1)
    """

    model_cpu_offload_seq = "model"

    def __init__(self, model: LinearModel, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(model=model, scheduler=scheduler)

    def __call__(
        self,
        prompt: Any = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 1.0,
        negative_prompt: Any = None,
        generator: Any = None,
        latents: Any = None,
        output_type: str = "pil",
        return_dict: bool = True,
        *,
        batch_size: int = 1,
        sigmas: Sequence[float] | None = None,
        timesteps: Sequence[float] | None = None,
        **step_options: Any,
    ) -> Any:
        """Draw images.

        Parameters
        ----------
        prompt : str or list of prompts, default=None
            One prompt an image. An image whose prompt has styles draws one of them by its frequency. None draws
            `batch_size` images under the model's own prompt.
        num_inference_steps : int, default=50
            Number of steps, unless `sigmas` or `timesteps` are given.
        guidance_scale : float, default=1.0
            Scale w of classifier-free guidance: the prediction is that of `negative_prompt` plus w times the
            difference to it; 1 is no guidance.
        negative_prompt : str or list of prompts, default=None
            Prompt that guidance moves away from; None for the unconditional Gaussian.
        generator : torch.Generator or list of them, default=None
            Source of the noise and of the choice of styles; a list has one for each image.
        latents : tensor of shape (n, c, h, w), default=None
            Starting noise of standard deviation 1, in place of the generator's.
        output_type : {"pil", "np", "pt", "latent"}, default="pil"
            Pillow images; an array (n, h, w, c) or a tensor (n, c, h, w) with pixels from 0 to 1; or the samples
            as they leave the scheduler. All but the last have the model's contrast and are clipped to its range.
        return_dict : bool, default=True
            Whether to return an ``ImagePipelineOutput`` in place of a tuple.
        batch_size : int, default=1
            Number of images if there is no prompt.
        sigmas : list of float, default=None
            Noise levels for ``scheduler.set_timesteps``, where the scheduler takes them.
        timesteps : list of float, default=None
            Timesteps for ``scheduler.set_timesteps``, where the scheduler takes them.
        **step_options
            Options of ``scheduler.step``, for example ``eta``.

        Returns
        -------
        ImagePipelineOutput or tuple
            Images.

        Raises
        ------
        ValueError
            If the scheduler expects another network or is refused, a prompt is unknown, or `generator` is a list of
            another length than there are images.
        """
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f'output_type must be "pil", "np", "pt" or "latent", got {output_type!r}')
        model, scheduler = self.model, self.scheduler
        _check_fit(model, scheduler)
        if isinstance(prompt, str | int | dict):
            prompt = [prompt]
        if prompt is None:
            prompt = None if model.config.prompt is None else [model.config.prompt] * batch_size
        n = batch_size if prompt is None else len(prompt)
        _check_generators(generator, n)
        drawn = torch.default_generator if generator is None else generator
        request = model._request(None, n) if prompt is None else model.request(prompt, drawn)
        away = None
        if guidance_scale != 1.0:
            away = Request(np.zeros(n, np.intp), [((None, 1.0),)])
            if negative_prompt is not None:
                away = model._request(negative_prompt, n)
        device, dtype = self._execution_device, model.dtype
        shape = (n, *model.samples.shape)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        elif tuple(latents.shape) != shape:
            raise ValueError(f"latents must have the shape {shape}, got {tuple(latents.shape)}")
        given = {"sigmas": sigmas, "timesteps": timesteps}
        chosen: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
        scheduler.set_timesteps(**(chosen or {"num_inference_steps": num_inference_steps}), device=device)
        takes = inspect.signature(scheduler.step).parameters
        if "generator" in takes:
            step_options["generator"] = generator
        x = latents.to(device=device, dtype=dtype) * getattr(scheduler, "init_noise_sigma", 1.0)
        with torch.no_grad():
            steps = list(scheduler.timesteps)
            for t, after in self.progress_bar(list(zip(steps, [*steps[1:], None], strict=True))):
                if "prev_timestep" in takes:  # otherwise UnCLIPScheduler steps to t - 1
                    step_options["prev_timestep"] = after
                scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
                predicted = model(scaled, t, prompt=request).sample
                if away is not None:
                    other = model(scaled, t, prompt=away).sample
                    predicted = other + guidance_scale * (predicted - other)
                x = scheduler.step(predicted, t, x, **step_options).prev_sample
        images: Any = x if output_type == "latent" else self._finish(x, request, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _finish(self, x: Any, request: Request, output_type: str) -> Any:
        samples, fitted = self.model.samples, self.model._fitted
        images = fitted.finish(samples.images(x), request.conditions, request.place)
        if output_type == "pil":
            return to_pil(images, fitted.statistics.pixel_range)
        images = ((images - samples.low) / (2 * samples.unit)).clip(0, 1)
        images = images if samples.channels_last else images[..., None]
        if output_type == "np":
            return images.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(x)

    @classmethod
    def download(cls, pretrained_model_name: str, **options: Any) -> str:
        """Download a pipeline from the Hugging Face Hub; ``from_pretrained`` calls it.

        Its files hold no code, so all of them are taken.

        Parameters
        ----------
        pretrained_model_name : str
            ``"owner/name"`` of the repository.
        **options
            Options of ``huggingface_hub.snapshot_download``: ``revision``, ``token``, ``cache_dir``,
            ``force_download``, ``proxies`` and ``local_files_only``. Others have no effect.

        Returns
        -------
        str
            Folder of the files.
        """
        from huggingface_hub import snapshot_download

        kept = ("revision", "token", "cache_dir", "force_download", "proxies", "local_files_only")
        chosen = {name: options[name] for name in kept if options.get(name)}
        patterns = ["*.json", "*.safetensors"]
        return str(snapshot_download(pretrained_model_name, allow_patterns=patterns, **chosen))


def _copied(ld: LinearDiffusion) -> LinearDiffusion:
    """Return a shallow copy with what was solved, which ``copy.copy`` would solve again."""
    found = object.__new__(type(ld))
    found.__dict__.update(vars(ld))
    return found


def _check_generators(generator: Any, n: int) -> None:
    if isinstance(generator, list) and len(generator) != n:
        raise ValueError(f"a list of generators must have one for each of {n} images, got {len(generator)}")


def _expected(scheduler: Any) -> dict[str, Any]:
    """Return the parameters of the network that a scheduler expects."""
    kind = predicted_by(scheduler)
    config, name = scheduler.config, type(scheduler).__name__
    configured = config.get("prediction_type", "epsilon")
    for option, value in FIXED.get(kind, {}).items():
        if config[option] != value:
            raise ValueError(f"{name} needs {option}={value} for a LinearModel, got {config[option]}")
    if kind in EDM:
        if configured != "epsilon":
            raise ValueError(f'{name} needs prediction_type="epsilon" for a LinearModel')
        return {"prediction_type": kind, "sigma_data": config.sigma_data}
    if is_flow(scheduler):
        if kind is None and configured != "flow_prediction":
            raise ValueError(f'{name} with use_flow_sigmas needs prediction_type="flow_prediction"')
        return {"prediction_type": kind or configured, "num_train_timesteps": config.num_train_timesteps}
    if configured not in ("epsilon", "v_prediction", "sample"):
        advice = " without use_flow_sigmas=True" if configured == "flow_prediction" else ""
        raise ValueError(f"{name} is refused with prediction_type={configured!r}{advice}")
    if str(config.get("variance_type")).startswith("learned"):
        what = f"variance_type={config.variance_type!r} takes a variance from the network"
        raise ValueError(f"{name} is refused: {what}")
    found = {name: config[name] for name in BETAS if name in config}
    if config.get("timestep_type") == "continuous" and configured == "v_prediction":
        return {"prediction_type": configured, "timestep_type": "continuous", **found}
    ratios = vp_log_ratios(scheduler.alphas_cumprod)
    if not np.allclose(log_ratios(**found), ratios, rtol=1e-3, atol=1e-3):  # the scheduler changes its betas
        kept = 1 / (1 + np.exp(2 * ratios))
        found["trained_betas"] = (1 - kept / np.append(1.0, kept[:-1])).tolist()
        found["rescale_betas_zero_snr"] = False
    return {"prediction_type": kind or configured, **found}


def _check_fit(model: LinearModel, scheduler: Any) -> None:
    """Raise an error if a scheduler expects another network."""
    for name, value in _expected(scheduler).items():
        have = model.config[name]
        if name == "trained_betas" and value is not None:
            value = np.asarray(value, dtype=float).tolist()
        if have != value:
            what = f"{type(scheduler).__name__} expects a network with {name}={value!r}, this one has {have!r}"
            raise ValueError(f"{what}; use LinearModel.for_scheduler(ld, scheduler)")
