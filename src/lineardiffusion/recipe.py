"""The recipe: from a batch to a state, and from a state to the solution.

    measure      images -> moments, of the pixels in one pass, or of the latents in two
    add_styles   images -> moments of their styles, a pass of its own
    solve        moments -> encoder and denoisers, in closed form

It holds the parameters that these steps need, and nothing of the data.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineardiffusion.batch import ROWS, Batch
from lineardiffusion.denoise import GaussianDenoiser
from lineardiffusion.encode import ImageEncoder
from lineardiffusion.joint import JointMoments
from lineardiffusion.language import Language
from lineardiffusion.moments import Array, Moments
from lineardiffusion.regression import RegressionDenoiser
from lineardiffusion.solution import Solution
from lineardiffusion.state import State
from lineardiffusion.styles import CENTRED_ON, Styles
from lineardiffusion.text import fit_text_encoder, symbols


@dataclass(frozen=True)
class Recipe:
    """The parameters of :class:`lineardiffusion.LinearDiffusion` that fitting needs."""

    n_components: int
    scale: bool
    text_encoder: Any
    n_styles: int
    contrast: str | None
    max_memory: float
    random_state: Any

    @property
    def _by_words(self) -> bool:
        """Whether prompts share words, and so styles."""
        return self.text_encoder not in (None, "onehot")

    @property
    def _counts(self) -> bool:
        """Whether pixels are counted."""
        return self.contrast == "histogram"

    def measure(self, batch: Batch) -> State:
        """The state that a batch leaves: in one pass over the pixels where memory allows, or in two."""
        D, n = batch.rows.shape[1], len(batch.rows)
        if batch.nbytes(D) <= self.max_memory:
            return self.measure_pixels(batch)
        settings = (self.n_components, batch.image_shape)
        if n < D and 8 * n * D <= self.max_memory:
            encoder = ImageEncoder.fit_rows(batch.rows, batch.sample_weight, *settings, self.scale)
        elif Moments.nbytes(1, D) <= self.max_memory:
            encoder = ImageEncoder.fit(batch.pooled(), *settings, batch.rows.dtype, self.scale)
        else:
            needed = min(n * D, D**2) * 8
            raise ValueError(
                f"{n} images of {D} pixels need {needed / 1e9:.1f} GB to find their components; use fewer "
                f"or smaller images, or allow it: LinearDiffusion(max_memory={needed:.3g})"
            )
        d, embeddings = len(encoder.components), None
        if batch.known and batch.nbytes(d) > self.max_memory:
            text = fit_text_encoder(self.text_encoder, batch.known)
            embeddings = None if text is None else text.embed(batch.known)
        self._check_memory(batch, d, embeddings)
        return batch.state(batch.latent_moments(encoder, embeddings), encoder, self._counts)

    def measure_pixels(self, batch: Batch) -> State:
        """The state that a batch leaves in one pass, with moments of its pixels."""
        return batch.state(batch.moments(), histogram=self._counts)

    def basis(self, state: State) -> ImageEncoder:
        """The image encoder: the state's own, or from its moments of pixels."""
        if state.encoder is not None:
            return state.encoder
        if state.styles is not None:
            return state.styles.encoder
        return ImageEncoder.fit(
            state.moments.pooled(), self.n_components, state.image_shape, state.pixel_dtype, self.scale
        )

    def add_styles(self, state: State, batch: Batch) -> State:
        """Count a batch's styles, and choose their centres if there are none."""
        styles, encoder = state.styles, self.basis(state)
        needed = Moments.nbytes(self.n_styles * len(state.known), len(encoder.components))
        if self._by_words:
            text = fit_text_encoder(self.text_encoder, state.known)
            assert text is not None
            k = text.embed(state.known[:1]).shape[1] + self.n_styles
            needed = max(needed, JointMoments.nbytes(k, len(encoder.components)))
        if needed > self.max_memory:
            raise ValueError(
                f"the moments of all styles take {needed / 1e9:.1f} GB; use fewer styles or components, or "
                f"allow it: max_memory={needed:.3g}"
            )
        places = symbols([batch.known[u] for u in batch.prompts], state.known)
        if styles is None or styles.requested != self.n_styles or styles.shared != self._by_words:
            styles = self._find_styles(state, batch, places, encoder)
        for start in range(0, len(places), ROWS):
            block = slice(start, start + ROWS)
            weight = None if batch.sample_weight is None else batch.sample_weight[block]
            styles = styles.add(encoder.encode(batch.rows[block]), places[block], weight)
        return replace(state, styles=styles)

    def _find_styles(
        self, state: State, batch: Batch, places: NDArray[np.intp], encoder: ImageEncoder
    ) -> Styles:
        """The centres: each prompt's own, or those that prompts of several words share."""
        shared = self._by_words
        missing = sorted(set(state.known) - set(batch.known))
        if missing and not shared:
            raise ValueError(
                f"the batch that chooses the styles must have every prompt, but {missing[0]!r} is not "
                "in it; give a larger or a better mixed batch first"
            )
        if not isinstance(state.moments, Moments):
            raise ValueError("styles need the moments of every prompt; allow more with max_memory")
        order = np.random.default_rng(0).permutation(len(places))
        own = [order[places[order] == u][:CENTRED_ON] for u in range(len(state.known))]
        few = np.sort(order[:CENTRED_ON] if shared else np.concatenate(own))
        weight = None if batch.sample_weight is None else batch.sample_weight[few]
        sample = (
            encoder.encode(batch.rows[few]),
            places[few],
            weight,
            self.n_styles,
            self.random_state,
            encoder,
        )
        if shared:
            means = state.moments.mean
            if state.encoder is None:
                means = (means - encoder.mean) @ encoder.analysis
            styles, small = Styles.find_shared(*sample, means)
        else:
            styles, small = Styles.find(*sample)
        if small:
            warnings.warn(
                f"{state.known[small[0]]!r} has fewer distinct images than n_styles="
                f"{self.n_styles}, and so fewer styles (so have {len(small)} prompts in all)",
                stacklevel=5,
            )
        return styles

    def _check_memory(self, batch: Batch, d: int, embeddings: Array | None) -> None:
        """Refuse what would not fit even in the latent space."""
        needed = batch.nbytes(d) if embeddings is None else JointMoments.nbytes(embeddings.shape[1], d)
        if needed > self.max_memory:
            fitting = int(d * (self.max_memory / needed) ** 0.5)
            raise ValueError(
                f"the moments of all prompts in {d} components take {needed / 1e9:.1f} GB; use "
                f"n_components={max(fitting, 1)}, or allow it: max_memory={needed:.3g}"
            )

    def solve(self, state: State) -> Solution:
        """The encoder and the denoisers, from the moments."""
        encoder, styles = self.basis(state), state.styles
        if styles is not None and styles.shared != self._by_words:
            raise ValueError(
                "styles of whole prompts are not those that prompts of several words share: fit again, or "
                "partial_fit_styles, with this text_encoder"
            )
        moments = self._latent_moments(state, encoder)
        everything = GaussianDenoiser.from_moments(moments.pooled())
        text = fit_text_encoder(self.text_encoder, state.known) if state.known else None
        law = moments if isinstance(moments, Moments) else moments.pooled()
        given: GaussianDenoiser | RegressionDenoiser
        size, rest = len(state.known), None
        if isinstance(moments, Moments) and text is None:
            if styles is None:
                given = GaussianDenoiser.from_moments(moments)
            else:
                sound = styles.sound()
                law = sound.moments(styles.moments)
                given, rest = GaussianDenoiser(law.mean, sound.drawn, sound.basis), sound.rest
        else:
            if isinstance(moments, Moments) and text is not None:
                embeddings = text.embed(state.known)
                if styles is not None:
                    moments = law = styles.moments
                    embeddings = np.hstack([embeddings[styles.prompt], styles.words()])
                moments = JointMoments.of_prompts(embeddings, moments)
            assert isinstance(moments, JointMoments)
            given = RegressionDenoiser.from_moments(moments)
            size = moments.matrix.shape[0] - 1 - (0 if styles is None else styles.words().shape[1])
        return Solution(encoder, Language(state.known, text, styles, size), everything, given, law, rest)

    def _latent_moments(self, state: State, encoder: ImageEncoder) -> Moments | JointMoments:
        if state.encoder is not None:
            return state.moments
        return state.moments.project(encoder.mean, encoder.analysis)
