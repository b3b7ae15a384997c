"""Laws as objects: Gaussians, mixtures of them, and Bayes' rule."""
