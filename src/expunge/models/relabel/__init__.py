"""Relabellers: other answers for the same prompts."""

from __future__ import annotations

from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.idk import IDK, REFUSALS
from expunge.models.relabel.repeat_refusal import RepeatRefusal

__all__ = ["IDK", "REFUSALS", "RelabelTask", "Relabeller", "RepeatRefusal"]
