"""Perturbations: an adversary that the forget term is trained against."""
