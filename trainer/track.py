"""Rows of metrics in, TensorBoard's and Weights & Biases' own records out; both are extras that a recipe asks for."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.config import Recipe

TENSORBOARD, WANDB = "tensorboard", "wandb"
_HINT = "pip install 'pile-toolkit[track]'"


def refuse_missing(recipe: Recipe) -> None:
    """Raises UsageError where a library that the recipe asks for is not installed."""
    asked = {"tensorboard": recipe.track.tensorboard, "wandb": recipe.track.wandb_project is not None}
    for name, wanted in asked.items():
        if wanted and importlib.util.find_spec(name) is None:
            raise UsageError(f"the recipe's [track] asks for {name}, which is not installed", hint=_HINT)


class Trackers:
    """Nothing where the recipe names none. A resumed run goes on in the records of the one before."""

    def __init__(self, run: Path, recipe: Recipe, *, step: int) -> None:
        """After `step` steps, of a recipe that `refuse_missing` let pass."""
        self._board = _tensorboard(run, step) if recipe.track.tensorboard else None
        project = recipe.track.wandb_project
        self._wandb = _wandb(run, recipe, project) if project is not None else None

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """All numbers of `values`, those of nested ones as `outer/inner`."""
        if self._board is None and self._wandb is None:
            return
        numbers = dict(_numbers(values))
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            # By `step` in the row, and not by W&B's own counter, which refuses steps that a resumed run does again.
            self._wandb.log({"step": step} | numbers)

    def close(self) -> None:
        """Writes out what is buffered."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found.append((f"{prefix}{name}", value))
    return found


def _tensorboard(run: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / TENSORBOARD), purge_step=step + 1)


def _wandb(run: Path, recipe: Recipe, project: str) -> Any:
    import wandb

    settings = msgspec.to_builtins(recipe)
    name = run.name
    record = wandb.init(project=project, name=name, id=name, dir=str(run), config=settings, resume="allow")
    record.define_metric("*", step_metric="step")
    return record
