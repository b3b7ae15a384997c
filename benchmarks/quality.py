"""Are the digits read right? ``python benchmarks/quality.py [mnist|fashion-mnist]``.

10,000 images, 1,000 a prompt, by a judge that was trained on real ones (judge.py; it needs torch once, and
the data). Real test images and the original's sampler stand beside ours. The original here is our
``one_step``, its noise marginalised; tests/test_original.py shows that they draw the same pictures.
"""

from __future__ import annotations

import sys

from judge import LOADERS, Judge

from lineardiffusion import LinearDiffusion


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "mnist"
    judge = Judge.load(name)
    prompts, images = LOADERS[name]("train")
    models = {
        "default model": LinearDiffusion(),
        "the original (one_step, scale=True)": LinearDiffusion(sampler="one_step", scale=True),
    }
    test_prompts, test_images = LOADERS[name]("test")
    print(f"{name}: share read right by the judge")
    print(f"{'real test images':40s} {judge.accuracy(test_images, test_prompts):.4f}")
    asked = sorted(set(prompts)) * 1000
    for what, model in models.items():
        drawn = model.fit(prompts, images).predict(asked, seed=137)
        print(f"{what:40s} {judge.accuracy(drawn, asked):.4f}")


if __name__ == "__main__":
    main()
