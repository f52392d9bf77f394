"""No two copies of one text stand beside each other where that can be; the order stays a random one."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pile_toolkit.core.plan import Entries, OrderedCopies, separate
from pile_toolkit.core.plan.order import copy_keys_of, text_identities
from pile_toolkit.core.seeds import KEY_RANGE, text_hash
from tests.core.separation_twin import Copy, adjacent, in_order, least_adjacent, moved_keys, own_key


def ordered(copies: list[Copy], seed: int) -> OrderedCopies:
    copies = sorted(copies)
    hashes = np.frombuffer(b"".join(copy.text for copy in copies), np.uint64).reshape(-1, 2)
    return OrderedCopies(
        np.array([copy.key for copy in copies], np.uint64),
        text_identities(seed, hashes),
        np.array([copy.row for copy in copies], np.int64),
        np.array([copy.copy for copy in copies], np.uint16),
    )


def separated(copies: list[Copy], seed: int, part: int = 1 << 20):
    whole = ordered(copies, seed)

    def scan():
        for first in range(0, len(copies), part):
            yield OrderedCopies(*(column[first : first + part] for column in whole))

    return separate(scan, seed=seed)


def after(copies: list[Copy], moved: Entries) -> list[Copy]:
    keys = dict(zip(zip(moved.row.tolist(), moved.copy.tolist(), strict=True), moved.key.tolist(), strict=True))
    return sorted(copy._replace(key=keys.get((copy.row, copy.copy), copy.key)) for copy in copies)


def corpus(amounts: list[int], seed: int) -> list[Copy]:
    """Documents with so many copies each, under their own keys."""
    return [
        Copy(own_key(seed, text_hash(f"text {row}"), 0, copy), row, copy, text_hash(f"text {row}"))
        for row, amount in enumerate(amounts)
        for copy in range(amount)
    ]


amounts_and_seed = given(st.lists(st.integers(0, 9), max_size=9), st.integers(0, 2**64 - 1), st.integers(1, 20))


@amounts_and_seed
@example([9, 8], 1, 3)
@example([9, 1], 1, 1)
@example([5], 1, 2)
@example([3, 3, 0, 3], 7, 2)
def test_copies_of_one_text_are_apart_wherever_any_order_could_have_them_apart(amounts, seed, part):
    copies = corpus(amounts, seed)
    moved, remaining = separated(copies, seed, part)
    order = [copy.text for copy in after(copies, moved)]
    assert Counter(order) == Counter(copy.text for copy in copies)
    assert adjacent(order) == remaining == least_adjacent(order)


@amounts_and_seed
def test_what_moves_and_where_to_is_what_the_page_says(amounts, seed, part):
    copies = corpus(amounts, seed)
    moved, _ = separated(copies, seed, part)
    places = list(zip(moved.row.tolist(), moved.copy.tolist(), strict=True))
    assert dict(zip(places, moved.key.tolist(), strict=True)) == moved_keys(copies, seed)
    assert places == sorted(places)
    # Those behind a copy of their own text, and no other.
    order = sorted(copies)
    behind = [copy for before, copy in itertools.pairwise(order) if before.text == copy.text]
    assert set(places) <= {(copy.row, copy.copy) for copy in behind}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=14), st.integers(0, 3))
def test_keys_without_room_between_them_and_equal_ones_lead_nowhere_wrong(drawn, seed):
    # Keys as no hash gives them: neighbouring numbers, equal ones, the first and the last of all.
    texts = [text_hash(str(text)) for text in range(4)]
    copies = [
        Copy(place if place < 9 else KEY_RANGE - 1 - (place - 9), row, 0, texts[text])
        for row, (place, text) in enumerate(drawn)
    ]
    moved, remaining = separated(copies, seed)
    assert dict(zip(zip(moved.row.tolist(), moved.copy.tolist(), strict=True), moved.key.tolist(), strict=True)) == (
        moved_keys(copies, seed)
    )
    assert adjacent([copy.text for copy in after(copies, moved)]) <= remaining


def test_equal_texts_of_several_rows_are_one_text():
    text, other = text_hash("a"), text_hash("b")
    copies = [Copy(key, row, 0, text) for row, key in enumerate((100, 200, 300))]
    copies += [Copy(key, 3 + row, 0, other) for row, key in enumerate((1000, 2000))]
    moved, remaining = separated(copies, 5)
    assert (len(moved.row), remaining) == (3, 0)
    assert [copy.text for copy in after(copies, moved)] == [text, other, text, other, text]


def test_where_nothing_is_beside_itself_nothing_moves_and_all_is_read_once():
    copies, scans = corpus([1] * 50, 3), []

    def scan():
        scans.append(1)
        yield ordered(copies, 3)

    assert separate(scan, seed=3).adjacent == 0
    assert len(separate(scan, seed=3).moved.row) == 0
    assert len(scans) == 2


@pytest.mark.parametrize("part", [1000, 1 << 20])
def test_the_plain_page_and_the_columns_agree_on_a_larger_corpus(part):
    copies = corpus([40] * 6 + [3] * 50, 11)
    moved, remaining = separated(copies, 11, part)
    assert len(moved.row) > 5
    assert remaining == 0
    assert [copy[:3] for copy in after(copies, moved)] == [copy[:3] for copy in in_order(copies, 11)]


# Statistics: over many seeds every document is as likely at every place. The bound is the 99.99% quantile.


def chi_square(counts: np.ndarray) -> tuple[float, float]:
    """(statistic of a table of counts against equal ones per column, what it stays below in 9,999 of 10,000)."""
    expected = counts.sum(axis=1, keepdims=True) / counts.shape[1]
    freedom = counts.shape[0] * (counts.shape[1] - 1)
    # Wilson and Hilferty's approximation of the quantile.
    bound = freedom * (1 - 2 / (9 * freedom) + 3.72 * (2 / (9 * freedom)) ** 0.5) ** 3
    return float(((counts - expected) ** 2 / expected).sum()), bound


def places(seeds: int, amounts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Keys of all copies under many seeds, uint64[seeds, copies], and of those among them that were moved."""
    hashes = np.array([np.frombuffer(text_hash(f"text {row}"), np.uint64) for row in range(len(amounts))])
    row = np.repeat(np.arange(len(amounts)), amounts)
    copy = np.concatenate([np.arange(amount) for amount in amounts])
    found, changed = np.empty((seeds, len(row)), np.uint64), []
    for seed in range(seeds):
        keys = copy_keys_of(seed, hashes[row], np.zeros(len(row), np.uint32), copy)
        order = np.argsort(keys)
        whole = OrderedCopies(keys[order], text_identities(seed, hashes[row[order]]), row[order], copy[order])
        moved = separate(lambda whole=whole: [whole], seed=seed).moved
        where = np.cumsum([0, *amounts])[moved.row] + moved.copy
        keys[where] = moved.key
        found[seed] = keys
        changed.append(moved.key)
    return found, np.concatenate(changed)


