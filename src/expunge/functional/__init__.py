"""Tensors in, tensors out: log-probabilities, losses, divergences, statistics and text scores."""
