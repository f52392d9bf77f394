"""Finished stages of a root in, all that the report says of them out, from their manifests, tables and logs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pile_toolkit
from pile_toolkit.core.console import SILENT
from pile_toolkit.report import data, documents, runs, tokens
from pile_toolkit.report.finished import SINGLE_STAGES, Finished, stage_rows

if TYPE_CHECKING:
    from pathlib import Path

    from pile_toolkit.core.console import Reporter
    from pipelines.stats import StatisticsResult

READERS = {
    "dedup": documents.dedup,
    "build": documents.mixture,
    "corpus": documents.corpus,
    "tokenizer": tokens.vocabulary,
    "shards": tokens.shards,
}


STATISTICS_PAGE = "statistics.html"


def gather(
    root: Path, found: list[Finished], *, statistics: StatisticsResult | None = None, reporter: Reporter = SILENT
) -> data.Report:
    """The report of these stages, and of `statistics` where they are of this root now.

    Raises CorruptData where a file is not what its manifest promises.
    """
    components = [stage for stage in found if stage.is_component]
    trained = [stage for stage in found if stage.is_run]
    single = {SINGLE_STAGES[stage.name]: stage for stage in found if stage.name in SINGLE_STAGES}
    stages = list(stage_rows(root, found))
    sections: dict[str, Any] = {"runs": []}
    with reporter.progress("report", total=1 + len(single) + len(trained), unit="sections") as advance:
        if components:
            sections["download"] = documents.download(root, components)
        advance(1)
        for name, stage in single.items():
            sections[name] = READERS[name](stage)
            advance(1)
        for stage in trained:
            sections["runs"].append(runs.run(stage))
            advance(1)
    if statistics is not None:
        sections["statistics"] = _statistics(statistics, single)
    return data.Report(
        root=str(root.resolve()),
        generated_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        toolkit_version=pile_toolkit.__version__,
        seed=single["build"].manifest.key.parameters.get("seed") if "build" in single else None,
        elapsed_s=round(sum(stage.elapsed_s for stage in stages), 3),
        stages=stages,
        **sections,
    )


def _statistics(counted: StatisticsResult, single: dict[str, Finished]) -> data.Statistics:
    named = single.get("shards") or single.get("tokenizer")
    own = named is None or counted.tokenizer in (None, named.manifest.counts["tokenizer"])
    return data.Statistics(page=STATISTICS_PAGE, tokenizer=counted.tokenizer, own=own, groups=counted.groups)
