"""scikit-learn's own checks, and what it does with an estimator that takes strings and draws images."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from lineardiffusion import LinearDiffusion


@parametrize_with_checks([LinearDiffusion(), LinearDiffusion(sampler="ddpm", num_steps=5)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
