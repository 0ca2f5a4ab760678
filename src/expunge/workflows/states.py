"""How work in a folder begins and ends, in the words of its log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from expunge.errors import DivergedError, ExpungeError, InterruptedRunError
from expunge.storage.run import RunFolder


@contextlib.contextmanager
def logged_states(run: RunFolder) -> Iterator[None]:
    """Logs ``running``, then ``done``, or ``interrupted``, ``diverged`` or ``failed`` where the block raises."""
    run.set_state("running")
    try:
        yield
    except (InterruptedRunError, KeyboardInterrupt):
        run.set_state("interrupted")
        raise
    except DivergedError:
        run.set_state("diverged")
        raise
    except Exception:
        with contextlib.suppress(ExpungeError):  # the disk may be what failed
            run.set_state("failed")
        raise
    run.set_state("done")
