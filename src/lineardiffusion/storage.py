"""Storage: a model as two files, and back.

    config.json          the parameters, the images' shape and range, the prompts, and what the arrays are
    model.safetensors    the state's arrays

What is loaded is the state and the parameters, from which all else follows; so a loaded model draws the same
pixels, and goes on learning. Nothing is pickled: a file is numbers and names, and cannot run code. The price
is that functions and transformers cannot be stored.
"""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

import lineardiffusion
from lineardiffusion import files, hub, layout
from lineardiffusion.fields import Fields
from lineardiffusion.files import CONFIG, WEIGHTS
from lineardiffusion.learn import Learner
from lineardiffusion.parameters import decode_parameters, encode_parameters
from lineardiffusion.text import fit_text_encoder

FIELDS = (
    "model_type", "format_version", "library_version", "parameters", "embedding", *layout.FIELDS,
    "weights", "sha256",
)  # fmt: skip


class Stored(Learner):
    """What saves and loads :class:`LinearDiffusion`; see there for the parameters and attributes."""

    def save_pretrained(self, path: str | Path, *, precision: str = "full") -> None:
        """Write the fitted model to a folder, as ``config.json`` and ``model.safetensors``.

        The folder is made if need be. A model that is there is replaced in one step: whoever reads, and
        whatever interrupts, finds the old one or the new one, whole.

        Parameters
        ----------
        path : str or Path
            The folder.
        precision : {"full", "half"}, default="full"
            "full" loses no bit: what is loaded draws the same pixels. "half" stores the scatters of prompts
            and styles in a quarter of the space or less: means are whole, variances keep six digits, and
            correlations three. What is loaded is then a model of its own, from which every process draws
            the same pixels. Joint moments, of embeddings or very many prompts, stay as they are.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For a parameter that is a function, a transformer or a random state, which no such file holds.

        See Also
        --------
        from_pretrained : Load it.
        push_to_hub : Write it to the Hugging Face Hub.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from lineardiffusion import LinearDiffusion
        >>> from lineardiffusion.datasets import load_digits
        >>> ld = LinearDiffusion().fit(*load_digits())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ld.save_pretrained(folder)
        ...     again = LinearDiffusion.from_pretrained(folder)
        >>> np.array_equal(ld.predict(["7"], seed=137), again.predict(["7"], seed=137))
        True
        """
        check_is_fitted(self)
        self._check_params()
        if precision not in layout.PRECISIONS:
            raise ValueError(f'precision must be "full" or "half", got {precision!r}')
        state, half = self._state, precision == "half"
        embedding = None
        if not state.known:
            names = getattr(self, "feature_names_in_", None)
            embedding = {"size": int(self.n_features_in_), "names": None if names is None else list(names)}
        config = {
            "library_version": lineardiffusion.__version__,
            "parameters": encode_parameters(self.get_params(deep=False)),
            "embedding": embedding,
            **layout.describe(state, half),
        }
        files.write(Path(path), config, layout.flatten(state, half))

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, revision: str | None = None, token: str | None = None
    ) -> Self:
        """Load a model.

        Parameters
        ----------
        name_or_path : str or Path
            A folder that :meth:`save_pretrained` wrote, the name of a model that ships with the library,
            or ``"owner/name"`` of one on the Hugging Face Hub (``pip install "linear-diffusion[hub]"``).
            The first of these that there is; only the last uses the network.
        revision : str, default=None
            The branch, tag or commit on the Hub; None for the newest.
        token : str, default=None
            The access token for a private model on the Hub; None for the one of ``hf auth login``.

        Returns
        -------
        LinearDiffusion
            With the parameters it was saved with. It draws the same pixels (see ``precision`` in
            :meth:`save_pretrained`), and goes on with ``partial_fit`` and ``merge`` where the saved one
            could.

        Raises
        ------
        FileNotFoundError
            Where there is no such model.
        ImportError
            For a model on the Hub, without the package that fetches it.
        ValueError
            For a file that was truncated or altered, or is not one of this library; the message names it.
        """
        with located(name_or_path, revision, token) as folder:
            return cls._load(folder)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        token: str | None = None,
        commit_message: str = "Upload a lineardiffusion model",
        license: str = "mit",
        precision: str = "full",
    ) -> str:
        """Write the fitted model and its card to the Hugging Face Hub.

        Takes ``pip install "linear-diffusion[hub]"``. The repository is made if need be.

        Parameters
        ----------
        repo_id : str
            ``"owner/name"``.
        private : bool, default=False
            Whether a repository that is made is private.
        token : str, default=None
            The access token; None for the one of ``hf auth login``.
        commit_message : str, default="Upload a lineardiffusion model"
            What the repository's history says.
        license : str, default="mit"
            What the card says: the Hub's name of the licence under which you give the model away.
        precision : {"full", "half"}, default="full"
            As in :meth:`save_pretrained`.

        Returns
        -------
        str
            The address of the commit.
        """
        return hub.push(self, repo_id, private, token, commit_message, license, precision)

    @classmethod
    def _load(cls, folder: Path) -> Self:
        config, data = files.read(folder)
        with files.blame(folder / CONFIG):
            fields = Fields(config, "the model")
            fields.only(FIELDS)
            model = cls(**decode_parameters(fields.section("parameters"), cls().get_params(deep=False)))
            model._check_params()
            expected = layout.shapes(fields)
            embedding = _embedding(fields, model.text_encoder)
        with files.blame(folder / WEIGHTS):
            if len(data) > 8 * sum(map(math.prod, expected.values())) + files.HEADER_BYTES:
                raise ValueError(f"its {len(data)} bytes are more than the arrays of {CONFIG} can take")
            arrays = files.arrays(data)
            layout.check_arrays(arrays, expected)
            del data  # of which the arrays are a copy
            state = layout.restore(fields, arrays)
        model._adopt(state)
        if embedding is not None:
            model.n_features_in_ = embedding.size("size")
            if embedding.raw("names") is not None:
                model.feature_names_in_ = np.array(embedding.strings("names"), dtype=object)
        return model