def test_documents_are_as_likely_in_every_shard_and_at_every_place():
    amounts = [3, 2, 1] * 10
    keys, moved = places(1500, amounts)
    assert len(moved) > 1500
    row = np.repeat(np.arange(len(amounts)), amounts)
    shard = (keys >> np.uint64(61)).astype(np.int64)
    place = np.argsort(np.argsort(keys, axis=1), axis=1)
    for where, number in ((shard, 8), (place, len(row))):
        counts = [np.bincount(where[:, row == document].ravel(), minlength=number) for document in range(len(amounts))]
        statistic, bound = chi_square(np.array(counts))
        assert statistic < bound
    # They are few among all, so that they are looked at by themselves too.
    statistic, bound = chi_square(np.bincount((moved >> np.uint64(60)).astype(np.int64), minlength=16)[None, :])
    assert statistic < bound


def test_copies_of_a_component_are_spread_evenly():
    # Of 400 documents with two or three copies: how many fall into each of 20 ranges of the key.
    amounts = [3 if number % 2 else 2 for number in range(400)]
    keys, _ = places(60, amounts)
    counts = np.array([np.bincount((row >> np.uint64(59)).astype(np.int64), minlength=32) for row in keys])
    statistic, bound = chi_square(counts)
    assert statistic < bound
