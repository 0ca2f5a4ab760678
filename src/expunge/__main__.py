"""``python -m expunge``, which ``accelerate launch -m expunge`` starts once for each device."""

from __future__ import annotations

import sys

from expunge.cli import main

sys.exit(main())
