"""Fit a model on several machines, with Dask.

Each pass of training is a sum over the batches of a source (statistics/source.py). Here the batches are blocks that
lie on the workers of a cluster. In every pass ::

    job       what to compute of a block, with its large arguments (components, centres): one task, whose result
              each worker fetches once
    part      the sum over one block, or over neighbouring small ones
    tree      neighbouring parts are added in pairs, so the order of the blocks is kept
    result    the only value that this machine receives

No image travels unless it was given as an array of this machine, and scatters travel as triangles (_triangles.py).
All of it is a graph of tasks without state: if a worker dies, the scheduler has another one compute again what was
lost. Therefore jobs and arrays of this machine are arguments of tasks. Dask's ``scatter`` would leave them in the
memory of single workers.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from lineardiffusion._batches import unpack
from lineardiffusion._cache import computed_once
from lineardiffusion._validation import is_dask
from lineardiffusion.encoders.basis import SAMPLE
from lineardiffusion.estimator import LinearDiffusion
from lineardiffusion.parameters import Parameters
from lineardiffusion.statistics.batch import Batch
from lineardiffusion.statistics.source import BYTES
from lineardiffusion.streaming import Check, gathered

try:
    import dask
    import dask.array
    from dask.delayed import Delayed, delayed
    from distributed import Client, Future
    from distributed.protocol import serialize
except ImportError as error:
    raise ImportError('lineardiffusion.distributed needs Dask: pip install "linear-diffusion[dask]"') from error

__all__ = ["fit"]

PARTS = 4  # of a pass for each thread of the cluster, where blocks are small
LARGE_GRAPHS = {"distributed.admin.large-graph-warning-threshold": "1PB"}  # whose large arguments are sent once

T = TypeVar("T")


def fit(client: Client, batches: Any, model: LinearDiffusion) -> LinearDiffusion:
    """Fit a model to blocks of images on the workers of a cluster; the result equals that of ``model.fit``.

    Blocks are read several times: once for images of fewer than 1,500 pixels, some six times for larger ones, and
    once or twice more for styles. What is lost with a worker is computed again by the others.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster, whose workers must have this package.
    batches : list, or tuple of Dask arrays
        Blocks. Each is in one of the forms that :meth:`~lineardiffusion.LinearDiffusion.fit_batches` takes, best
        some 64 MB: a tuple (prompts, images) or (prompts, images, sample_weight), whose parts may be arrays,
        Delayed values or Futures; the path of an .npz file, or a function without arguments, which are read by the
        workers; or a Delayed value or Future of one of these. Or a tuple of whole arrays of Dask, (prompts, images)
        or (prompts, images, sample_weight), whose blocks are the chunks of the images along the first axis; prompts
        and weights may be arrays in memory. Delayed values and arrays of Dask are computed anew in each pass: call
        ``persist`` on them if they fit into the memory of the cluster.
    model : LinearDiffusion
        Model to fit.

    Returns
    -------
    LinearDiffusion
        The same model, fitted. It stays as it was if anything fails.

    Raises
    ------
    TypeError
        If blocks have another form, or an image encoder cannot be pickled.
    ValueError
        As in :meth:`~lineardiffusion.LinearDiffusion.fit`, with a note that names the block; also if blocks differ
        from pass to pass, or Dask does not know the sizes of the chunks.

    See Also
    --------
    LinearDiffusion.fit_batches : The same on one machine.

    Examples
    --------
    >>> from distributed import Client
    >>> from lineardiffusion import LinearDiffusion, distributed
    >>> from lineardiffusion.datasets import load_digits
    >>> prompts, images = load_digits()
    >>> blocks = [(prompts[i::3], images[i::3]) for i in range(3)]
    >>> with Client(processes=False, dashboard_address=None) as client:
    ...     ld = distributed.fit(client, blocks, LinearDiffusion())
    >>> ld.prompt_prior_.shape
    (10,)
    """
    if not isinstance(client, Client) or client.asynchronous:
        raise TypeError(f"client must be a distributed.Client that is not asynchronous, got {client!r}")
    if not isinstance(model, LinearDiffusion):
        raise TypeError(f"model must be a LinearDiffusion, got {type(model).__name__}")

    def cluster(check: Check, parameters: Parameters) -> Cluster:
        try:
            serialize(parameters.image_encoder, on_error="raise")
        except Exception as error:
            what = f"the image_encoder cannot be pickled, which sending it to the workers takes ({error})"
            raise TypeError(f"{what}; give it a __getstate__, or use fit_batches on one machine") from error
        return Cluster(client, batches, check)

    model._fit_source(cluster)
    return model


class Cluster:
    """A data set of blocks on the workers of a cluster.

    Parameters
    ----------
    client : Client
        Client of the cluster.
    batches : list or tuple
        Blocks, see :func:`fit`.
    check : callable
        Returns the checked batch of prompts, images and sample weights, of the kind of another batch or None.
    """

    def __init__(self, client: Client, batches: Any, check: Check) -> None:
        self._client, self._size = client, 0
        self._blocks = self._kept(_grouped(_blocks(batches), max(1, sum(client.nthreads().values()))))
        if not self._blocks:
            raise ValueError("no batches: expected at least one, of prompts and images")
        self.first: Batch = self._run([delayed(_first)(_constant(check), self._blocks[0])])[0]
        self.prompts = self.first.prompts
        self._check = self._kept([_constant(functools.partial(_checked, check, self.first))])[0]

    @property
    def sample(self) -> Batch:
        """Return images at equal distances, the same that are taken of a data set in memory."""
        return self._sample[0]  # type: ignore[no-any-return]

    @property
    def sample_is_all(self) -> bool:
        """Return whether the sample holds all images."""
        return self._sample[1]  # type: ignore[no-any-return]

    @computed_once
    def _sample(self) -> Any:
        sizes = self._run([delayed(_size)(self._check, block) for block in self._blocks])
        step, start, chosen = -(-sum(sizes) // SAMPLE), 0, []
        for block, size in zip(self._blocks, sizes, strict=True):
            if start < size:
                chosen.append(delayed(_every)(self._check, block, start, step))
            start = (start - size) % step
        return Batch.joined(self._run(chosen)), sum(sizes) <= SAMPLE

    def total(self, measure: Callable[[Batch], T], add: Callable[[T, T], T] = operator.add) -> T:
        """Return the sum of what `measure` computes of each block, in the order of the blocks."""
        job = _constant((measure, add))
        parts = [delayed(_part)(job, self._check, block) for block in self._blocks]
        while len(parts) > 1:
            last = parts[len(parts) // 2 * 2 :]
            parts = [delayed(_add)(job, *pair) for pair in zip(parts[::2], parts[1::2], strict=False)] + last
        whole: Part = self._run(parts)[0]
        if self._size and whole.n != self._size:
            what = f"a pass over the blocks read {whole.n} images, the first one {self._size}"
            raise ValueError(f"{what}; give blocks that are the same each time they are read")
        self._size = whole.n
        return whole.total  # type: ignore[no-any-return]

    def _run(self, tasks: list[Delayed]) -> list[Any]:
        """Return the results of tasks."""
        with dask.config.set(LARGE_GRAPHS):
            futures = self._client.compute(tasks)
        return list(self._client.gather(futures))

    def _kept(self, blocks: Iterable[Any]) -> list[Any]:
        """Return blocks of which those that are tasks are computed once, and again where they are lost."""
        every = list(blocks)
        tasks = [one for one in every if isinstance(one, Delayed)]
        with dask.config.set(LARGE_GRAPHS):
            kept = iter(self._client.persist(tasks) if tasks else [])
        return [next(kept) if isinstance(one, Delayed) else one for one in every]


# ---------------------------------------------------------------------- from what a user gives to blocks


def _blocks(batches: Any) -> Iterator[Any]:
    """Yield the blocks of a list, or of the chunks of arrays of Dask."""
    if not isinstance(batches, Sequence) or isinstance(batches, str | bytes):
        what = f"batches must be a list of blocks, or a tuple of arrays of Dask; got {type(batches).__name__}"
        raise TypeError(f"{what}. Functions in a list load their blocks on the workers")
    for item in [batches] if _is_arrays(batches) else batches:
        yield from _chunks(*item) if _is_arrays(item) else [item]


def _is_arrays(item: Any) -> bool:
    """Return whether an item is arrays of Dask, of prompts and images or of images alone."""
    return isinstance(item, tuple) and any(isinstance(part, dask.array.Array) for part in item)


def _chunks(prompts: Any, images: Any, *weights: Any) -> Iterator[tuple[Any, ...]]:
    """Yield blocks of arrays: the chunks of the images along the first axis."""
    every = [prompts, images, *weights]
    for name, part in zip(("prompts", "images", "sample weights"), every, strict=False):
        if is_dask(part) and not isinstance(part, dask.array.Array):
            instead = "convert them, as in frame.to_dask_array(lengths=True)"
            raise TypeError(f"{name} must be an array, got Dask's {type(part).__name__}; {instead}")
        if len(np.shape(part)) and np.isnan(np.shape(part)[0]):
            raise ValueError(f"the {name} have chunks of unknown sizes; call .compute_chunk_sizes() on the array")
    if len({len(part) for part in every}) > 1:
        lengths = " and ".join(str(len(part)) for part in every)
        raise ValueError(f"prompts and images (and sample weights) must be as many; got {lengths}")
    sizes = (images if isinstance(images, dask.array.Array) else prompts).chunks[0]
    cut = [_cut(part, sizes) for part in every]
    yield from (block for block, size in zip(zip(*cut, strict=True), sizes, strict=True) if size)


def _cut(part: Any, sizes: tuple[int, ...]) -> list[Any]:
    """Return the chunks of an array, as Delayed values or as parts of an array in memory."""
    if isinstance(part, dask.array.Array):
        return list(part.rechunk((sizes, *part.shape[1:])).to_delayed().ravel())
    return np.split(np.asarray(part), np.cumsum(sizes)[:-1])


def _grouped(blocks: Iterable[Any], threads: int) -> Iterator[Any]:
    """Yield lists of numbered blocks that one task reads: one that lies on the workers, or some others."""
    every = list(enumerate(blocks))
    most = -(-sum(not _is_remote(item) for _, item in every) // (PARTS * threads))
    group: list[tuple[int, Any]] = []
    size = 0
    for block in every:
        remote, nbytes = _is_remote(block[1]), _nbytes(block[1])
        if group and (remote or len(group) == most or size + nbytes > BYTES):
            yield _constant(group)
            group, size = [], 0
        if remote:
            yield [block]
        else:
            group, size = [*group, block], size + nbytes
    if group:
        yield _constant(group)


def _is_remote(item: Any) -> bool:
    """Return whether a block, or one of its parts, is computed by the workers or lies there."""
    return any(is_dask(part) or isinstance(part, Future) for part in _parts(item))


def _nbytes(item: Any) -> int:
    return sum(getattr(part, "nbytes", 0) for part in _parts(item))


def _parts(item: Any) -> list[Any]:
    if isinstance(item, Mapping):
        return list(item.values())
    return list(item) if isinstance(item, tuple | list) else [item]


def _constant(value: Any) -> Delayed:
    """Return a value as the result of a task, from which it can be had again if a worker dies."""
    return delayed(functools.partial(_given, value), pure=False)()


def _given(value: Any) -> Any:
    return value


# ---------------------------------------------------------------------- what the workers compute


def _checked(check: Check, like: Batch | None, block: tuple[int, Any]) -> Batch:
    number, item = block
    try:
        return check(*unpack(item), like)
    except Exception as error:
        error.add_note(f"in block {number} of the batches")
        raise


def _first(check: Check, blocks: list[tuple[int, Any]]) -> Batch:
    return _checked(check, None, blocks[0])[:1]


def _size(check: Callable[[Any], Batch], blocks: list[Any]) -> int:
    return sum(len(check(block)) for block in blocks)


def _every(check: Callable[[Any], Batch], blocks: list[Any], start: int, step: int) -> Batch:
    """Return every image at a distance `step` from the one at `start`."""
    found = []
    for batch in map(check, blocks):
        found.append(batch[start::step])
        start = (start - len(batch)) % step
    return Batch.joined([one for one in found if len(one)])


@dataclass(frozen=True, eq=False)
class Part:
    """The sum of what is computed of some blocks, and the number of their images."""

    n: int
    total: Any

    def __sizeof__(self) -> int:
        """Return its bytes, by which the scheduler chooses where two parts are added."""
        return _bytes_in(self.total)


def _part(job: tuple[Any, Any], check: Callable[[Any], Batch], blocks: list[Any]) -> Part:
    every = (Part(len(batch), job[0](batch)) for batch, _ in gathered(map(check, blocks)))
    return functools.reduce(functools.partial(_add, job), every)


def _add(job: tuple[Any, Any], one: Part, other: Part) -> Part:
    return Part(one.n + other.n, job[1](one.total, other.total))


def _bytes_in(value: Any) -> int:
    """Return the bytes of the arrays of a dataclass."""
    if is_dataclass(value):
        return sum(_bytes_in(getattr(value, one.name)) for one in fields(value))
    return int(getattr(value, "nbytes", 0))
