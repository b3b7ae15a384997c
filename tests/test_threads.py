"""One model in many threads: every answer is the answer of one thread."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lineardiffusion import LinearDiffusion, samplers

THREADS, CALLS = 8, 300


def together(work, n=THREADS):
    """Results of ``work(0)``, ``work(1)``, ... in threads that begin at the same time."""
    start = threading.Barrier(n)

    def begin(k):
        start.wait()
        return work(k)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(begin, range(n)))


@pytest.fixture(autouse=True)
def many_switches():
    """Threads take turns a hundred times as often as usual, which finds a race that is rare otherwise."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(params=[256e6, 20_000], ids=["large cache", "small cache"])
def ld(request, tiny):
    """In the small cache maps come and go all the time."""
    return LinearDiffusion(6, cache_memory=request.param).fit(*tiny)


def test_thousands_of_predictions(ld):
    """2,400 calls (an eighth of them with the small cache) for 600 maps: the right pictures, and no failure."""
    words, ways = ["left", "up"], 300

    def drawn(i):
        return ld.predict(words, seed=i, sampler="ddim", num_steps=1 + i % 4, guidance_scale=1 + i / ways)

    expected = [drawn(i) for i in range(ways)]
    ld.fitted_.cache.clear()

    def work(k):
        rng, wrong = np.random.default_rng(k), 0
        for i in rng.integers(ways, size=CALLS if ld.cache_memory > 1e6 else CALLS // 8).tolist():
            wrong += not np.array_equal(drawn(i), expected[i])
        return wrong

    assert together(work) == [0] * THREADS


def test_thousands_of_scores(ld, tiny):
    prompts, images = tiny
    ways = [{"sampler": samplers.ddim(n, eta=eta)} for n in (1, 2, 5) for eta in (0.0, 0.5)]
    told = [None, prompts[:5], ["up"] * 5]
    expected = [[ld.score_samples(images[:5], asked, **way) for asked in told] for way in ways]
    ld.fitted_.cache.clear()

    def work(k):
        rng, wrong = np.random.default_rng(k), 0
        for _ in range(CALLS // 15):
            i, j = rng.integers(len(ways)), rng.integers(len(told))
            wrong += not np.array_equal(ld.score_samples(images[:5], told[j], **ways[i]), expected[i][j])
        return wrong

    assert together(work) == [0] * THREADS


def test_the_first_look_from_many_threads(tiny):
    """A stream's model is solved when it is first used, here in all threads at once."""
    prompts, images = tiny
    expected = LinearDiffusion(n_styles=2).fit(prompts, images).predict(prompts, seed=0)
    for _ in range(3):
        ld = LinearDiffusion(n_styles=2).partial_fit(prompts, images).partial_fit_styles(prompts, images)
        for found in together(lambda _, ld=ld: ld.predict(prompts, seed=0)):
            np.testing.assert_array_equal(found, expected)


def test_a_reader_sees_one_model_or_the_other(tiny):
    """While one thread fits other parameters and data, a call is answered by one whole model."""
    prompts, images = tiny
    ld = LinearDiffusion(3).fit(prompts, images)
    other = LinearDiffusion(8).fit(prompts, 2 * images)
    known = [ld.predict(["up"], seed=0), other.predict(["up"], seed=0)]
    done = threading.Event()

    def work(k):
        if k == 0:
            for _ in range(6):
                ld.set_params(n_components=8).fit(prompts, 2 * images)
                ld.set_params(n_components=3).fit(prompts, images)
            done.set()
            return True
        fine = True
        while not done.is_set():
            found = ld.predict(["up"], seed=0)
            fine &= any(np.allclose(found, one, atol=1e-9) for one in known)
        return fine

    assert all(together(work, 4))


def test_fits_of_several_models_at_once(tiny, digits):
    alone = LinearDiffusion(20, n_styles=2).fit(*digits).predict(["7"], seed=0)
    drawn = together(lambda _: LinearDiffusion(20, n_styles=2).fit(*digits).predict(["7"], seed=0), 3)
    for found in drawn:
        np.testing.assert_allclose(found, alone, atol=1e-4)
