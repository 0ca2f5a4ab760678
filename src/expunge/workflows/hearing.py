"""What jobs in other processes say of themselves, as the steps of one phase here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from expunge.errors import InterruptedRunError
from expunge.executors.local import Hear, Job, Outcome
from expunge.storage.events import Event
from expunge.storage.progress import PHASE, Steps
from expunge.storage.run import RunFolder
from expunge.workflows.signals import STOPPED


class Heard:
    """Counts the steps of a phase whose work is done by jobs, and says what the last one heard of is doing.

    Args:
        steps: of the phase.
        sizes: steps that each job counts for, by name. A job of more than one counts its optimizer steps while it runs;
            the rest of its steps, or the only one, come with its end.
    """

    def __init__(self, steps: Steps, sizes: Mapping[str, int]) -> None:
        self._steps, self._sizes = steps, sizes
        self._counted = dict.fromkeys(sizes, 0)
        self._loops: dict[str, tuple[int, int]] = {}  # steps of the loops before, and of the one under way
        self._phases: dict[str, tuple[str, int]] = {}

    def hear(self, job: str, event: Event) -> None:
        """Takes a phase, or a step of one, that a job began or took."""
        data = event.data
        if event.kind == PHASE:
            self._phases[job] = (str(data["name"]), int(data.get("total") or 1))
            self._steps.describe(f"{job}: {data['name']}")
            return
        name, total = self._phases.get(job, ("", 1))
        done, total = int(data["step"]), int(data.get("total") or total)
        self._steps.describe(f"{job}: {name} {done}/{total}")
        if event.kind == "metric":
            before, last = self._loops.get(job, (0, 0))
            before += last if done <= last else 0
            self._loops[job] = (before, done)
            # The last step waits for the end: the model is not saved yet.
            self._count(job, min(before + done, self._sizes[job] - 1))

    def ended(self, job: str) -> None:
        """Counts all steps of a job, whether it took them or failed."""
        self._count(job, self._sizes[job])

    def _count(self, job: str, done: int) -> None:
        if done > self._counted[job]:
            self._steps.advance(done - self._counted[job])
            self._counted[job] = done


def run_logged(
    run: RunFolder,
    name: str,
    jobs: Sequence[Job],
    sizes: Mapping[str, int],
    start: Callable[[Hear], Iterator[Outcome]],
    stop_requested: Callable[[], bool],
) -> Iterator[Outcome]:
    """Runs jobs in other processes as one phase of a run, logs how each ended, and yields that.

    Args:
        run: whose log is written.
        name: of the phase.
        jobs: to run.
        sizes: steps of all jobs by name, those that are done included.
        start: runs the jobs; called with what takes their events.
        stop_requested: asked after every job.

    Raises:
        InterruptedRunError: a stop was requested, here or of a job.
    """
    total = sum(sizes.values())
    with run.phases.phase(name, total, total - sum(sizes[job.name] for job in jobs)) as steps:
        heard = Heard(steps, sizes)
        for outcome in start(heard.hear):
            run.events.append("job", job=outcome.job, trouble=outcome.trouble, exit_code=outcome.exit_code)
            if stop_requested() or outcome.exit_code == InterruptedRunError.exit_code:
                raise InterruptedRunError(STOPPED)
            heard.ended(outcome.job)
            yield outcome
