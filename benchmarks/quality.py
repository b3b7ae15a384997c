"""Measure the judge's accuracy on generated images: ``python benchmarks/quality.py [mnist|fashion-mnist]``.

10,000 images, 1,000 a prompt, are classified by a judge that was trained on real images (judge.py; it needs torch
once, and the data). Real test images and the original's sampler are printed for comparison. The original is our
``one_step`` here, whose noise is marginalised; tests/test_original.py shows that both draw the same pictures.
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
        "the original (one_step, scale=True)": LinearDiffusion(sampler="one_step", scale=True, shrinkage=0),
    }
    test_prompts, test_images = LOADERS[name]("test")
    print(f"{name}: accuracy of the judge")
    print(f"{'real test images':40s} {judge.accuracy(test_prompts, test_images):.4f}")
    drawn_for = sorted(set(prompts)) * 1000
    for model_name, model in models.items():
        drawn = model.fit(prompts, images).predict(drawn_for, seed=137)
        print(f"{model_name:40s} {judge.accuracy(drawn_for, drawn):.4f}")


if __name__ == "__main__":
    main()
