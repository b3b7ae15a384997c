"""
Prompts that were never seen
============================

Two digits side by side are one image, and their names are its prompt. Ten of the 100
pairs are held out. You learn that a model with the text encoder ``"positions"`` draws
these ten pairs too, because each word has its own part in the regression.
"""

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

unseen = [f"{i} {(i + 3) % 10}" for i in range(10)]

# %%
# Pairs are drawn at random from the training digits. Those of the ten prompts in
# ``unseen`` are left out.

digits, images = load_mnist("train")
left, right = np.random.default_rng(0).integers(len(digits), size=(2, 22_000))
prompts = np.array([f"{digits[i]} {digits[j]}" for i, j in zip(left, right, strict=True)])
kept = ~np.isin(prompts, unseen)
prompts = prompts[kept]
pairs = np.concatenate([images[left[kept]], images[right[kept]]], axis=2)
print(f"{len(pairs):,} images of {pairs.shape[1:]} pixels, {len(set(prompts))} prompts")

# %%
# ``"positions"`` encodes which word stands where. The regression learns the shape of a
# 4 on the left and of a 2 on the right from all pairs that have one of them. With the
# default encoder, ``"onehot"``, an unseen prompt would be an error.

ld = LinearDiffusion(150, text_encoder="positions", sampler="dpm++2m", num_steps=30)
ld.fit(prompts, pairs)
drawn = ld.predict([pair for pair in unseen for _ in range(5)], seed=137)
figure = plot.grid(drawn, labels=unseen, columns=5, vmin=0, vmax=255, size=1.1)
plot.show(figure)
