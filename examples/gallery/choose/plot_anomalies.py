"""
Find anomalous images
=====================

The typicality of an image is the two-sided tail probability of its log-likelihood. You
learn to score images by it, and why a likelihood alone is not enough: it calls the mean
image the best of all.
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from lineardiffusion import LinearDiffusion, plot
from lineardiffusion.datasets import load_digits

# %%
# The model is fitted to 1,300 of scikit-learn's digits. It scores the other digits and
# four kinds of anomalies, each under the prompt of its digit.

prompts, images = map(np.array, load_digits())
rng = np.random.default_rng(0)
order = rng.permutation(len(images))
fitted, held_out = order[:1300], order[1300:]
ld = LinearDiffusion(40).fit(prompts[fitted], images[fitted])

real = images[held_out].astype(float)
kinds = {
    "held out": real,
    "plain": np.ones_like(real) * rng.uniform(0, 16, size=(len(real), 1, 1)),
    "noise": rng.uniform(0, 16, size=real.shape),
    "upside down": real[:, ::-1, ::-1],
}
means = {
    prompt: images[fitted][prompts[fitted] == prompt].mean(axis=0) for prompt in ld.prompts_
}
kinds["mean image"] = np.stack([means[prompt] for prompt in prompts[held_out]])
typicality = {kind: ld.typicality(x, prompts[held_out]) for kind, x in kinds.items()}

# %%
# The area under the ROC curve (AUC) is the probability that an anomaly has a lower
# score than a held-out digit. The likelihood ranks all other anomalies as well as the
# typicality does, but it ranks every mean image above the digits.

log_prob = {kind: ld.score_samples(x, prompts[held_out]) for kind, x in kinds.items()}
is_held_out = np.repeat([1, 0], len(real))
for kind in list(kinds)[1:]:
    both = [
        np.concatenate([score["held out"], score[kind]]) for score in (typicality, log_prob)
    ]
    auc = [roc_auc_score(is_held_out, score) for score in both]
    print(f"{kind:12s} AUC of the typicality {auc[0]:.3f}, of the likelihood {auc[1]:.3f}")

# %%
# The caption of an image is its typicality.

captions = [f"{p:.1g}" for kind in kinds for p in typicality[kind][:6]]
shown = np.concatenate([x[:6] for x in kinds.values()])
figure = plot.grid(shown, captions=captions, labels=list(kinds), columns=6, vmin=0, vmax=16)
plot.show(figure)