@contextmanager
def located(
    name_or_path: str | Path, revision: str | None = None, token: str | None = None
) -> Iterator[Path]:
    """The folder of a model; see :meth:`LinearDiffusion.from_pretrained` for where it is looked for."""
    folder, name, shipped = Path(name_or_path), str(name_or_path), shipped_models()
    if (folder / CONFIG).exists():
        yield folder
    elif name in shipped:
        with importlib.resources.as_file(_pretrained() / name) as inside:
            yield inside
    elif folder.exists():
        raise FileNotFoundError(
            f"{folder} is no model: expected a folder with {CONFIG} and {WEIGHTS}, as save_pretrained "
            "writes it"
        )
    elif isinstance(name_or_path, str) and hub.is_repository(name):
        yield hub.pull(name, revision, token)
    else:
        raise FileNotFoundError(
            f"there is no folder {name!r}, nor a model of this name. Expected a folder that save_pretrained "
            f'wrote, "owner/name" of a model on the Hugging Face Hub, or one that ships with the library: '
            f"{', '.join(map(repr, shipped)) or 'none in this version'}"
        )


def shipped_models() -> list[str]:
    """The names of the models that the library comes with."""
    if not (folder := _pretrained()).is_dir():
        return []
    return sorted(one.name for one in folder.iterdir() if (one / CONFIG).is_file())


def _pretrained() -> Any:
    return importlib.resources.files("lineardiffusion") / "pretrained"


def _embedding(fields: Fields, text_encoder: str | None) -> Fields | None:
    """The description of the embeddings, if the prompts were; its size must be that of the moments."""
    known, embedding = fields.strings("prompts"), fields.optional("embedding")
    if (embedding is None) != bool(known):
        raise ValueError("there must be either prompts or the size of an embedding")
    if embedding is not None:
        size = embedding.size("size")
        if embedding.raw("names") is not None and len(embedding.strings("names")) != size:
            raise ValueError(f"an embedding of {size} entries needs as many names")
    elif fields.section("moments").raw("embedding") is not None:
        text = fit_text_encoder(text_encoder, known)
        size = len(known) if text is None else text.embed(known[:1]).shape[1]
    else:
        return None
    if fields.section("moments").raw("embedding") != size:
        raise ValueError(f"the moments must be joint with embeddings of {size} entries")
    return embedding
