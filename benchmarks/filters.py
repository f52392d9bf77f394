"""Texts in, verdicts out: megabytes of text a second of each filter on one core, beside datatrove's same filter.

    python benchmarks/filters.py FOLDER              a folder of `.jsonl.zst` files
    python benchmarks/filters.py FOLDER --repeat 5   each so often, taken in turn; the best counts

Processor time of the calls alone: reading and writing files is not in it. datatrove, where it is installed, is measured
twice: with its own words (spaCy's, where that is installed) and with words at white space, as the filters here have
them. Exit code 1 where masking with nothing to be found is slower than 100 MB/s, or a filter slower than datatrove's.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.documents import read_documents
from pipelines.filters import Dropped, Text
from pipelines.filters.registry import find_filter

if TYPE_CHECKING:
    from collections.abc import Callable

MASK_BAR_MB_PER_S = 100.0
# Two measurements of the same differ by so much on a busy machine.
NOISE = 0.9
EVERYTHING = {"email": True, "ip": True, "phone": True}
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "length": ("length", {"min_words": 50}),
    "gopher_quality": ("gopher_quality", {}),
    "gopher_repetition": ("gopher_repetition", {}),
    "fineweb_quality": ("fineweb_quality", {}),
    "c4_quality": ("c4_quality", {}),
    "c4_paragraphs": ("c4_paragraphs", {}),
    "mask email,ip": ("mask", {"email": True, "ip": True}),
    "mask email,ip,phone": ("mask", EVERYTHING),
}


def ours(name: str) -> Callable[[str], object]:
    """A filter by name as a function on a text."""
    step = find_filter(OURS[name][0])
    options = step.read_options(OURS[name][1], where=name)
    return lambda text: step.function(Text(text), options)


def theirs() -> dict[str, Callable[[str], object]]:
    """datatrove's filters as functions on a text, empty where it is not installed."""
    if importlib.util.find_spec("datatrove") is None:
        return {}
    from datatrove.data import Document
    from datatrove.pipeline.filters.c4_filters import C4ParagraphFilter, C4QualityFilter
    from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
    from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
    from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
    from datatrove.pipeline.formatters.pii import PIIFormatter

    kinds = {
        "gopher_quality": GopherQualityFilter(),
        "gopher_repetition": GopherRepetitionFilter(),
        "fineweb_quality": FineWebQualityFilter(),
        "c4_quality": C4QualityFilter(min_num_sentences=-1, split_paragraph=True),
        "c4_paragraphs": C4ParagraphFilter(),
    }
    found: dict[str, Callable[[str], object]] = {
        name: lambda text, known=known: known.filter(Document(text=text, id="")) for name, known in kinds.items()
    }
    return found | {"mask email,ip": PIIFormatter().format}


@contextlib.contextmanager
def words_at_white_space() -> Any:
    """datatrove's filters split as these do; sentences, which C4 counts for nothing here, are not split."""
    from datatrove.pipeline.filters import (
        c4_filters,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    modules: list[Any] = [fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter]
    before = [module.split_into_words for module in modules], c4_filters.split_into_sentences
    for module in modules:
        module.split_into_words = lambda text, language: text.split()
    c4_filters.split_into_sentences = lambda text, language: []
    try:
        yield
    finally:
        for module, function in zip(modules, before[0], strict=True):
            module.split_into_words = function
        c4_filters.split_into_sentences = before[1]


def seconds(function: Callable[[str], object], texts: list[str]) -> float:
    """Processor time of all calls."""
    before = time.process_time()
    for text in texts:
        function(text)
    return time.process_time() - before


def fastest(functions: list[Callable[[str], object] | None], texts: list[str], repeat: int) -> list[float | None]:
    """The best time of each function, taken in turn."""
    best: list[float | None] = [None] * len(functions)
    for _ in range(repeat):
        for place, function in enumerate(functions):
            if function is not None:
                taken = seconds(function, texts)
                known = best[place]
                best[place] = taken if known is None else min(known, taken)
    return best


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    texts = [
        doc.text for path in sorted(options.folder.glob("*.jsonl.zst")) for doc in read_documents(path) if doc.text
    ]
    # A whole pass of spaCy takes minutes.
    part = texts[::10]
    peers, failed = theirs(), False
    print(f"{len(texts):,} texts, {_mb(texts):.1f} MB\n")
    print(f"{'filter':<22}{'MB/s':>8}{'datatrove':>12}{'times':>8}{'dropped':>10}")
    for name in OURS:
        function = ours(name)
        dropped = sum(isinstance(function(text), Dropped) for text in texts)
        with words_at_white_space() if peers else contextlib.nullcontext():
            own, peer = fastest([function, peers.get(name)], texts, options.repeat)
        assert own is not None
        line = f"{name:<22}{_mb(texts) / own:8.1f}"
        line += f"{_mb(texts) / peer:12.1f}{peer / own:8.1f}" if peer else f"{'-':>12}{'-':>8}"
        failed |= peer is not None and peer < NOISE * own
        print(f"{line}{dropped:10,}")
    clean = ["".join(" " if char in "@0123456789" else char for char in text) for text in part]
    own = fastest([ours("mask email,ip,phone")], clean, options.repeat)[0] or 0.0
    print(f"{'mask, nothing to find':<22}{_mb(clean) / own:8.1f}")
    if importlib.util.find_spec("py3langid") is not None:
        step = find_filter("language")
        chosen = step.read_options({}, where="language")
        taken = seconds(lambda text: step.function(Text(text), chosen), part)
        print(f"{'language':<22}{_mb(part) / taken:8.1f}  ({1000 * taken / len(part):.2f} ms a document)")
    if peers and importlib.util.find_spec("spacy") is not None:
        for name in ("gopher_quality", "gopher_repetition", "fineweb_quality"):
            agreed = sum(_kept(ours(name)(text)) == _kept(peers[name](text)) for text in part)
            taken = seconds(peers[name], part)
            same = f"the same verdict on {agreed:,} of {len(part):,}"
            print(f"{name}: with spaCy's words {_mb(part) / taken:.2f} MB/s, {same}")
    return int(failed or _mb(clean) / own < MASK_BAR_MB_PER_S)


def _kept(verdict: object) -> bool:
    return verdict is None or verdict is True or not isinstance(verdict, Dropped | tuple)


def _mb(texts: list[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


if __name__ == "__main__":
    sys.exit(main())
