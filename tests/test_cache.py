"""The cache: least recently used first out, bounded in bytes, safe among threads; and what a model keeps in it."""

import copy
import os
import pickle
import signal
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineardiffusion import LinearDiffusion, samplers
from lineardiffusion._cache import Cache
from lineardiffusion.diffusion.affine import Affine
from lineardiffusion.diffusion.trajectory import compose
from lineardiffusion.fitted import ENTRY_BYTES
from lineardiffusion.inverse.posterior import LatentLaws


def test_the_least_recently_used_leaves_first():
    cache = Cache(30)
    for key in "abc":
        cache.put(key, key.upper(), 10)
    assert cache.get("a") == "A"  # so b is the oldest
    cache.put("d", "D", 10)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    cache.put("e", "E", 15)  # a and c are the oldest now
    assert [cache.get(key) for key in "abcde"] == [None, None, None, "D", "E"]
    assert cache.nbytes == 25
    assert len(cache) == 2


def test_a_value_put_again_replaces_the_old_one():
    cache = Cache(30)
    cache.put("a", 1, 10)
    cache.put("b", 2, 10)
    cache.put("a", 3, 20)
    assert (cache.get("a"), cache.get("b"), cache.nbytes, len(cache)) == (3, 2, 30, 2)
    cache.put("c", 4, 5)  # b was used last, so a leaves
    assert (cache.get("a"), cache.get("b"), cache.nbytes) == (None, 2, 15)


def test_what_is_too_large_is_not_kept():
    cache = Cache(30)
    cache.put("small", 0, 10)
    cache.put("large", 1, 31)
    assert cache.get("large") is None
    assert cache.get("small") == 0  # which has to leave for nothing
    assert (cache.nbytes, len(cache)) == (10, 1)
    nothing = Cache(0)
    nothing.put("a", 1, 1)
    assert nothing.get("a") is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.booleans()), max_size=60))
def test_it_does_what_a_list_does(steps):
    """Against a list in the order of use, the last one at the end."""
    cache, kept = Cache(50), []
    for key, size, look in steps:
        if look:
            found = [entry for entry in kept if entry[0] == key]
            assert cache.get(key) == (found[0][1] if found else None)
            kept = [entry for entry in kept if entry[0] != key] + found
        else:
            cache.put(key, (key, size), size)
            kept = [entry for entry in kept if entry[0] != key] + [(key, (key, size), size)]
            while sum(entry[2] for entry in kept) > 50:
                kept.pop(0)
        assert cache.nbytes == sum(entry[2] for entry in kept) <= 50
        assert len(cache) == len(kept)


def test_threads_do_not_break_the_books():
    """Every value is that of its key, and the sum of the sizes is that of what is kept."""
    cache, start = Cache(1000), threading.Barrier(8)

    def work(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        for key in rng.integers(0, 50, 5_000).tolist():
            found = cache.get(key)
            assert found is None or found == -key
            cache.put(key, -key, 10 + key)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    kept = [key for key in range(50) if cache.get(key) is not None]
    assert cache.nbytes == sum(10 + key for key in kept) <= 1000
    assert len(cache) == len(kept)


def test_copies_are_empty_and_clear_empties():
    cache = Cache(100)
    cache.put("a", 1, 10)
    for again in (copy.copy(cache), copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert (again.max_bytes, again.nbytes, again.get("a")) == (100, 0, None)
    assert cache.get("a") == 1
    cache.clear()
    assert (cache.nbytes, len(cache), cache.get("a")) == (0, 0, None)


# ---------------------------------------------------------------------- a model's maps and laws


def kept(ld):
    """The values in a model's cache."""
    return [value for value, _ in ld.fitted_.cache._entries.values()]


def memory(value):
    """Bytes that a kept value holds, with everything that its arrays are views of."""
    arrays = [value.rows] if isinstance(value, Affine) else [value.mean, value.covariance]
    total = 0
    for array in arrays:
        while array.base is not None:
            array = array.base
        total += array.nbytes
    return total


def test_two_thousand_maps_stay_below_the_bound(digits):
    bound = 1_000_000
    ld = LinearDiffusion(30, cache_memory=bound).fit(*digits)
    one = ld.predict(["7"], seed=0, sampler=samplers.ddim(2))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for n in range(1, 701):
        ld.predict(["7", "3", "8"], seed=0, sampler=samplers.ddim(1 + n % 3, eta=n / 701))
        assert ld.fitted_.cache.nbytes <= bound
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 1.5 * bound  # all 2,100 maps, with their keys, would take 5 times as much
    values = kept(ld)
    assert 300 < len(values) < 700
    assert sum(map(memory, values)) <= bound
    np.testing.assert_array_equal(ld.predict(["7"], seed=0, sampler=samplers.ddim(2)), one)


def test_a_map_holds_its_own_array_only(tiny):
    """Maps of several prompts are composed in one array; each that is kept is a copy."""
    ld = LinearDiffusion().fit(*tiny)
    ld.predict(["up", "left", "right"], seed=0)
    ld.score_samples(tiny[1][:2])
    ld.law({"up": 0.5, "left": 0.5}, guidance_scale=2.0)
    values = kept(ld)
    assert {type(value) for value in values} == {Affine, LatentLaws}
    for value in values:
        if isinstance(value, Affine):
            assert value.rows.base is None or value.rows.base.nbytes == value.rows.nbytes
    entries = sum(ENTRY_BYTES for value in values if isinstance(value, Affine))
    assert sum(map(memory, values)) + entries == ld.fitted_.cache.nbytes
    own = ld.fitted_.compose([((0, 1.0),)], ld.fitted_.parameters.trajectory)[0]
    assert np.shares_memory(own.basis, ld.fitted_.conditional.basis)  # of the model, which has it anyway


def test_without_a_cache_the_pictures_are_the_same(tiny):
    prompts, images = tiny
    none, some = (LinearDiffusion(cache_memory=b, sampler="heun").fit(*tiny) for b in (0, 1e6))
    for _ in range(2):
        np.testing.assert_array_equal(none.predict(prompts, seed=0), some.predict(prompts, seed=0))
        np.testing.assert_array_equal(none.score_samples(images), some.score_samples(images))
    assert none.fitted_.cache.nbytes == 0
    assert some.fitted_.cache.nbytes > 0


@pytest.mark.parametrize("told", [False, True])
def test_what_was_composed_once_is_found_again(tiny, told, monkeypatch):
    """Scoring, with prompts told one by one or not at all, composes and factorises nothing a second time."""
    prompts, images = tiny
    ld = LinearDiffusion().fit(prompts, images)
    asked = prompts[:9] if told else None
    first = ld.score_samples(images[:9], asked)
    composed, laws = [], LatentLaws.of
    monkeypatch.setattr(LatentLaws, "of", lambda *args: composed.append(1) or laws(*args))
    monkeypatch.setattr("lineardiffusion.fitted.compose", lambda *args: composed.append(1) or compose(*args))
    np.testing.assert_array_equal(ld.score_samples(images[:9], asked), first)
    assert not composed
    ld.score_samples(images[:9], asked, sampler="ddim")
    assert composed  # control: another sampler is composed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_does_not_wait_for_a_thread_of_its_parent():
    cache = Cache(100)
    with cache._lock:  # as another thread would hold it
        child = os.fork()
        if not child:
            cache.put("a", 1, 1)
            os._exit(0 if cache.get("a") == 1 else 1)
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done
    assert status == 0
