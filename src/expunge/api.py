"""The Python interface: the verbs, and loading of what cannot be loaded plainly."""

from __future__ import annotations

from expunge.workflows.audit import AuditRequest, audit
from expunge.workflows.bench import Bench, BenchRequest, bench
from expunge.workflows.compare import compare
from expunge.workflows.demo import demo
from expunge.workflows.finished import Finished
from expunge.workflows.load import load
from expunge.workflows.plan import Plan, plan
from expunge.workflows.prepare import PrepareRequest, prepare
from expunge.workflows.prepared import Prepared
from expunge.workflows.unlearn import Request, unlearn

__all__ = [
    "AuditRequest",
    "Bench",
    "BenchRequest",
    "Finished",
    "Plan",
    "PrepareRequest",
    "Prepared",
    "Request",
    "audit",
    "bench",
    "compare",
    "demo",
    "load",
    "plan",
    "prepare",
    "unlearn",
]
