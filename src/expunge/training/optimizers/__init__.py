"""Optimizers by name, and the course of the learning rate."""

from expunge.training.optimizers.common import SGD, AdamW, learning_rate

__all__ = ["SGD", "AdamW", "learning_rate"]
