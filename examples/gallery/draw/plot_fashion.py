"""
Draw clothes from a model that ships
====================================

The package has fitted models of MNIST and of Fashion-MNIST, so nothing need be
downloaded or fitted. You learn to load one, to ask which prompts it knows, and to draw
from it.
"""

from lineardiffusion import LinearDiffusion, plot

# %%
# The model was fitted to the 60,000 training images. Clothes have finer patterns than
# digits: it has 200 components and 80 styles per prompt. The prompts are words, such as
# "ankle boot". The text encoder is one-hot, so a prompt is one symbol, however many
# words it has.

ld = LinearDiffusion.from_pretrained("fashion-mnist")
words = [str(prompt) for prompt in ld.prompts_]
print(words)

# %%
# Three images of each prompt.

asked = [word for five in (words[:5], words[5:]) for word in five * 3]
captions = [text for five in (words[:5], words[5:]) for text in [*five, *[""] * 10]]
figure = plot.grid(
    ld.predict(asked, seed=137), captions=captions, columns=5, vmin=0, vmax=255, size=0.9
)
plot.show(figure)
