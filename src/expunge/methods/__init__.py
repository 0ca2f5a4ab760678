"""Unlearning methods: loss families, edits and inference-time wraps; a published method is a preset."""
