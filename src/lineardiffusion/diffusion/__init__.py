"""Diffusion: schedules, denoisers, samplers, and samplers composed into affine maps.

Read in this order: schedules, denoisers, affine, samplers, trajectory; then regression, guidance and ode for
prompts that share words and for guidance.
"""
