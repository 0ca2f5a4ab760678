"""Answers the needs of metrics with one reading of each model, and turns their numbers into a verdict."""
