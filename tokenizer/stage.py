"""Plan in, `tokenizer/tokenizer.json` out: trained on the train split, a document counted once per copy.

Words are counted by any number of workers and the merges found in this process; the bytes depend on neither.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, withdraw
from pile_toolkit.core.plan import Plan, plan_manifest
from pile_toolkit.core.stages import StageResult, finished, stage_result
from pile_toolkit.core.tasks import Workers, work_folder
from tokenizer.layout import DEFAULT_LAYOUT, DEFAULT_MAX_SPACE_RUN, DEFAULT_VOCAB_SIZE
from tokenizer.training.request import TrainingRequest

if TYPE_CHECKING:
    from pile_toolkit.core.console import Reporter
    from tokenizer.encoder import Encoder

FORMAT = 3
TOKENIZER_FILE = "tokenizer.json"


class TokenizerConfig(TrainingRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request, and its texts: of the documents as many, chosen by key, as have together at most `sample_bytes`."""

    sample_bytes: int | None = None


class TokenizerResult(StageResult, frozen=True, kw_only=True):
    """What was trained, on how many documents; `tokenizer` is the hash that shards and runs name.

    `words` are distinct; `dropped_words` of them were left out as too rare, and would count `dropped_occurrences`. The
    pair of the last merge, the rarest, occurred `rarest_merge` times.
    """

    vocab_size: int
    merges: int
    rarest_merge: int | None
    documents: int
    copies: int
    bytes: int
    words: int
    dropped_words: int
    dropped_occurrences: int
    tokenizer: str


def check_training(*, sample_bytes: int | None = None, **parameters: Any) -> TrainingRequest:
    """What is asked for, as one object. Raises UsageError where no text could make it possible."""
    if sample_bytes is not None and sample_bytes < 1:
        raise UsageError(f"a sample of {sample_bytes:,} bytes holds no document", hint="--sample-bytes 1000000000")
    return TrainingRequest(**parameters).check()


@holding_root
def train_on_plan(
    root: str | Path,
    *,
    vocab_size: int = DEFAULT_VOCAB_SIZE,
    max_space_run: int = DEFAULT_MAX_SPACE_RUN,
    layout: str = DEFAULT_LAYOUT,
    add_prefix_space: bool = False,
    allow_smaller: bool = False,
    min_count: int = 1,
    sample_bytes: int | None = None,
    jobs: int = 1,
    scheduler: str = "process",
    reporter: Reporter = SILENT,
) -> TokenizerResult:
    """Trains the whitespace-aware byte-level BPE on the train split of a root's plan, or on a sample of it.

    Raises UsageError where there is no plan, no text in its train split or too little for `vocab_size`, or where what
    is asked for cannot be.
    """
    root = Path(root)
    started_at = time.time()
    planned = plan_manifest(root)
    request = check_training(
        vocab_size=vocab_size,
        max_space_run=max_space_run,
        layout=layout,
        add_prefix_space=add_prefix_space,
        allow_smaller=allow_smaller,
        min_count=min_count,
        sample_bytes=sample_bytes,
    )
    folder = root / "tokenizer"
    parameters = {**msgspec.structs.asdict(request), "sample_bytes": sample_bytes}
    key = StageKey(stage="tokenizer", format=FORMAT, inputs={"plan": planned.digest()}, parameters=parameters)
    if manifest := finished(folder, key):
        return stage_result(TokenizerResult, folder, manifest, up_to_date=True)
    workers = Workers(jobs=jobs, scheduler=scheduler, reporter=reporter)
    with work_folder(folder, key) as work:
        encoder, counts = _train(Plan.read(root), request, work, workers, sample_bytes)
        # Not before: what cannot be trained leaves the last tokenizer as it was.
        withdraw(folder)
        encoder.save(folder / TOKENIZER_FILE)
        outputs = [describe(folder, folder / TOKENIZER_FILE)]
        manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return stage_result(TokenizerResult, folder, manifest, up_to_date=False)


def _train(
    plan: Plan, request: TrainingRequest, work: Path, workers: Workers, sample_bytes: int | None
) -> tuple[Encoder, dict[str, int | str | None]]:
    from tokenizer.train import train_on_words
    from tokenizer.training.corpus import count_corpus

    corpus = count_corpus(plan, request, work=work, workers=workers, sample_bytes=sample_bytes)
    if not corpus.words and not corpus.dropped.words:
        raise UsageError(
            f"the train split has nothing to train on: {corpus.documents:,} documents, {corpus.copies:,} copies, "
            f"{corpus.bytes:,} bytes",
            hint="pile build with smaller --val-share and --test-share, or other --weights",
        )
    if corpus.dropped.words:
        workers.reporter.say(str(corpus.dropped))
    encoder, rarest_merge = train_on_words(corpus.words, request, reporter=workers.reporter)
    return encoder, {
        "vocab_size": encoder.vocab_size,
        "merges": len(encoder.definition.merges),
        "rarest_merge": rarest_merge,
        "documents": corpus.documents,
        "copies": corpus.copies,
        "bytes": corpus.bytes,
        "words": len(corpus.words) + corpus.dropped.words,
        "dropped_words": corpus.dropped.words,
        "dropped_occurrences": corpus.dropped.occurrences,
        "tokenizer": encoder.hash,
    }
