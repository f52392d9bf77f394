"""Some ids in, every place where a data set holds them out: which sequences, where in them, and which samples.

The mapped `.bin` is looked through in blocks. A match lies inside one document: one that runs over its end is none.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from pile_toolkit.core.console import SILENT
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from pile_toolkit.core.console import Reporter
    from shards.dataset import TokenDataset

BLOCK_IDS = 8 << 20
SAMPLED_IDS = 1 << 16
LISTED = 20
# Tokens on either side of a match that are shown with it.
CONTEXT_TOKENS = 12


class Occurrence(msgspec.Struct, frozen=True, kw_only=True):
    """Ids `start` to `stop` of a stored document. `sequence` is its first entry in the index, `copies` are all.

    Component and document are None where the shards came without provenance; texts are None without a tokenizer.
    """

    sequence: int
    copies: int
    start: int
    stop: int
    component: str | None
    document: str | None
    before: str | None
    text: str | None
    after: str | None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked for, how often it is stored and how often one epoch reads it, and the first places."""

    prefix: str
    ids: list[int]
    stored: int
    read: int
    occurrences: list[Occurrence]


class Ranges(NamedTuple):
    """The distinct stretches of the file that sequences read, by their start; `entries(k)` read stretch k."""

    order: NDArray[np.intp]
    heads: NDArray[np.intp]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    # The furthest end so far: stretches may overlap, or lie inside each other.
    reach: NDArray[np.int64]

    def copies(self, numbers: slice) -> NDArray[np.int64]:
        """How many entries read each of some stretches."""
        return np.diff(self.heads[numbers.start : numbers.stop + 1])

    def entries(self, number: int) -> NDArray[np.intp]:
        """The sequences that read one stretch, by number."""
        return self.order[self.heads[number] : self.heads[number + 1]]


def ranges_of(dataset: TokenDataset, *, least: int = 1) -> Ranges:
    """The stretches of at least `least` ids."""
    starts = dataset.pointers // dataset.dtype.itemsize
    order = np.lexsort((dataset.sizes, starts))
    order = order[dataset.sizes[order] >= least]
    starts, sizes = starts[order], dataset.sizes[order]
    differ = (starts[1:] != starts[:-1]) | (sizes[1:] != sizes[:-1])
    heads = np.flatnonzero(np.concatenate([[len(order) > 0], differ]))
    firsts = starts[heads]
    ends = firsts + sizes[heads]
    return Ranges(order, np.append(heads, len(order)), firsts, ends, np.maximum.accumulate(ends))


def find_tokens(
    dataset: TokenDataset,
    ids: Sequence[int],
    *,
    limit: int = LISTED,
    decode: Callable[[NDArray], str] | None = None,
    jobs: int = 1,
    reporter: Reporter = SILENT,
) -> Found:
    """Looks for `ids` in every document; the first `limit` places in the order of the `.bin` come with their text.

    Overlapping matches all count. Raises UsageError for no ids.
    """
    if not len(ids):
        raise UsageError("there are no ids to look for", hint="--find with a text, or --find-ids 12 345")
    wanted = list(map(int, ids))
    stored = read = 0
    occurrences: list[Occurrence] = []
    if _can_hold(dataset.dtype, wanted):
        ranges = ranges_of(dataset, least=len(wanted))
        for places in _matches(dataset, np.array(wanted, dataset.dtype), jobs, reporter):
            numbers, begins, stops = _inside(ranges, places, len(wanted))
            counts = np.maximum(stops - begins, 0)
            stored += _distinct(begins, stops, len(places))
            read += int((counts * ranges.copies(numbers)).sum())
            for number in np.flatnonzero(counts):
                for place in places[begins[number] : stops[number]][: limit - len(occurrences)].tolist():
                    occurrences.append(
                        _occurrence(dataset, ranges, numbers.start + int(number), place, len(wanted), decode)
                    )
                if len(occurrences) == limit:
                    break
    return Found(prefix=dataset.prefix, ids=wanted, stored=stored, read=read, occurrences=occurrences)


def _can_hold(dtype: np.dtype, ids: list[int]) -> bool:
    return np.iinfo(dtype).min <= min(ids) and max(ids) <= np.iinfo(dtype).max


def _matches(dataset: TokenDataset, wanted: NDArray, jobs: int, reporter: Reporter) -> Iterator[NDArray[np.int64]]:
    """Where the ids stand in the file, in rising order, block by block; blocks without any are left out."""
    blocks = range(0, len(dataset.ids), BLOCK_IDS)
    with (
        reporter.progress("find", total=dataset.ids.nbytes, unit="bytes") as advance,
        ThreadPoolExecutor(jobs) as pool,
    ):
        for first, places in zip(blocks, pool.map(partial(_match_block, dataset.ids, wanted), blocks), strict=True):
            advance(dataset.ids[first : first + BLOCK_IDS].nbytes)
            if len(places):
                yield places


def _match_block(ids: NDArray, wanted: NDArray, first: int) -> NDArray[np.int64]:
    # A match may end in the next block, never start there.
    block = ids[first : first + BLOCK_IDS + len(wanted) - 1]
    starts = len(block) - len(wanted) + 1
    if starts < 1:
        return np.empty(0, np.int64)
    # The rarest id of those looked for leaves the fewest places to look at again.
    sample = block[:SAMPLED_IDS]
    rarest = min(range(len(wanted)), key=lambda place: int(np.count_nonzero(sample == wanted[place])))
    places = np.flatnonzero(block[rarest : rarest + starts] == wanted[rarest])
    for offset, token in enumerate(wanted):
        if offset != rarest and len(places):
            places = places[block[places + offset] == token]
    return places + first


def _inside(ranges: Ranges, places: NDArray[np.int64], length: int) -> tuple[slice, NDArray, NDArray]:
    """(stretches, first place, place after the last) of the matches that lie inside each of some stretches."""
    low = int(np.searchsorted(ranges.reach, places[0] + length))
    high = max(int(np.searchsorted(ranges.starts, places[-1], side="right")), low)
    numbers = slice(low, high)
    begins = np.searchsorted(places, ranges.starts[numbers])
    return numbers, begins, np.searchsorted(places, ranges.ends[numbers] - length, side="right")


def _distinct(begins: NDArray, stops: NDArray, places: int) -> int:
    """How many places lie inside at least one stretch."""
    filled = stops > begins
    steps = np.zeros(places + 1, np.int64)
    np.add.at(steps, begins[filled], 1)
    np.add.at(steps, stops[filled], -1)
    return int(np.count_nonzero(np.cumsum(steps)[:-1]))


def _occurrence(
    dataset: TokenDataset,
    ranges: Ranges,
    number: int,
    place: int,
    length: int,
    decode: Callable[[NDArray], str] | None,
) -> Occurrence:
    entries = ranges.entries(number)
    sequence, start = int(entries[0]), place - int(ranges.starts[number])
    source = dataset.provenance.source(sequence) if dataset.has_provenance else None
    texts: list[str | None] = [None, None, None]
    if decode is not None:
        ids, stop = dataset[sequence], start + length
        texts = [
            decode(part)
            for part in (
                ids[max(start - CONTEXT_TOKENS, 0) : start],
                ids[start:stop],
                ids[stop : stop + CONTEXT_TOKENS],
            )
        ]
    return Occurrence(
        sequence=sequence,
        copies=len(entries),
        start=start,
        stop=start + length,
        component=source.component if source else None,
        document=source.document if source else None,
        before=texts[0],
        text=texts[1],
        after=texts[2],
    )
