"""Plan in, `tokenizer/tokenizer.json` out: trained on the train split, a document counted once per copy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.lease import holding_root
from pile_toolkit.core.manifest import StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import SPLITS, Plan, iter_texts
from pile_toolkit.core.stages import StageResult, finished, stage_result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pile_toolkit.core.console import Reporter

FORMAT = 1
TOKENIZER_FILE = "tokenizer.json"


class TokenizerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`vocab_size` counts all ids; runs of up to `max_space_run` spaces are single tokens."""

    vocab_size: int = 50257
    max_space_run: int = 24


class TokenizerResult(StageResult, frozen=True, kw_only=True):
    """What was trained, on how many documents; `tokenizer` is the hash that shards and runs name."""

    vocab_size: int
    merges: int
    documents: int
    copies: int
    bytes: int
    tokenizer: str


@holding_root
def train_on_plan(
    root: str | Path, *, vocab_size: int = 50257, max_space_run: int = 24, reporter: Reporter = SILENT
) -> TokenizerResult:
    """Trains the whitespace-aware byte-level BPE on the train split of a root's plan.

    Raises UsageError where there is no plan, or its text is too small for `vocab_size`.
    """
    from tokenizer.train import train_tokenizer

    root = Path(root)
    started_at = time.time()
    planned = read_manifest(root / "plan")
    if planned is None:
        raise UsageError(f"{root} has no plan yet", hint=f"pile build --root {root}")
    folder = root / "tokenizer"
    parameters = {"vocab_size": vocab_size, "max_space_run": max_space_run}
    key = StageKey(stage="tokenizer", format=FORMAT, inputs={"plan": planned.digest()}, parameters=parameters)
    if manifest := finished(folder, key):
        return stage_result(TokenizerResult, folder, manifest, up_to_date=True)
    plan = Plan.read(root)
    train = plan.column("split") == SPLITS.index("train")
    copies = plan.column("copies")[train].astype("int64")
    sizes = plan.column("bytes")[train].astype("int64")
    with reporter.progress("tokenizer", total=int((sizes * copies).sum()), unit="bytes") as advance:
        encoder = train_tokenizer(_counted(plan, advance), vocab_size=vocab_size, max_space_run=max_space_run)
    # Not before: what cannot be trained leaves the last tokenizer as it was.
    withdraw(folder)
    encoder.save(folder / TOKENIZER_FILE)
    counts = {
        "vocab_size": encoder.vocab_size,
        "merges": len(encoder.definition.merges),
        "documents": int((copies > 0).sum()),
        "copies": int(copies.sum()),
        "bytes": int((sizes * copies).sum()),
        "tokenizer": encoder.hash,
    }
    outputs = [describe(folder, folder / TOKENIZER_FILE)]
    manifest = publish(folder, key, outputs=outputs, counts=counts, started_at=started_at)
    return stage_result(TokenizerResult, folder, manifest, up_to_date=False)


def _counted(plan: Plan, advance) -> Iterator[tuple[str, int]]:
    for text, copies in iter_texts(plan, "train"):
        yield text, copies
        advance(len(text.encode()) * copies)
