"""The statistics stage: every document file read once, in tasks; `stats/` out, the same bytes from any workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import zstandard

from pile_toolkit.core.components import read_component, refuse_changed
from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import write_bytes
from pile_toolkit.core.jsonfile import MANIFEST_LIMIT_BYTES, read_json
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import plan_manifest
from pile_toolkit.core.stages import finished
from pile_toolkit.core.tasks import Task, Workers, run_tasks, work_folder
from pipelines.decontamination.evidence import PIECES_FILE
from pipelines.download import present_slugs
from pipelines.stats.language import MISSING, detector_name
from pipelines.stats.results import GroupStatistics, Of, StatisticsResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pile_toolkit.core.components import ComponentDocuments
    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.manifest import Manifest
    from pipelines.stats.assembling import Group
    from pipelines.stats.tokens import Carried, CountedTokens

FORMAT = 1
FOLDER = "stats"
STATISTICS_JSON = "statistics.json"
# Of each component; compressed in 30 ms, and of real text good for two digits.
SAMPLE_BYTES = 8 << 20
# Of each component; a detector takes a millisecond for one, and of so many a share is known to about one percent.
LANGUAGE_DOCUMENTS = 10_000


class TokenSources(NamedTuple):
    """Where tokens may come from: shards, an encoder for what is not in them, else a guess of tokens per byte."""

    per_byte: float
    counted: CountedTokens | None = None
    carried: Carried | None = None


class _Inputs(NamedTuple):
    """What is counted: the keep-list and the plan only where they are of these components."""

    components: list[ComponentDocuments]
    dedup: Manifest | None
    plan: Manifest | None

    @property
    def in_pieces(self) -> bool:
        """Whether documents were cut: then no sequence of the shards is sure to be a document."""
        return self.dedup is not None and any(output.path == PIECES_FILE for output in self.dedup.outputs)


@holding_root
def count_statistics(
    root: str | Path,
    *,
    tokens: TokenSources,
    of: Of = "all",
    languages: bool = True,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> StatisticsResult:
    """Counts the documents of `components`, of the `plan`, or of both, where there is one of these components.

    Raises UsageError where there is nothing to count, CorruptData where a file is damaged or not what the plan names.
    """
    root = Path(root)
    started_at = time.time()
    inputs = _inputs(root, of, in_shards=tokens.counted is not None)
    if inputs.plan is None:
        # Whatever the shards were made of, it is not what is there now.
        tokens = tokens._replace(counted=None)
    detector = detector_name() if languages else None
    folder, key = root / FOLDER, _key(inputs, tokens, of, detector)
    notes = _notes(inputs, tokens, of, MISSING if languages and detector is None else None)
    if manifest := finished(folder, key):
        return _result(root, manifest, notes, up_to_date=True)
    withdraw(folder)
    workers = Workers(jobs=jobs, scheduler=scheduler, reporter=reporter)
    with work_folder(folder, key) as work:
        groups = _count(root, work, inputs, tokens, workers, of=of, detected=detector is not None)
        refuse_changed(root, [item.slug for item in inputs.components])
        # Only now: pyarrow takes a while to load.
        from pipelines.stats.tables import write_tables

        encoded = msgspec.json.format(msgspec.json.encode(groups), indent=1) + b"\n"
        write_bytes(folder / STATISTICS_JSON, encoded)
        written = [folder / STATISTICS_JSON, *write_tables(folder, groups)]
        text_bytes = sum(item.text_bytes for item in inputs.components)
        counts = {
            "groups": len(groups),
            "text_bytes": text_bytes,
            "tokenizer": _tokenizer(tokens),
            "detector": detector,
        }
        outputs = [describe(folder, path) for path in written]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return _result(root, manifest, notes, up_to_date=False)


def _inputs(root: Path, of: Of, *, in_shards: bool) -> _Inputs:
    components = [read_component(root, slug) for slug in present_slugs(root)]
    if not components:
        raise UsageError(f"{root} holds no components", hint=f"pile download --all --root {root}")
    dedup, plan = (read_manifest(root / name) for name in ("dedup", "plan"))
    if dedup is not None and dedup.key.inputs != {item.slug: item.digest for item in components}:
        dedup = None
    if plan is not None and (dedup is None or plan.key.inputs.get("dedup") != dedup.digest()):
        plan = None
    if plan is None and of == "plan":
        raise UsageError(f"{root} has no plan of the components that it holds", hint=f"pile build --root {root}")
    if plan is not None:
        plan = plan_manifest(root)
    # What shards hold is known by the plan, be it told of or not.
    return _Inputs(components, dedup, plan if of != "components" or in_shards else None)


def _tokenizer(tokens: TokenSources) -> str | None:
    if tokens.counted is not None:
        return tokens.counted.tokenizer
    return tokens.carried.encoder.hash if tokens.carried is not None else None


def _key(inputs: _Inputs, tokens: TokenSources, of: Of, detector: str | None) -> StageKey:
    made_of = {f"components/{item.slug}": item.digest for item in inputs.components}
    for name, manifest in (("dedup", inputs.dedup), ("plan", inputs.plan)):
        made_of |= {name: manifest.digest()} if manifest is not None else {}
    made_of |= {"shards": tokens.counted.digest} if tokens.counted is not None else {}
    made_of |= {"tokenizer": tokens.carried.encoder.hash} if tokens.carried is not None else {}
    parameters = {
        "of": of,
        "detector": detector,
        "sample_bytes": SAMPLE_BYTES,
        "language_documents": LANGUAGE_DOCUMENTS,
        # Another version compresses the sample to another size.
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
        "tokens_per_byte": tokens.per_byte,
    }
    return StageKey(stage="stats", format=FORMAT, inputs=made_of, parameters=parameters)


def _notes(inputs: _Inputs, tokens: TokenSources, of: Of, languages: str | None) -> list[str]:
    notes = []
    if inputs.plan is None and of == "all":
        notes.append("the plan is not told: there is none of these components (pile dedup, pile build)")
    if inputs.dedup is None:
        notes.append("duplicates are not told: there is no keep-list of these components (pile dedup)")
    if tokens.counted is None and tokens.carried is None:
        notes.append(f"tokens are an estimate, {tokens.per_byte:g} a byte: --tokenizer FILE counts them")
    return [*notes, *([languages] if languages else [])]


def _count(
    root: Path, work: Path, inputs: _Inputs, tokens: TokenSources, workers: Workers, *, of: Of, detected: bool
) -> list[GroupStatistics]:
    from pipelines.stats.assembling import TokenKnowledge, component_groups
    from pipelines.stats.counting import count_file

    tasks = _tasks(root, inputs, tokens, detected=detected)
    every = [task for part in tasks for task in part]
    results = run_tasks(count_file, every, work=work, workers=workers, label="statistics", unit="bytes")
    by_name = {task.name: result for task, result in zip(every, results, strict=True)}
    lengths = dict(tokens.counted.lengths()) if tokens.counted is not None else {}
    if inputs.in_pieces:
        lengths = {key: found for key, found in lengths.items() if key[1] is not None}
    known = TokenKnowledge(lengths, tokens.per_byte)
    groups: list[Group] = []
    counted = []
    for component, part in zip(inputs.components, tasks, strict=True):
        folders, found = [work / task.name for task in part], [by_name[task.name] for task in part]
        mine, files = component_groups(
            component, folders, found, known, planned=inputs.plan is not None, detected=detected
        )
        groups += mine
        counted.append(files)
    return _in_order(groups, inputs, counted, of)


def _tasks(root: Path, inputs: _Inputs, tokens: TokenSources, *, detected: bool) -> list[list[Task]]:
    """A task per document file, by component."""
    from pile_toolkit.core.plan import Plan
    from pipelines.stats.counting import CountOptions

    slugs = [item.slug for item in Plan.read(root).header.components] if inputs.plan is not None else []
    in_shards = tokens.counted is not None and inputs.plan is not None and not inputs.in_pieces
    encode = "none" if tokens.carried is None else "rest" if in_shards else "all"
    tasks = []
    for component in inputs.components:
        options = CountOptions(
            planned=slugs.index(component.slug) if component.slug in slugs else None,
            sample_share=min(SAMPLE_BYTES / max(component.text_bytes, 1), 1.0),
            language_share=min(LANGUAGE_DOCUMENTS / max(component.documents, 1), 1.0) if detected else 0.0,
            encode=encode,
            encode_plan=encode == "all" and tokens.counted is None,
        )
        carried = tokens.carried if encode != "none" else None
        tasks.append(
            [
                # Absolute, because workers of another machine stand elsewhere.
                Task(
                    f"count-{component.slug}-{number}",
                    (str(root.resolve()), component.slug, number, options, carried),
                    size=file.counts.text_bytes,
                )
                for number, file in enumerate(component.files)
            ]
        )
    return tasks


def _in_order(
    groups: Sequence[Group], inputs: _Inputs, counted: Sequence[Sequence[Any]], of: Of
) -> list[GroupStatistics]:
    """Components and their total, then the plan by component and split, and its totals."""
    from pile_toolkit.core.plan import SPLITS
    from pipelines.stats.assembling import (
        ALL_SPLITS,
        compression_of,
        compression_of_all,
        duplicates_of,
        statistics_of,
        together,
    )

    found = []
    if of != "plan":
        whole = [group for group in groups if group.of == "components"]
        counts = inputs.dedup.counts["components"] if inputs.dedup is not None else {}
        packed = [compression_of(*pair) for pair in zip(inputs.components, counted, strict=True)]
        for group, compression in zip(whole, packed, strict=True):
            removed = duplicates_of(counts[group.component]) if group.component in counts else None
            found.append(statistics_of(group, duplicates=removed, compression=compression))
        names = ("documents", "kept", "exact", "near", "bytes", "kept_bytes")
        summed = {name: sum(row[name] for row in counts.values()) for name in names}
        found.append(
            statistics_of(
                together(whole, None, None),
                duplicates=duplicates_of(summed) if counts else None,
                compression=compression_of_all(packed, [item.text_bytes for item in inputs.components]),
            )
        )
    planned = [group for group in groups if group.of == "plan" and of != "components"]
    found += map(statistics_of, planned)
    for split in (*SPLITS, ALL_SPLITS):
        if mine := [group for group in planned if group.split == split]:
            found.append(statistics_of(together(mine, None, split)))
    return found


def _result(root: Path, manifest: Manifest, notes: list[str], *, up_to_date: bool) -> StatisticsResult:
    folder = root / FOLDER
    groups = read_json(folder / STATISTICS_JSON, list[GroupStatistics], limit_bytes=MANIFEST_LIMIT_BYTES)
    return StatisticsResult(
        folder=str(folder),
        root=str(root),
        up_to_date=up_to_date,
        text_bytes=manifest.counts["text_bytes"],
        tokenizer=manifest.counts["tokenizer"],
        detector=manifest.counts["detector"],
        groups=groups,
        notes=notes,
    )
