"""The train split of a plan in, its word counts out: counted file by file, by any number of workers, and added up.

Counts are sums, so that neither the workers nor the order in which they finish can change them. In memory: a worker
holds at most WORDS_AT_ONCE distinct words and then writes them down; they are added up one of PARTS parts at a time,
each with its own words, so that what is left out for its `min_count` is never there as a whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.plan import FileTexts, Plan, file_tasks
from pile_toolkit.core.seeds import KEY_RANGE, keyed_columns
from pile_toolkit.core.tasks import run_tasks
from tokenizer.training.counting.texts import batches
from tokenizer.training.counting.words import Dropped, WordCounter, WordCounts, prune, read_part, write_parts
from tokenizer.training.loading import load_counting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pile_toolkit.core.tasks import Workers
    from tokenizer.training.request import TextRules, TrainingRequest

# Some 250 to 500 MB of table.
WORDS_AT_ONCE = 1 << 22
PARTS = 16
# The bins of the first pass over the keys of a sample: the highest bits of a key.
BIN_BITS = 16


class CountedCorpus(NamedTuple):
    """The words to train on, what was left out, and the documents they are from: `bytes` counts each copy."""

    words: WordCounts
    dropped: Dropped
    documents: int
    copies: int
    bytes: int


def count_corpus(
    plan: Plan, request: TrainingRequest, *, work: Path, workers: Workers, sample_bytes: int | None
) -> CountedCorpus:
    """Counts the words of the train split, or of a sample of its documents; finished files are in `work`."""
    # Here, so that workers of this machine find them compiled.
    load_counting()
    below = KEY_RANGE if sample_bytes is None else sample_limit(plan, sample_bytes)
    tasks = file_tasks(plan, "words", request.rules, below)
    results = run_tasks(count_file, tasks, work=work, workers=workers, label="counting words", unit="bytes")
    files = [
        (work / task.name / name, starts)
        for task, result in zip(tasks, results, strict=True)
        for name, starts in result["files"].items()
    ]
    words, dropped = prune(_added_up(files), request.min_count)
    documents, copies, counted_bytes = (
        sum(result[name] for result in results) for name in ("documents", "copies", "bytes")
    )
    return CountedCorpus(words, dropped, documents, copies, counted_bytes)


def _added_up(files: list[tuple[Path, list[int]]]) -> Iterator[WordCounter]:
    for part in range(PARTS):
        counter = WordCounter()
        for path, starts in files:
            counter.add_words(read_part(path, starts[part]))
        yield counter


def count_file(folder: Path, root: str, component: int, file: int, rules: TextRules, below: int) -> dict[str, Any]:
    """A task: the words of one file's documents whose key is under `below`, written in parts.

    Returns documents, copies, bytes, and the files with the places where their parts begin.
    """
    load_counting()
    rows = _FileRows(Path(root), component, file, below)
    files: dict[str, list[int]] = {}
    counter = WordCounter()
    for batch in batches(rows.texts(), rules):
        counter.add_texts(*batch, longest_run=rules.longest_run)
        if len(counter) >= WORDS_AT_ONCE:
            _write_down(counter, folder, files)
            counter = WordCounter()
    if len(counter):
        _write_down(counter, folder, files)
    return {
        "documents": rows.documents,
        "copies": rows.copies,
        "bytes": rows.bytes,
        "files": files,
    }


class _FileRows:
    """The documents of one file whose key is under `below`, and what was given of them so far; `bytes` with copies."""

    def __init__(self, root: Path, component: int, file: int, below: int) -> None:
        self.documents = self.copies = self.bytes = 0
        self._plan, self._place, self._below = Plan.read(root), (component, file), below

    def texts(self) -> Iterator[tuple[str, int]]:
        """(text, copies) of each, in order: in memory are the rows of a block."""
        texts = FileTexts(self._plan, *self._place)
        for block in self._plan.file_blocks(*self._place):
            rows = block.rows_of(*self._place, "train")
            if self._below < KEY_RANGE:
                rows = rows[_sample_keys(block, rows) < np.uint64(self._below)]
            copies = block.column("copies")[rows].astype(np.int64)
            self.documents += len(rows)
            self.copies += int(copies.sum())
            self.bytes += int((block.column("bytes")[rows].astype(np.int64) * copies).sum())
            for planned, number in zip(texts.of(block, rows), copies.tolist(), strict=True):
                yield planned.text, number


def _write_down(counter: WordCounter, folder: Path, files: dict[str, list[int]]) -> None:
    name = f"{len(files)}.words"
    files[name] = write_parts(folder / name, counter.parts(PARTS))


def sample_limit(plan: Plan, sample_bytes: int) -> int:
    """The key under which a document is in the sample: as many as have together at most `sample_bytes`, each once.

    Keys come from (seed, text hash, ordinal among equal texts): a larger sample holds every smaller one, and other
    documents in the plan move only where it ends. Raises UsageError where not one document is as small.
    """
    bins = np.zeros(1 << BIN_BITS, np.int64)
    for keys, sizes in _keys_and_sizes(plan):
        np.add.at(bins, keys >> np.uint64(64 - BIN_BITS), sizes)
    totals = np.cumsum(bins)
    if totals[-1] <= sample_bytes:
        return KEY_RANGE
    # The keys themselves only where the sample ends: all of them would not fit into memory.
    last = int(np.searchsorted(totals, sample_bytes, side="right"))
    ending = [
        (keys[inside], sizes[inside])
        for keys, sizes in _keys_and_sizes(plan)
        if (inside := keys >> np.uint64(64 - BIN_BITS) == last).any()
    ]
    keys, sizes = (np.concatenate(columns) for columns in zip(*ending, strict=True))
    order = np.argsort(keys, kind="stable")
    before = int(totals[last] - bins[last])
    fitting = int(np.searchsorted(before + np.cumsum(sizes[order]), sample_bytes, side="right"))
    limit = int(keys[order[fitting]])
    if before == 0 and not (keys < np.uint64(limit)).any():
        raise UsageError(
            f"a sample of {sample_bytes:,} bytes holds no document: the first one has {sizes[order[0]]:,}",
            hint=f"--sample-bytes {sizes[order[0]]} or more",
        )
    return limit


def _keys_and_sizes(plan: Plan) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    for component, file, _ in plan.files():
        for block in plan.file_blocks(component, file):
            rows = block.rows_of(component, file, "train")
            yield _sample_keys(block, rows), block.column("bytes")[rows].astype(np.int64)


def _sample_keys(plan: Plan, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    hashes = np.frombuffer(b"".join(plan.text_hashes(rows)), np.uint64).reshape(-1, 2)
    return keyed_columns(plan.header.seed, "tokenizer sample", hashes[:, 0], hashes[:, 1], plan.column("ordinal")[rows])
