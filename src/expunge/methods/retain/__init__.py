"""Retain terms: what keeps the model as it was on the records it may remember. An axis of every loss method."""

from __future__ import annotations

from expunge.methods.retain.base import FromSource, NoRetain, RetainTerm
from expunge.methods.retain.hidden import RetainHidden
from expunge.methods.retain.outputs import RetainJS, RetainKL, RetainNLL

__all__ = ["FromSource", "NoRetain", "RetainHidden", "RetainJS", "RetainKL", "RetainNLL", "RetainTerm"]
