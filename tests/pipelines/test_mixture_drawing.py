"""The original builder's drawing, against the program it is: `random.Random(42)`, a cycle per component, a limit."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pipelines.catalog import components
from pipelines.mixture import drawing, drawn_copies

EPOCHS = st.sampled_from([0.0, 0.1, 0.3, 1.0, 1.5, 2.5, 3.0, 12.7])
SIZES = st.lists(st.one_of(st.just(0), st.integers(1, 9), st.integers(1000, 10**6)), max_size=40)


def plain_copies(epochs: list[float], sizes: list[list[int]]) -> list[list[int]]:
    """Document after document, as pile.py does: `choices` of 1000, endless cycles, until the bytes exceed the sum."""
    limit = weights = 0.0
    for weight, documents in zip(epochs, sizes, strict=True):
        limit += sum(documents) * weight
        weights += weight * len(documents)
    probability = [weight * len(documents) / weights for weight, documents in zip(epochs, sizes, strict=True)]
    cycles = [itertools.cycle(range(len(documents))) for documents in sizes]
    copies = [[0] * len(documents) for documents in sizes]
    numbers, total = random.Random(42), 0
    while True:
        for component in numbers.choices(range(len(sizes)), weights=probability, k=1000):
            document = next(cycles[component])
            copies[component][document] += 1
            total += sizes[component][document]
            if total > limit:
                return copies


def drawn(epochs, sizes):
    found = drawn_copies(epochs, [np.array(documents, np.uint64) for documents in sizes])
    assert all(copies.dtype == np.uint16 for copies in found)
    return [copies.tolist() for copies in found]


def has_text(case):
    return any(weight and any(documents) for weight, documents in case)


CASES = st.lists(st.tuples(EPOCHS, SIZES), min_size=1, max_size=6).filter(has_text)


@given(CASES)
@settings(max_examples=60)
def test_copies_are_those_of_the_program(case):
    epochs, sizes = map(list, zip(*case, strict=True))
    assert drawn(epochs, sizes) == plain_copies(epochs, sizes)


@pytest.mark.parametrize("draws", [1, 7, 1000, 4096])
def test_copies_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch, draws):
    monkeypatch.setattr(drawing, "_FIRST_DRAWS", draws)
    monkeypatch.setattr(drawing, "_MOST_DRAWS", draws)
    sizes = [[5, 0, 90, 3], [1] * 50, [], [700, 20]]
    assert drawn([2.5, 1.0, 3.0, 0.7], sizes) == plain_copies([2.5, 1.0, 3.0, 0.7], sizes)


def test_more_than_one_block_is_drawn_like_one():
    rng = np.random.default_rng(1)
    sizes = [rng.integers(0, 50, count).tolist() for count in (300_000, 90_000, 5)]
    assert drawn([3.0, 2.5, 1.0], sizes) == plain_copies([3.0, 2.5, 1.0], sizes)


def by_component(epochs, arrays):
    """Copies of every document of each component, from the turns that are drawn for it."""
    turns = drawing.drawn_turns(epochs, arrays)
    cycles = {slug: divmod(turns[slug], len(sizes)) for slug, sizes in arrays.items()}
    return {
        slug: np.array([whole + (place < rest) for place in range(len(arrays[slug]))])
        for slug, (whole, rest) in cycles.items()
    }


def test_sizes_of_real_components_give_the_copies_of_the_program(minipile):
    published = {component.slug: component.epochs for component in components()}
    sizes = {
        path.name.removesuffix(".jsonl.zst"): [len(document.text.encode()) for document in read_documents(path)]
        for path in sorted(minipile.glob("*.jsonl.zst"))
    }
    order = [slug for slug in drawing.ORIGINAL_ORDER if slug in sizes]
    assert len(order) > 3
    expected = plain_copies([published[slug] for slug in order], [sizes[slug] for slug in order])
    arrays = {slug: np.array(documents, np.uint64) for slug, documents in sizes.items()}
    found = by_component(published, arrays)
    assert {slug: copies.tolist() for slug, copies in found.items()} == dict(zip(order, expected, strict=True))
    for slug, copies in found.items():
        assert copies.max() - copies.min() <= 1
        # The first of a component have the copy more.
        assert (np.diff(copies.astype(int)) <= 0).all(), slug


def test_the_original_names_pile_cc_last_and_components_of_ones_own_come_after_it():
    assert sorted(drawing.ORIGINAL_ORDER) == sorted(component.slug for component in components())
    assert (drawing.ORIGINAL_ORDER[0], drawing.ORIGINAL_ORDER[-1]) == ("pubmed-central", "pile-cc")
    sizes = {"my-notes": [3] * 9, "pile-cc": [7] * 20, "arxiv": [100, 1, 1]}
    arrays = {slug: np.array(documents) for slug, documents in sizes.items()}
    found = by_component(dict.fromkeys(sizes, 2.0), arrays)
    expected = plain_copies([2.0] * 3, [sizes["arxiv"], sizes["pile-cc"], sizes["my-notes"]])
    assert [found[slug].tolist() for slug in ("arxiv", "pile-cc", "my-notes")] == expected


@pytest.mark.parametrize("draws", [1, 4096])
def test_a_number_that_meets_a_bound_means_the_component_behind_it(monkeypatch, draws):
    monkeypatch.setattr(drawing, "_FIRST_DRAWS", draws)
    monkeypatch.setattr(drawing, "_MOST_DRAWS", draws)
    number = random.Random(42).random()
    # Two components of a document each: the first bound is the first number drawn, to the last bit.
    epochs = [number, 1 - number]
    assert sum(epochs) == 1.0
    assert drawn(epochs, [[9], [90]]) == plain_copies(epochs, [[9], [90]]) == [[0], [1]]


def test_a_document_without_text_takes_its_turn():
    copies = drawn([1.0], [[0, 10, 0, 10]])
    # 20 bytes are met, not exceeded, by the fourth document; the sixth exceeds them.
    assert copies == [[2, 2, 1, 1]] == plain_copies([1.0], [[0, 10, 0, 10]])


@pytest.mark.parametrize(("epochs", "sizes"), [([1.0], [[0, 0]]), ([0.0, 1.0], [[5], []]), ([], [])])
def test_a_drawing_that_would_never_end_is_refused(epochs, sizes):
    with pytest.raises(UsageError, match="no text to draw"):
        drawn(epochs, sizes)


def test_more_copies_than_the_plan_can_hold_are_refused():
    with pytest.raises(UsageError, match="at most 65,535 copies"):
        drawn([1000.0, 0.001], [[0], [10**6]])
