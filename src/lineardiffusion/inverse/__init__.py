"""Inverse problems: linear measurements, their likelihood and the posterior of the image."""
