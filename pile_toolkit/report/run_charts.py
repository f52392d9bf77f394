"""A finished training in, its charts out: losses, the schedule, the state of the gradients, and what the clock said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pile_toolkit.report.curves import Point, curve, small_curve
from pile_toolkit.report.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pile_toolkit.report.run_data import EpochPoint, LossPoint, Run, TimingPoint, ValidationPoint

# Of more epochs only some are marked: their names would stand on each other.
MARKED_EPOCHS = 6


def charts(run: Run, vocab_size: int | None) -> list[Figure]:
    """What there is to draw, losses first; `vocab_size` says where guessing among all tokens would be."""
    drawn: list[Figure | None] = []
    if run.losses:
        drawn += [_loss(run, vocab_size), _bits(run), _learning_rate(run), _norm(run), _loss_scale(run)]
    if run.timings:
        drawn += [_throughput(run), _utilisation(run), _memory(run)]
    return [figure for figure in drawn if figure is not None]


def _loss(run: Run, vocab_size: int | None) -> Figure:
    line = [Point(one.last_step, one.loss, f"{_steps(one)}: loss {one.loss:.4f}") for one in run.losses]
    held_out = [
        Point(one.step, one.loss, f"step {one.step:,}: validation loss {one.loss:.4f}{_in_bits(one.bits_per_byte)}")
        for one in run.validations
    ]
    mixed = [
        Point(one.step, one.mixture_loss, f"step {one.step:,}: weighted by the mixture {one.mixture_loss:.4f}")
        for one in run.validations
        if one.mixture_loss is not None
    ]
    level = None
    if vocab_size:
        uniform = math.log(vocab_size)
        level = Point(0, uniform, f"guessing evenly among {vocab_size:,} tokens: {uniform:.2f}")
    svg = curve(
        line,
        held_out,
        others=[held_out, mixed],
        x_unit="step",
        y_unit="loss, nats per token",
        name=f"Loss of {run.name}",
        level=level,
        marks=_epochs(run.epochs),
    )
    kinds = ("training", held_out and "validation", mixed and "weighted by the mixture")
    averaged = any(point.first_step != point.last_step for point in run.losses)
    notes = ["Each point is the mean over several steps."] if averaged else []
    return Figure(
        title="Loss",
        svg=svg,
        legend=[kind for kind in kinds if isinstance(kind, str)],
        note=" ".join([*notes, *_measured(run.validations)]),
    )


def _measured(points: Sequence[ValidationPoint]) -> Iterable[str]:
    share = points[-1].mixture_share if points else None
    if share is not None and share < 0.9995:
        yield f"{100 * share:.1f}% of the training is of components with held-out text: the mixture is of those."


def _bits(run: Run) -> Figure | None:
    kinds = (
        ("validation", [(one.step, one.bits_per_byte) for one in run.validations]),
        ("weighted by the mixture", [(one.step, one.mixture_bits_per_byte) for one in run.validations]),
    )
    lines = {
        kind: [Point(step, bits, f"step {step:,}, {kind}: {bits:.4f}") for step, bits in points if bits is not None]
        for kind, points in kinds
    }
    if not lines["validation"]:
        return None
    # In the colours of the losses, of which training has the first.
    svg = curve(
        [],
        lines["validation"],
        others=list(lines.values()),
        x_unit="step",
        y_unit="bits per byte of held-out text",
        name=f"Bits per byte of {run.name}",
    )
    return Figure("Bits per byte", svg, legend=["", *(kind for kind, points in lines.items() if points)])


def _learning_rate(run: Run) -> Figure:
    line = [
        Point(one.last_step, one.learning_rate, f"step {one.last_step:,}: {one.learning_rate:.4g}")
        for one in run.losses
    ]
    return _single("Learning rate", line, unit="learning rate", run=run)


def _norm(run: Run) -> Figure | None:
    line = [
        Point(one.last_step, one.grad_norm, f"{_steps(one)}: {one.grad_norm:.4g}")
        for one in run.losses
        if one.grad_norm is not None
    ]
    return _single("Gradient norm", line, unit="norm before clipping", run=run) if line else None


def _loss_scale(run: Run) -> Figure | None:
    scales = [(one, math.log2(one.loss_scale)) for one in run.losses if one.loss_scale]
    if not scales:
        return None
    line = [Point(one.last_step, power, f"{_steps(one)}: {one.loss_scale:,g}") for one, power in scales]
    dots = [
        Point(one.last_step, power, f"{_steps(one)}: {one.skipped} skipped at {one.loss_scale:,g}")
        for one, power in scales
        if one.skipped
    ]
    svg = curve(line, dots, x_unit="step", y_unit="loss scale, power of two", name=f"Loss scale of {run.name}")
    skipped = sum(one.skipped for one in run.losses)
    note = f"{skipped:,} of {run.steps:,} steps overflowed and changed no weight." if skipped else ""
    return Figure("Loss scale", svg, legend=["scale", "overflow"] if dots else [], note=note)


def _throughput(run: Run) -> Figure:
    line = [Point(one.last_step, one.tokens_per_s, f"{_steps(one)}: {one.tokens_per_s:,.0f}") for one in run.timings]
    return _single("Throughput", line, unit="tokens per second", run=run)


def _utilisation(run: Run) -> Figure | None:
    timed = [(one, one.mfu, one.hardware_utilisation) for one in run.timings]
    model = [Point(one.last_step, 100 * mfu, f"{_steps(one)}: MFU {mfu:.1%}") for one, mfu, _ in timed if mfu]
    hardware = [
        Point(one.last_step, 100 * share, f"hardware utilisation {share:.1%}") for one, _, share in timed if share
    ]
    if not model:
        return None
    svg = curve(
        model,
        others=[hardware],
        x_unit="step",
        y_unit="share of the peak, %",
        name=f"Utilisation of {run.name}",
        from_zero=True,
    )
    note = "The hardware's also counts what is computed a second time."
    return Figure("Utilisation", svg, legend=["model (MFU)", "hardware (HFU)"], note=note)


def _memory(run: Run) -> Figure | None:
    line = [
        Point(one.last_step, one.memory_bytes / 2**30, f"{_steps(one)}: {one.memory_bytes / 2**30:.2f} GiB")
        for one in run.timings
        if one.memory_bytes is not None
    ]
    return _single("Memory", line, unit="GiB, the most so far", run=run) if line else None


def _single(title: str, line: Sequence[Point], *, unit: str, run: Run) -> Figure:
    svg = curve(
        line,
        x_unit="step",
        y_unit=unit,
        name=f"{title} of {run.name}",
        from_zero=True,
        marks=_epochs(run.epochs),
    )
    return Figure(title, svg)


def by_component(run: Run) -> list[Figure]:
    """The loss on held-out text of each component, largest first, all between the same losses."""
    last = run.validations[-1].components if run.validations else {}
    lines = {
        name: [
            Point(point.step, found.loss, f"step {point.step:,}: {found.loss:.4f}{_in_bits(found.bits_per_byte)}")
            for point in run.validations
            if (found := point.components.get(name)) is not None
        ]
        for name in sorted(last, key=lambda name: (-last[name].loss, name))
    }
    every = [point.y for line in lines.values() for point in line]
    return [
        Figure(
            title=name,
            svg=small_curve(line, low=min(every), high=max(every), name=f"Validation loss of {name}"),
            note=f"{last[name].loss:.3f} nats per token{_in_bits(last[name].bits_per_byte, after=chr(10))}",
        )
        for name, line in lines.items()
    ]


def _epochs(points: Sequence[EpochPoint]) -> list[Point]:
    every = -(-len(points) // MARKED_EPOCHS) or 1
    return [Point(one.step, 0, f"epoch {one.epochs:,}") for one in points[every - 1 :: every]]


def _in_bits(bits: float | None, *, after: str = ", ") -> str:
    return f"{after}{bits:.3f} bits per byte" if bits is not None else ""


def _steps(point: LossPoint | TimingPoint) -> str:
    if point.first_step == point.last_step:
        return f"step {point.last_step:,}"
    return f"steps {point.first_step:,} to {point.last_step:,}"
