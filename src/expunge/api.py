"""The Python interface: the verbs, and loading of what cannot be loaded plainly.

``expunge.__all__`` is the list of names; what stands here under its own name is exported.
"""

from __future__ import annotations

from expunge.workflows.attack import AttackRequest as AttackRequest
from expunge.workflows.attack import attack as attack
from expunge.workflows.attacks import AttackChoice as AttackChoice
from expunge.workflows.audit import AuditRequest as AuditRequest
from expunge.workflows.audit import audit as audit
from expunge.workflows.bench import Bench as Bench
from expunge.workflows.bench import BenchRequest as BenchRequest
from expunge.workflows.bench import bench as bench
from expunge.workflows.compare import compare as compare
from expunge.workflows.demo import demo as demo
from expunge.workflows.finished import Finished as Finished
from expunge.workflows.guesses import GuessRequest as GuessRequest
from expunge.workflows.guesses import guesses as guesses
from expunge.workflows.load import load as load
from expunge.workflows.matched import MatchRequest as MatchRequest
from expunge.workflows.matched import compare_at_utility as compare_at_utility
from expunge.workflows.plan import Plan as Plan
from expunge.workflows.plan import plan as plan
from expunge.workflows.prepare import PrepareRequest as PrepareRequest
from expunge.workflows.prepare import prepare as prepare
from expunge.workflows.prepared import Prepared as Prepared
from expunge.workflows.request import Request as Request
from expunge.workflows.shadows import ShadowsRequest as ShadowsRequest
from expunge.workflows.shadows import shadows as shadows
from expunge.workflows.unlearn import unlearn as unlearn
