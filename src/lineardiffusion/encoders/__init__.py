"""Encoders: images to latents, prompts to symbols or vectors, and prompts to conditions."""
