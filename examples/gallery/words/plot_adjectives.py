"""
Adjectives: "thick slanted 7"
=============================

Thickness, slant and width are measured from 30,000 digits and become words of their prompts.
You learn to fit prompts of several words, and that combinations of words which were
held out are drawn as asked.
"""

import numpy as np

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_mnist

digits, images = (part[:30_000] for part in load_mnist("train"))
classes = np.array(digits)

# %%
# Three attributes
# ----------------
#
# Thickness is twice the area of the ink over the length of its outline. Slant is the
# shear that would make the digit upright. Width is the ratio of the horizontal spread
# to the vertical spread.


def measure(images):
    """Return thickness, slant and width of digits (n, 28, 28), shape (n, 3)."""
    ink = np.clip(images, 0, 255).astype(np.float32) / 255
    area = ink.sum(axis=(1, 2))
    outline = sum(abs(np.diff(ink, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2))
    at = np.arange(28.0)
    over_x, over_y = ink.sum(axis=1), ink.sum(axis=2)
    x, y = over_x @ at / area, over_y @ at / area
    xx, yy = over_x @ at**2 / area - x**2, over_y @ at**2 / area - y**2
    xy = np.einsum("nij,i,j->n", ink, at, at, optimize=True) / area - x * y
    return np.stack([2 * area / outline, -xy / yy, np.sqrt(xx / yy)], axis=1)


attributes = measure(images)

# %%
# From attributes to words
# ------------------------
#
# Within each digit, the lowest third of an attribute gets the first word, the highest
# third the second word, and the middle third gets none. For each digit, one combination
# of two adjectives is held out.

adjectives = [("thin", "thick"), ("upright", "slanted"), ("narrow", "wide")]
combinations = [("thick", "slanted"), ("thin", "wide"), ("slanted", "narrow")]
unseen = {str(digit): combinations[digit % 3] for digit in range(10)}

words = np.full(attributes.shape, "", dtype=object)
for digit in unseen:
    own = classes == digit
    for j, (low, high) in enumerate(adjectives):
        a, b = np.quantile(attributes[own, j], [1 / 3, 2 / 3])
        words[own & (attributes[:, j] < a), j] = low
        words[own & (attributes[:, j] > b), j] = high
prompts = [" ".join(filter(None, row)) for row in np.column_stack([words, classes])]
seen = [i for i, prompt in enumerate(prompts) if not {*unseen[digits[i]]} <= {*prompt.split()}]

# %%
# A bag of words
# --------------
#
# The text encoder ``"words"`` takes a prompt as the set of its words.

ld = LinearDiffusion(text_encoder="words", contrast="affine", sampler="dpm++2m", num_steps=30)
ld.fit([prompts[i] for i in seen], images[seen])
print(f"{len(seen):,} digits, {len(ld.prompts_)} prompts; {len(digits) - len(seen):,} held out")

# %%
# Are the adjectives of the held-out combinations drawn? An attribute of a drawn digit
# is right if it is on the requested side of the median of the real digits.

held_out = [" ".join([*unseen[digit], digit]) for digit in unseen]
drawn = {prompt: measure(ld.predict([prompt] * 50, seed=137)) for prompt in held_out}
for j, (low, high) in enumerate(adjectives):
    right = []
    for prompt, found in drawn.items():
        if {low, high} & set(prompt.split()):
            median = np.median(attributes[classes == prompt.split()[-1], j])
            right.append(np.mean((found[:, j] > median) == (high in prompt.split())))
    print(f"{low} or {high}: {np.mean(right):.1%} of the drawn digits are right")

# %%
# Each column of the picture starts from the same noise. The last ten rows are the
# held-out combinations.

single = [f"{word} 7" for pair in adjectives for word in pair]
rows = ["7", *single, "thick slanted 7", *held_out]
asked = [prompt for prompt in rows for _ in range(8)]
pictures = ld.predict(asked, seed=[*range(8)] * len(rows))
figure = plot.grid(pictures, labels=rows, columns=8, vmin=0, vmax=255, size=0.6)
plot.show(figure)
