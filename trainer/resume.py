"""A run folder in, the checkpoint to go on from out: the newest that is whole, and of this very training.

All ranks come to the same answer: each reads its share of the files, what follows from the disk the first rank says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pile_toolkit.core.config import convert
from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import write_bytes
from trainer.checkpoint import CHECKPOINTS, Checkpoint, damage, written_checkpoints
from trainer.config import Recipe, refuse_changes, to_toml
from trainer.metrics import METRICS, last_step, metrics_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainer.distributed import World


def resume_point(
    run: Path, training_at: Callable[[int], dict[str, Any]], world: World, say: Callable[[str], None]
) -> Checkpoint | None:
    """The newest checkpoint whose every byte, and whose part of the metrics, is as it was written.

    `training_at(sample)` is what this training says of itself in a checkpoint whose next sample is that.

    Raises CorruptData where sound checkpoints stand beside metrics of another content: starting again would cost what
    they hold, and whether they are worth less than the log is not decided here.
    """
    written = world.first_says(lambda: written_checkpoints(run / CHECKPOINTS, say))
    sound = None
    for checkpoint in reversed(written):
        refuse_changes(checkpoint.training, training_at(checkpoint.sample), run=run)
        fault = _damage_on_any_rank(checkpoint, world)
        if fault is None:
            sound = checkpoint
            if _metrics_match(run, checkpoint, world):
                return checkpoint
            fault = f"{run / METRICS} is not as it was at step {checkpoint.step}"
        if world.is_first:
            say(f"{fault}: not continuing from step {checkpoint.step}")
    if sound is not None and world.first_says(lambda: last_step(run)) >= sound.step:
        raise CorruptData(
            f"{run / METRICS} is not as it was at step {sound.step}, but the checkpoint of that step is sound",
            hint=f"restore the file; or rm {run / METRICS} and run again, which starts at step 1",
        )
    if written and world.is_first:
        say(f"{run} has no checkpoint to continue from: starting at step 1")
    return None


def _damage_on_any_rank(checkpoint: Checkpoint, world: World) -> str | None:
    # Each rank reads its share of the files, and all come to the same answer.
    return next(filter(None, world.gather(damage(checkpoint, rank=world.rank, ranks=world.size))), None)


def _metrics_match(run: Path, checkpoint: Checkpoint, world: World) -> bool:
    return world.first_says(lambda: metrics_hash(run, step=checkpoint.step)) == checkpoint.progress.metrics


def write_recipe(run: Path, checkpoint: Checkpoint | None, recipe: Recipe) -> None:
    """The values that the run is trained with; of a finished one, was trained with."""
    if checkpoint is not None and checkpoint.step == recipe.train.steps:
        recipe = convert(checkpoint.training["recipe"], Recipe, where=str(checkpoint.path))
    path, content = run / "recipe.toml", to_toml(recipe).encode()
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)
