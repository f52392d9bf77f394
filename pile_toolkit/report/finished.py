"""A root folder in, its finished stages out: folder, manifest and time of each, in the order of the chain.

A stage without a manifest does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import MANIFEST, read_manifest, read_timings
from pile_toolkit.core.stages import Result, stage_result
from pile_toolkit.report import data
from pipelines.download import present_slugs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pile_toolkit.core.manifest import Manifest

# Folders of the stages that exist once, by the name under which later stages know them.
SINGLE_STAGES = {"dedup": "dedup", "plan": "build", "corpus": "corpus", "tokenizer": "tokenizer", "shards": "shards"}


class Finished(NamedTuple):
    """A finished stage: its folder as a path and as the root knows it, and its manifest."""

    folder: Path
    name: str
    manifest: Manifest

    @property
    def is_component(self) -> bool:
        """Whether it is one of the downloads."""
        return self.name.startswith("components/")

    @property
    def is_run(self) -> bool:
        """Whether it is a training."""
        return self.name.startswith("runs/")


def finished_stages(root: Path) -> list[Finished]:
    """Every finished stage of a root in the order of the chain, components in that of the catalog.

    Raises UsageError where there is none.
    """
    names = [f"components/{slug}" for slug in present_slugs(root)] + [*SINGLE_STAGES]
    names += sorted(f"runs/{path.parent.name}" for path in root.glob(f"runs/*/{MANIFEST}"))
    found = [Finished(root / name, name, manifest) for name in names if (manifest := read_manifest(root / name))]
    if not found:
        raise UsageError(
            f"{root} holds no finished stage to report on", hint=f"pile download --all --from sample: --root {root}"
        )
    return found


def counts_of(kind: type[Result], stage: Finished) -> Result:
    """A manifest's counts as the stage's own result. Raises CorruptData where another version wrote them."""
    try:
        return stage_result(kind, stage.folder, stage.manifest, up_to_date=True)
    except msgspec.ValidationError as error:
        raise CorruptData(
            f"{stage.folder / MANIFEST} has other counts than this version writes: {error}",
            hint=f"rm {stage.folder / MANIFEST}, then run that stage again",
        ) from error


def changed_inputs(root: Path, name: str) -> list[str]:
    """What a finished stage was made of and is other now, or is new; `name` is its folder."""
    found = finished_stages(root)
    stage = next(stage for stage in found if stage.name == name)
    return _other_inputs(stage, _present_digests(found), [stage for stage in found if stage.is_component])


def elapsed_s(stage: Finished) -> float:
    """What a stage took when it last ran."""
    timings = read_timings(stage.folder)
    return timings.elapsed_s if timings else 0.0


def stage_rows(root: Path, found: list[Finished]) -> Iterator[data.Stage]:
    """One row per stage; the components, a manifest each, are one download."""
    components = [stage for stage in found if stage.is_component]
    present = _present_digests(found)
    if components:
        yield data.Stage(
            stage="download",
            folder="components",
            elapsed_s=round(sum(map(elapsed_s, components)), 3),
            parameters={},
            other_inputs=[],
            outputs=[output for stage in components for output in _outputs(root, stage)],
        )
    for stage in found[len(components) :]:
        yield data.Stage(
            stage=stage.manifest.key.stage,
            folder=stage.name,
            elapsed_s=elapsed_s(stage),
            parameters=stage.manifest.key.parameters,
            other_inputs=_other_inputs(stage, present, components),
            outputs=list(_outputs(root, stage)),
        )


def _present_digests(found: list[Finished]) -> dict[str, str]:
    """The digest of everything that a later stage may name as its input, by the name it uses."""
    digests = {stage.name.removeprefix("components/"): stage.manifest.digest() for stage in found}
    for stage in found:
        if stage.name == "tokenizer":
            # Shards name a tokenizer by what it is, wherever it comes from.
            digests["tokenizer"] = str(stage.manifest.counts.get("tokenizer"))
    return digests


def _other_inputs(stage: Finished, present: dict[str, str], components: Iterable[Finished]) -> list[str]:
    inputs = stage.manifest.key.inputs
    other = [name for name, digest in inputs.items() if present.get(name) != digest]
    if stage.name == "dedup":
        other += [slug for item in components if (slug := item.folder.name) not in inputs]
    return sorted(other)


def _outputs(root: Path, stage: Finished) -> Iterator[data.OutputFile]:
    for output in stage.manifest.outputs:
        path = output.path if output.path.startswith("/") else f"{stage.name}/{output.path}"
        yield msgspec.structs.replace(output, path=path)
