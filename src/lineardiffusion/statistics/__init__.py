"""Sufficient statistics of prompts and images; they add and subtract."""
