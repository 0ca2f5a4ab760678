"""Time of one optimizer step: NPO with a cached reference against gradient ascent, both with retain NLL, side by side.

Run: python perf/step_time.py [rounds]. The two take turns, so that a machine that changes speed slows both.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from expunge.benchmarks.fictional import Fictional
from expunge.data.tokenize import encode_all, pad_id
from expunge.methods.base import LossMethod
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.npo import NPO
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import RetainNLL
from expunge.models.load import build_model
from expunge.training.loop import Job, StepReport, train
from expunge.training.references import build_references

STEPS = 8


def median_step(method: LossMethod) -> float:
    """Median seconds of a step, the first left out; building the cache is not part of a step."""
    benchmark = Fictional()
    tokenizer = benchmark.tokenizer()
    splits = benchmark.splits()
    model = build_model(benchmark.model_config(tokenizer), seed=0).requires_grad_(True)
    retain = RetainNLL()
    specs = (*method.views(), *retain.views())
    examples = {spec.name: encode_all(splits[spec.source], tokenizer, max_length=128).examples for spec in specs}
    filler = pad_id(tokenizer)
    references = build_references(model, specs, examples, kind="cached", pad_id=filler, batch_size=16)
    times: list[float] = []

    def listen(report: StepReport) -> None:
        times.append(time.perf_counter())

    train(
        Job(
            model=model,
            method=method,
            retain_term=retain,
            axes=Axes(),
            training=Training(batch_size=16, max_steps=STEPS, epochs=100, checkpoint_every=0),
            examples=examples,
            references=references,
            pad_id=filler,
            listener=listen,
        )
    )
    return statistics.median(after - before for before, after in zip(times[1:], times[2:], strict=False))


def main(rounds: int) -> None:
    """Prints the ratio of every round and their median."""
    torch.set_num_threads(1)
    ratios = []
    for _ in range(rounds):
        ascent, npo = median_step(GradientAscent()), median_step(NPO())
        ratios.append(npo / ascent)
        print(f"gradient ascent {ascent * 1e3:.1f} ms, NPO {npo * 1e3:.1f} ms, ratio {ratios[-1]:.3f}")
    print(
        f"median ratio {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}), {rounds} rounds"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
