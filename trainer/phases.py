"""A run's folder and the shards that it is to go on with in, the record of its phases out: what is read from where.

Without a word from the user a run keeps its shards. New ones begin a phase with the sample after its newest whole
checkpoint, which is the last one that training has read for good; the record is on the disk before any of them is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import UsageError
from shards.phases import PHASES, Phases, read_phases, summary, write_phases
from trainer.checkpoint import CHECKPOINTS, written_checkpoints
from trainer.resume import resume_point

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shards.phases import Phase
    from trainer.checkpoint import Checkpoint
    from trainer.distributed import World


def settle_phases(
    run: Path,
    offered: Phase,
    training: dict[str, Any],
    world: World,
    say: Callable[[str], None],
    *,
    new_phase: bool,
) -> tuple[Phases, Checkpoint | None]:
    """The phases that `run` reads, written to its folder, and the checkpoint to go on from.

    `offered` is the phase that a new run over the given shards would begin with, `training` all that a checkpoint says
    but its data. Raises UsageError where the run reads other shards and `new_phase` was not asked for, and where a
    phase cannot begin; and as `resume_point`.
    """
    recorded = world.first_says(lambda: _recorded(run, offered, new_phase=new_phase))
    last = recorded.phases[-1]
    if last.shards != offered.shards:
        world.first_says(lambda: _refuse(run, last, offered, new_phase=new_phase))
    checkpoint = resume_point(run, lambda sample: training | data_at(recorded, sample), world, say)
    if last.shards == offered.shards:
        phases = recorded
        if last.index != offered.index:
            # Only where no checkpoint is left that could name the values.
            raise UsageError(
                f"{run} was begun with another seed, length or order of samples than this recipe has",
                hint=f"another --name keeps both; rm -r {run} gives this one up",
            )
    else:
        phases = world.first_says(lambda: _with_phase(run, recorded, offered, checkpoint))
        if world.is_first:
            first = phases.phases[-1].first_sample
            say(f"{offered.prefix} is read from sample {first:,} on, phase {len(phases.phases)} of the run")
    world.first_says(lambda: write_phases(run, phases))
    return phases, checkpoint


def data_at(phases: Phases, sample: int) -> dict[str, Any]:
    """What a checkpoint whose next sample is `sample` says of its data: the shards that all samples so far are of."""
    read = phases.before(sample)
    data: dict[str, Any] = {"shards": read[-1].shards}
    if len(read) > 1:
        data["phases"] = summary(read)
    return data


def _recorded(run: Path, offered: Phase, *, new_phase: bool) -> Phases:
    """What the run's folder says, with the shards where they lie now; of a run that has read nothing, what is offered.

    A run from before there was a record has one phase, which its checkpoints confirm or refuse.
    """
    begun = Phases(phases=(offered,))
    written = written_checkpoints(run / CHECKPOINTS)
    if not (run / PHASES).is_file():
        if new_phase and not written:
            raise UsageError(f"{run} has not begun: no phase can follow", hint="--name of the run, or no --new-phase")
        return begun
    recorded = read_phases(run)
    *earlier, last = recorded.phases
    if not (earlier or written or new_phase):
        return begun
    if not last.is_over(offered):
        return recorded
    return Phases(phases=(*earlier, _beginning(offered, last.first_sample)))


def _beginning(offered: Phase, sample: int) -> Phase:
    return msgspec.structs.replace(offered, first_sample=sample, samples=offered.samples - sample)


def _refuse(run: Path, last: Phase, offered: Phase, *, new_phase: bool) -> None:
    if new_phase and offered.order == "stateless":
        return
    fact = (
        f"{run} reads {last.prefix} (content {last.shards}) from sample {last.first_sample:,} on, it cannot be "
        f"continued with {offered.prefix} (content {offered.shards})"
    )
    if offered.order != "stateless":
        raise UsageError(
            f"{fact}: in the order {offered.order} each sample depends on the shards and the length of the whole run, "
            "so that no phase can begin in its midst",
            hint="another --name keeps both; runs of data.order=stateless may go on with new weights",
        )
    raise UsageError(
        fact, hint="--new-phase reads them from the newest checkpoint on, and records it; another --name keeps both"
    )


def _with_phase(run: Path, recorded: Phases, offered: Phase, checkpoint: Checkpoint | None) -> Phases:
    """The record with a phase of `offered` after the checkpoint, in place of any that nothing was read of."""
    if checkpoint is None or checkpoint.sample == 0:
        raise UsageError(
            f"{run} has no whole checkpoint of a step, after which a phase could begin",
            hint=f"rm -r {run} begins a run with these shards; another --name keeps both",
        )
    if checkpoint.sample >= offered.samples:
        raise UsageError(
            f"{run} has finished its {checkpoint.step:,} steps: there is no sample left for a phase",
            hint="another --name trains on these shards from the start",
        )
    kept = Phases(phases=recorded.before(checkpoint.sample))
    if kept.phases[-1].shards == offered.shards:
        phases = kept
    else:
        for phase in kept.phases:
            if phase.prefix == offered.prefix and phase.shards != offered.shards:
                raise UsageError(
                    f"{offered.prefix} was written again since {run} read it from sample {phase.first_sample:,} on; "
                    "what that phase has read could then be counted by nobody",
                    hint="pile shards mix with another name, so that both stay",
                )
        phases = kept.followed_by(_beginning(offered, checkpoint.sample))
    for other in written_checkpoints(run / CHECKPOINTS):
        if other.training.get("phases") != data_at(phases, other.sample).get("phases"):
            raise UsageError(
                f"{other.path} is damaged, and has read samples after {checkpoint.sample:,} that were of other shards",
                hint=f"rm -r {other.path} gives it up",
            )
    return phases
