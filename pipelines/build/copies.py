"""Epochs and rows in, whole copies out: every document as often as its component's epochs say, to the document.

Who gets one copy more is decided by key: those of the smallest. Which is the largest of these is found by counting
keys by their highest bits and looking at one bin of them, so that no keys are sorted or kept.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pile_toolkit.core.plan import SPLITS
from pile_toolkit.core.seeds import keyed
from pipelines.build import kernels
from pipelines.mixture import drawn_turns, share_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pipelines.build.rows import PlannedRows
    from pipelines.mixture import Mixture

BIN_BITS = 16
_TRAIN = SPLITS.index("train")


class Share(NamedTuple):
    """Of a component's documents in train each has `whole` copies, `extra` of them one more; held-out ones have one.

    Those of the smallest keys have it or, `in_order`, the first ones. Where `left_out`, no document has any copy.
    """

    whole: int
    extra: int
    left_out: bool = False
    in_order: bool = False


def shares_of(
    wanted: Mixture, epochs: Sequence[float], sizes: TrainSizes, rows: PlannedRows, splits: NDArray[np.uint8]
) -> list[Share]:
    """What every component's documents get: exactly its epochs, or as the original builder would draw them.

    Drawing needs the bytes of every document in train at once, 8 of memory each.
    """
    if wanted.mode == "exact":
        return [
            Share(*share_of(each, count), left_out=each == 0)
            for each, count in zip(epochs, sizes.documents, strict=True)
        ]
    slugs = [component.slug for component in rows.components]
    turns = drawn_turns(dict(zip(slugs, epochs, strict=True)), _document_bytes(rows, splits, sizes))
    return [
        Share(*(divmod(turns[slug], count) if count else (0, 0)), left_out=each == 0, in_order=True)
        for slug, each, count in zip(slugs, epochs, sizes.documents, strict=True)
    ]


def _document_bytes(rows: PlannedRows, splits: NDArray[np.uint8], sizes: TrainSizes) -> dict[str, NDArray[np.int64]]:
    """Of every component the bytes of its documents in train, in order: of one that was cut, those of its pieces."""
    found = [np.empty(count, np.int64) for count in sizes.documents]
    filled = [0] * len(found)
    for group in rows.groups(["component", "bytes"]):
        some = slice(group.first, group.first + len(group.document))
        first = np.flatnonzero(group.is_first())
        text_bytes = np.add.reduceat(rows.sizes(group).astype(np.int64), first)
        component, train = group.column("component")[first], splits[some][first] == _TRAIN
        for number, mine in runs(component):
            chosen = text_bytes[mine][train[mine]]
            found[number][filled[number] : filled[number] + len(chosen)] = chosen
            filled[number] += len(chosen)
    return {component.slug: each for component, each in zip(rows.components, found, strict=True)}


class TrainSizes(NamedTuple):
    """Of every component, what train has of it: documents, and their bytes of text."""

    documents: list[int]
    bytes: list[int]


def train_sizes(rows: PlannedRows, splits: NDArray[np.uint8]) -> TrainSizes:
    """What a mixture is made of, known once splits are."""
    documents, sizes = ([0] * len(rows.components) for _ in range(2))
    for group in rows.groups(["component", "bytes"]):
        some = slice(group.first, group.first + len(group.document))
        train, first, text_bytes = splits[some] == _TRAIN, group.is_first(), rows.sizes(group)
        for number, mine in runs(group.column("component")):
            documents[number] += int((train[mine] & first[mine]).sum())
            sizes[number] += int(text_bytes[mine][train[mine]].sum())
    return TrainSizes(documents, sizes)


def runs(component: NDArray[np.uint8]) -> Iterator[tuple[int, slice]]:
    """(component, its rows) of rows in order."""
    edges = [0, *(np.flatnonzero(np.diff(component)) + 1).tolist(), len(component)]
    for start, end in itertools.pairwise(edges):
        yield int(component[start]), slice(start, end)


def assign_copies(
    rows: PlannedRows, splits: NDArray[np.uint8], ordinals: NDArray[np.uint32], shares: Sequence[Share], seed: int
) -> NDArray[np.uint16]:
    """The copies of every row: uint16. Pieces of a document have those of the document, decided by the first one."""
    limits = _limits(rows, splits, ordinals, shares, seed)
    # Of components, how many documents of the key at the limit, or in order, have had their extra copy.
    taken = [0] * len(shares)
    copies = np.zeros(len(rows), np.uint16)
    for group in rows.groups(["component", "text_hash"]):
        some = slice(group.first, group.first + len(group.document))
        train, first = splits[some] == _TRAIN, group.is_first()
        found = copies[some]
        keys = copy_keys(group.hashes(), ordinals[some], seed)
        for number, mine in runs(group.column("component")):
            share = shares[number]
            found[mine] = np.where(train[mine], share.whole, int(not share.left_out))
            if number in limits:
                limit, equal = limits[number]
                extra = (keys[mine] < limit) & train[mine] & first[mine]
                # Of equal keys those that come first.
                ties = np.flatnonzero((keys[mine] == limit) & train[mine] & first[mine])[: equal - taken[number]]
                taken[number] += len(ties)
                extra[ties] = True
                found[mine] += extra
            elif share.in_order:
                following = np.flatnonzero(train[mine] & first[mine])[: share.extra - taken[number]]
                taken[number] += len(following)
                found[mine][following] += 1
        if (group.piece >= 0).any():
            found[:] = found[np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))]
    return copies


def _limits(
    rows: PlannedRows, splits: NDArray[np.uint8], ordinals: NDArray[np.uint32], shares: Sequence[Share], seed: int
) -> dict[int, tuple[np.uint64, int]]:
    """Of components some of whose documents have an extra copy: keys below which they do, and how many at the key."""
    wanted = {number: share.extra for number, share in enumerate(shares) if share.extra and not share.in_order}
    bins = {number: np.zeros(1 << BIN_BITS, np.int64) for number in wanted}
    for number, keys in _train_keys(rows, splits, ordinals, wanted, seed):
        bins[number] += np.bincount((keys >> np.uint64(64 - BIN_BITS)).astype(np.int64), minlength=1 << BIN_BITS)
    last = {number: int(np.searchsorted(np.cumsum(bins[number]), extra)) for number, extra in wanted.items()}
    ending: dict[int, list[NDArray]] = {number: [] for number in wanted}
    for number, keys in _train_keys(rows, splits, ordinals, wanted, seed):
        ending[number].append(keys[keys >> np.uint64(64 - BIN_BITS) == last[number]])
    limits = {}
    for number, extra in wanted.items():
        keys = np.sort(np.concatenate(ending[number]))
        place = extra - int(bins[number][: last[number]].sum()) - 1
        limits[number] = (keys[place], place + 1 - int(np.searchsorted(keys, keys[place])))
    return limits


def _train_keys(
    rows: PlannedRows, splits: NDArray, ordinals: NDArray, wanted: dict[int, int], seed: int
) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """(component, keys of some of its documents in train) of the components that are asked for."""
    if not wanted:
        return
    for group in rows.groups(["component", "text_hash"]):
        chosen = [(number, mine) for number, mine in runs(group.column("component")) if number in wanted]
        if chosen:
            some = slice(group.first, group.first + len(group.document))
            keys = copy_keys(group.hashes(), ordinals[some], seed)
            mine_too = (splits[some] == _TRAIN) & group.is_first()
            for number, mine in chosen:
                yield number, keys[mine][mine_too[mine]]


def copy_keys(hashes: NDArray[np.uint64], ordinals: NDArray[np.uint32], seed: int) -> NDArray[np.uint64]:
    """The keys that say who gets the extra copy, from seed, text hash and ordinal among equal texts."""
    keys = np.empty(len(hashes), np.uint64)
    kernels.text_keys(np.uint64(keyed(seed, "copies")), np.ascontiguousarray(hashes), keys)
    kernels.continue_keys(keys, ordinals)
    return keys
