"""One TOML file in, everything out: download, dedup, build, tokenizer, shards, training, report, as far as needed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.chain.check import check, refuse_leftovers
from pile_toolkit.chain.config import RunConfig, load_run_config, write_resolved
from pile_toolkit.chain.locked import FOLDERS, LockedRun
from pile_toolkit.chain.stages import require_torch, train, write_shards
from pile_toolkit.chain.statistics import report
from pile_toolkit.core.console import SILENT, size
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.lease import hold_root
from pile_toolkit.core.runners import available_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pile_toolkit.core.console import Reporter


class StageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a run: whether there was anything to do, how long it took now, and what came of it."""

    stage: str
    up_to_date: bool
    elapsed_s: float
    facts: str


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did; `report` is the path of the HTML page, losses are None without training.

    `warnings` are what a locked run found different on this machine, and did not refuse.
    """

    root: str
    up_to_date: bool
    elapsed_s: float
    stages: list[StageSummary]
    first_loss: float | None
    last_loss: float | None
    report: str
    warnings: list[str] = []


def run(
    config: str | Path | None = None,
    *,
    locked: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    scheduler: str = "process",
    take_over: bool = False,
    reporter: Reporter = SILENT,
) -> RunResult:
    """Runs every stage of a configuration file in order; finished ones are passed over, a killed one continues.

    With `locked`, a lock file, the configuration is the lock's: every stage up to the shards has to make the same
    bytes. `overrides` replace dotted keys, of a lock only where things lie. `jobs` None: all processors. Raises what
    the stages raise, UsageError for a bad file before anything runs, TryAgain where another run holds the root,
    CorruptData where an input or an output is not the one that was locked.
    """
    if (config is None) == (locked is None):
        raise UsageError("a run takes a configuration or a lock file, one of them", hint="pile run pile.toml")
    held = LockedRun(locked, overrides) if locked is not None else None
    resolved = held.config if held is not None else load_run_config(config or "", overrides)
    check(resolved)
    if resolved.train is not None:
        require_torch()
    root = Path(resolved.root)
    refuse_leftovers(root, resolved)
    warnings = held.check().warnings if held is not None else []
    for warning in warnings:
        reporter.say(f"warning: {warning}")
    with hold_root(root, take_over=take_over):
        write_resolved(root, resolved)
        result = _run(resolved, root, jobs or available_jobs(), scheduler, reporter, held)
    return msgspec.structs.replace(result, warnings=warnings)


def _run(
    config: RunConfig, root: Path, jobs: int, scheduler: str, reporter: Reporter, held: LockedRun | None
) -> RunResult:
    started = time.monotonic()
    stages: list[StageSummary] = []
    results: dict[str, Any] = {}
    for stage, call, facts in _stages(config, root, jobs, scheduler, reporter):
        before = time.monotonic()
        result = results[stage] = call()
        elapsed_s = round(time.monotonic() - before, 3)
        summary = StageSummary(stage=stage, up_to_date=result.up_to_date, elapsed_s=elapsed_s, facts=facts(result))
        if held is not None and stage in FOLDERS:
            held.after(stage)
        stages.append(summary)
        reporter.say(f"{stage}: {'up to date' if summary.up_to_date else f'{elapsed_s:.1f} s'}, {summary.facts}")
    trained = results.get("train")
    return RunResult(
        root=str(root),
        up_to_date=all(stage.up_to_date for stage in stages),
        elapsed_s=round(time.monotonic() - started, 3),
        stages=stages,
        first_loss=trained.first_loss if trained else None,
        last_loss=trained.last_loss if trained else None,
        report=results["report"].path,
    )


def _stages(
    config: RunConfig, root: Path, jobs: int, scheduler: str, reporter: Reporter
) -> list[tuple[str, Callable[[], Any], Callable[[Any], str]]]:
    """(name, call, one line on its result) of every stage, in order."""
    from pipelines.build import build
    from pipelines.dedup import dedup
    from pipelines.download import download
    from tokenizer.stage import train_on_plan

    work: dict[str, Any] = {"jobs": jobs, "scheduler": scheduler, "reporter": reporter}
    download_options: dict[str, Any] = msgspec.structs.asdict(config.download)
    stages: list[tuple[str, Callable[[], Any], Callable[[Any], str]]] = [
        ("download", lambda: download(root, **download_options, max_rejects=config.max_rejects, **work), _of_download),
        ("dedup", lambda: dedup(root, **msgspec.structs.asdict(config.dedup), **work), _of_dedup),
        ("build", lambda: build(root, seed=config.seed, **msgspec.structs.asdict(config.build), **work), _of_build),
        (
            "tokenizer",
            lambda: train_on_plan(root, **msgspec.structs.asdict(config.tokenizer), **work),
            _of_tokenizer,
        ),
        ("shards", lambda: write_shards(root, **work), _of_shards),
    ]
    if (table := config.train) is not None:
        stages.append(
            (
                "train",
                lambda: train(
                    table.recipe,
                    root=root,
                    steps=table.steps,
                    name=table.run_name,
                    overrides=table.set,
                    cache_dir=table.cache_dir,
                    reporter=reporter,
                ),
                _of_train,
            )
        )
    return [*stages, ("report", lambda: report(root, **work), lambda result: result.path)]


def _of_download(result: Any) -> str:
    return f"{result.documents:,} documents of {len(result.components)} components, {size(result.text_bytes)}"


def _of_dedup(result: Any) -> str:
    cut = f", {result.contamination.cut:,} of them cut" if result.contamination else ""
    return f"{result.method}: {result.kept:,} of {result.documents:,} documents kept{cut}"


def _of_build(result: Any) -> str:
    held_out = result.splits["val"] + result.splits["test"]
    return f"{result.copies:,} copies of {result.documents:,} documents, {size(result.bytes)}, {held_out:,} held out"


def _of_tokenizer(result: Any) -> str:
    return f"{result.vocab_size:,} ids, {result.merges:,} merges"


def _of_shards(result: Any) -> str:
    train_split = result.splits["train"]
    return f"{train_split.tokens:,} training tokens, {train_split.stored_tokens:,} of them stored"


def _of_train(result: Any) -> str:
    validation = "" if result.validation_loss is None else f", validation {result.validation_loss:.3f}"
    losses = f"loss {result.first_loss:.3f} to {result.last_loss:.3f}{validation}"
    return f"{result.parameters:,} parameters, {result.steps:,} steps, {losses}"
