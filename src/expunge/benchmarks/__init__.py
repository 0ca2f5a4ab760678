"""Benchmarks: records in named splits, some of which a model is trained on. One file (or folder) each."""
