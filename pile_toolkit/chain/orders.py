"""A root and the name of a run in, the order in which it reads its samples out; or an order that is said in full."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.config import nearest
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shards.index import SampleIndex
    from shards.phases import Phase, Phases
    from trainer.config import Recipe

DEFAULT_LENGTH = 2048


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which order samples are numbered in: a run's own, by its name, or one that is said in full."""

    run: str | None = None
    sequence_length: int = DEFAULT_LENGTH
    samples: int = 1
    seed: int = 1234
    order: str = "neox"
    batch: int | None = None


class OpenOrder:
    """An order over its shards: the phases of a run, or one phase."""

    def __init__(self, phases: Phases, samples: int, batch: int | None) -> None:
        """`samples` is how many there are to look at, `batch` how many a step has."""
        from shards.phased import PhasedSamples

        self.phases, self.samples, self.batch = phases, samples, batch
        self._read = PhasedSamples(phases, samples=samples)

    def find(self, number: int) -> tuple[SampleIndex, int]:
        """The index that sample `number` is of, and its number there. Raises UsageError past the last."""
        if not 0 <= number < self.samples:
            raise UsageError(
                f"there is no sample {number:,}, the order has {self.samples:,}", hint="--samples of the run"
            )
        return self._read.find(number)

    def spans(self) -> Iterator[tuple[Phase, SampleIndex, int]]:
        """Each phase with its index and the number of its samples."""
        for phase, samples in self.phases.spans(self.samples):
            yield phase, self._read.index_of(phase), samples

    def of_step(self, step: int) -> range:
        """The samples of one step, from 1. Raises UsageError past the last, and where nobody said how many each has."""
        if self.batch is None:
            raise UsageError("how many samples has a step?", hint="--batch 1024, the global batch, or --run NAME")
        if not 1 <= step <= self.samples // self.batch:
            raise UsageError(f"there is no step {step:,} of 1 to {self.samples // self.batch:,}", hint="--step 1")
        return range((step - 1) * self.batch, step * self.batch)


def open_order(prefix: Path, root: Path, order: Order) -> OpenOrder:
    """The order of a run of `root`, else of what `order` says over `prefix`."""
    from shards.dataset import TokenDataset
    from shards.index import SampleIndex
    from shards.phases import PHASES, Phases, read_phases

    samples, batch, seed, kind, length = order.samples, order.batch, order.seed, order.order, order.sequence_length
    if order.run is not None:
        folder, recipe = run_recipe(root, order.run)
        batch, samples = recipe.data.global_batch, recipe.train.steps * recipe.data.global_batch
        if (folder / PHASES).exists():
            return OpenOrder(_located(read_phases(folder), root), samples, batch)
        prefix = shards_of_run(root, folder) / "train"
        seed, kind, length = recipe.data.seed, recipe.data.order, recipe.data.sequence_length
    index = SampleIndex.build(TokenDataset(prefix), sequence_length=length, samples=samples, seed=seed, order=kind)
    return OpenOrder(Phases().started(0, index), len(index) if order.run is None else samples, batch)


def run_recipe(root: Path, name: str) -> tuple[Path, Recipe]:
    """(folder, resolved recipe) of a run. Raises UsageError where there is none of that name."""
    from trainer.config import load_recipe

    folder = root / "runs" / name
    path = folder / "recipe.toml"
    if Path(name).name != name or not path.is_file():
        known = [path.parent.name for path in sorted((root / "runs").glob("*/recipe.toml"))]
        hint = nearest(name, known) if known else f"pile train debug --root {root}"
        raise UsageError(f"there is no run {name!r} in {root / 'runs'}", hint=hint)
    return folder, load_recipe(path)


def shards_of_run(root: Path, run: Path) -> Path:
    """The folder of the shards that a run reads: `shards/` or a mix, known by the content that the run recorded.

    Raises UsageError where none of them is what it was trained on.
    """
    recorded = _recorded_shards(run)
    if recorded is None:
        return root / "shards"
    for folder in _holders(root):
        if _content(folder) == recorded:
            return folder
    raise UsageError(
        f"{run} was trained on other shards than there are in {root}",
        hint="write the shards or the mix of the run again",
    )


def _located(phases: Phases, root: Path) -> Phases:
    """The same with the place of each phase's shards in the root by their content, where they were moved within it."""
    return type(phases)(
        phases=tuple(
            msgspec.structs.replace(phase, prefix=str(folder / Path(phase.prefix).name)) if folder else phase
            for phase in phases.phases
            for folder in [_moved(phase, root)]
        )
    )


def _moved(phase: Phase, root: Path) -> Path | None:
    if not phase.shards or _content(Path(phase.prefix).parent) == phase.shards:
        return None
    return next((folder for folder in _holders(root) if _content(folder) == phase.shards), None)


def _holders(root: Path) -> list[Path]:
    return [root / "shards", *sorted((root / "mixes").glob("*"))]


def _content(folder: Path) -> str | None:
    manifest = read_manifest(folder)
    return manifest.digest() if manifest is not None else None


def _recorded_shards(run: Path) -> str | None:
    """The digest in the manifest of a run, or of its checkpoints while it is unfinished."""
    manifest = read_manifest(run)
    if manifest is not None:
        return manifest.key.inputs.get("shards")
    for folder in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        manifest = read_manifest(folder)
        if manifest is not None:
            return manifest.key.parameters.get("shards")
    return None
