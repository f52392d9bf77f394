"""Two roots, or lock files, in, what differs between them out: told, documents, plans, tokenizers, shards, recipes.

Manifests are compared first; what is equal by its hash is not opened. Of lock files only what stands in them is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pile_toolkit.chain.diff_documents import ComponentDiff, diff_documents
from pile_toolkit.chain.diff_tokenizers import TokenizerDiff, diff_tokenizers
from pile_toolkit.chain.lock import LOCKED_STAGES, lock_of, read_lock
from pile_toolkit.chain.stale import staleness
from pile_toolkit.chain.verify import read_stages
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pile_toolkit.chain.lock import Lock, LockedStage

# Where a download was taken from is no difference of the corpus; what came of it is among the inputs.
_UNTOLD = ("download",)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One value on both sides; None where a side has none."""

    name: str
    left: Any
    right: Any


class ShardTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a component in the shards of a split, copies counted; 0 where there is none."""

    split: str
    slug: str
    left: int
    right: int


class DiffResult(msgspec.Struct, frozen=True, kw_only=True):
    """What differs; empty lists and None where nothing does, or where `notes` say that it cannot be told.

    `versions` of libraries alone are no difference of two corpora: they do not count for `equal`.
    """

    left: str
    right: str
    equal: bool
    parameters: list[Change]
    inputs: list[Change]
    outputs: list[Change]
    components: list[ComponentDiff]
    tokenizer: TokenizerDiff | None
    shards: list[ShardTokens]
    runs: list[Change]
    versions: list[Change]
    notes: list[str]


class _Side(NamedTuple):
    name: str
    root: Path | None
    lock: Lock


def diff(left: str | Path, right: str | Path) -> DiffResult:
    """What differs between two roots, or lock files, or one of each. Nothing is written.

    Raises UsageError where a side is neither, or holds nothing finished, CorruptData where a file cannot be read.
    """
    sides = _side(Path(left)), _side(Path(right))
    roots = sides[0].root, sides[1].root
    parameters, inputs, outputs = (list(find(sides)) for find in (_parameters, _inputs, _outputs))
    versions = list(_changed(sides[0].lock.versions, sides[1].lock.versions, ""))
    notes: list[str] = []
    components: list[ComponentDiff] = []
    tokenizer, shards, runs = None, [], list(_recipes(sides))
    if roots[0] is not None and roots[1] is not None:
        components = _components(roots[0], roots[1], sides, notes)
        tokenizer = _tokenizer(roots[0], roots[1], sides)
        shards = list(_shards(roots[0], roots[1], sides))
    elif outputs:
        notes.append("documents, tokens and merges are told of two roots only: a lock file has hashes")
    notes += filter(None, map(_stale, sides))
    different = (parameters, inputs, outputs, runs)
    return DiffResult(
        left=sides[0].name,
        right=sides[1].name,
        equal=not any(different),
        parameters=parameters,
        inputs=inputs,
        outputs=outputs,
        components=components,
        tokenizer=tokenizer,
        shards=shards,
        runs=runs,
        versions=versions,
        notes=notes,
    )


def _side(path: Path) -> _Side:
    if path.is_file():
        return _Side(str(path), None, read_lock(path))
    if not path.is_dir():
        raise UsageError(f"{path} is neither a root nor a lock file", hint="pile diff pile-data other-data")
    made = lock_of(path)
    if not made.stages:
        raise UsageError(f"{path} holds no finished stage", hint="pile run pile.toml, or another folder")
    return _Side(str(path), path, made)


def _stale(side: _Side) -> str | None:
    """A note on stages of a root that were made of something else than what is there now."""
    if side.root is None:
        return None
    known, _ = read_stages(side.root)
    names = [name for name, manifest in known.items() if manifest.key.stage in LOCKED_STAGES]
    stale = [name for name in names if staleness(side.root, name, known, ()) is not None]
    if not stale:
        return None
    return f"in {side.name} not made of what stands there now: {', '.join(stale)}; pile run again, then compare"


def _stages(side: _Side) -> dict[str, LockedStage]:
    return {stage.folder: stage for stage in side.lock.stages}


def _both(sides: tuple[_Side, _Side]) -> Iterator[tuple[str, LockedStage | None, LockedStage | None]]:
    """(folder, left, right) of every stage, in the order of the left side."""
    left, right = map(_stages, sides)
    for folder in dict.fromkeys([*left, *right]):
        yield folder, left.get(folder), right.get(folder)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every value of tables in tables with its dotted key."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= flat(item, f"{prefix}.{name}" if prefix else str(name))
    return found


def _changed(left: Mapping[str, Any], right: Mapping[str, Any], prefix: str) -> Iterator[Change]:
    one, other = flat(dict(left)), flat(dict(right))
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            yield Change(name=f"{prefix}{name}", left=one.get(name), right=other.get(name))


def _parameters(sides: tuple[_Side, _Side]) -> Iterator[Change]:
    for folder, left, right in _both(sides):
        told = left or right
        if told is None or told.stage in _UNTOLD:
            continue
        if left is None or right is None:
            yield Change(name=folder, left=_there(left), right=_there(right))
            continue
        if left.format != right.format:
            yield Change(name=f"{folder}.format", left=left.format, right=right.format)
        yield from _changed(left.parameters, right.parameters, f"{folder}.")


def _there(stage: LockedStage | None) -> str | None:
    return None if stage is None else "finished"


def _inputs(sides: tuple[_Side, _Side]) -> Iterator[Change]:
    """Files of components, by their hashes."""
    for folder, left, right in _both(sides):
        if (left or right).stage != "download":  # type: ignore[union-attr]
            continue
        yield from _files(folder, left, right)


def _outputs(sides: tuple[_Side, _Side]) -> Iterator[Change]:
    """Files of the other stages."""
    for folder, left, right in _both(sides):
        if (left or right).stage != "download":  # type: ignore[union-attr]
            yield from _files(folder, left, right)


def _files(folder: str, left: LockedStage | None, right: LockedStage | None) -> Iterator[Change]:
    one, other = ({file.path: file.hash for file in stage.outputs} if stage else {} for stage in (left, right))
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            yield Change(name=f"{folder}/{name}", left=one.get(name), right=other.get(name))


def _hashes(side: _Side, folder: str) -> list[str] | None:
    stage = side.lock.stage(folder)
    return None if stage is None else [file.hash for file in stage.outputs]


def _same(sides: tuple[_Side, _Side], folder: str) -> bool:
    return _hashes(sides[0], folder) == _hashes(sides[1], folder)


def _components(left: Path, right: Path, sides: tuple[_Side, _Side], notes: list[str]) -> list[ComponentDiff]:
    if _same(sides, "dedup") and _same(sides, "plan"):
        return []
    without = [side.name for side in sides if _hashes(side, "dedup") is None]
    if without:
        notes.append(f"documents are not compared: {without[0]} has no keep-list (pile dedup --root {without[0]})")
        return []
    planned = all(_hashes(side, "plan") is not None for side in sides)
    if not planned:
        notes.append("splits and copies are not compared: there are no two plans")
    return [row for row in diff_documents(left, right, planned=planned) if row.differs]


def _tokenizer(left: Path, right: Path, sides: tuple[_Side, _Side]) -> TokenizerDiff | None:
    if _same(sides, "tokenizer") or any(_hashes(side, "tokenizer") is None for side in sides):
        return None
    return diff_tokenizers(*(root / "tokenizer" / "tokenizer.json" for root in (left, right)))


def _shards(left: Path, right: Path, sides: tuple[_Side, _Side]) -> Iterator[ShardTokens]:
    from pile_toolkit.core.plan import SPLITS
    from shards.stats.counted import shard_stats

    if _same(sides, "shards") or any(_hashes(side, "shards") is None for side in sides):
        return
    for split in SPLITS:
        tokens = [
            {row.slug: row.tokens for row in shard_stats(root / "shards" / split).components}
            if (root / "shards" / f"{split}.idx").exists()
            else {}
            for root in (left, right)
        ]
        for slug in dict.fromkeys([*tokens[0], *tokens[1]]):
            one, other = (found.get(slug, 0) for found in tokens)
            if one != other:
                yield ShardTokens(split=split, slug=slug, left=one, right=other)


def _recipes(sides: tuple[_Side, _Side]) -> Iterator[Change]:
    """Recipes and steps of trained runs of the same name; between lock files, what the next training would be told."""
    if any(side.root is None for side in sides):
        left, right = (side.lock.config.get("train", {}) for side in sides)
        yield from _changed(left, right, "train.")
        return
    found = [
        {name: item.key.parameters for name, item in read_stages(side.root).known.items() if item.key.stage == "train"}
        for side in sides
        if side.root is not None
    ]
    for name in dict.fromkeys([*found[0], *found[1]]):
        one, other = (runs.get(name) for runs in found)
        if one is None or other is None:
            there = ("finished" if run is not None else None for run in (one, other))
            yield Change(name=name, left=next(there), right=next(there))
            continue
        yield from _changed(one, other, f"{name}.")
