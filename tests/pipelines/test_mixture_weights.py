"""Epochs become whole copies exactly: nothing is drawn, nothing is rounded but the one number the definition rounds."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.seeds import keyed_columns
from pipelines.catalog import components
from pipelines.mixture import copy_keys, exact_copies, resolve_weights

# As people write them: decimals of a few digits, which binary fractions only come close to.
DECIMALS = st.decimals(0, 20, allow_nan=False, places=3).map(str)
KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=60)


def plain_copies(epochs: str, keys: list[int]) -> list[int]:
    """floor(epochs) for everybody, one more for the round-half-even(frac * n) of smallest key."""
    exact = Fraction(epochs)
    whole = exact.numerator // exact.denominator
    extra, rest = divmod((exact - whole) * len(keys), 1)
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and extra % 2 == 1):
        extra += 1
    lucky = sorted(range(len(keys)), key=lambda number: (keys[number], number))[: int(extra)]
    return [whole + (number in lucky) for number in range(len(keys))]


@given(DECIMALS, KEYS)
def test_copies_are_the_definition_in_fractions(epochs, keys):
    copies = exact_copies(float(epochs), np.array(keys, np.uint64))
    assert copies.dtype == np.uint16
    assert copies.tolist() == plain_copies(epochs, keys)


@pytest.mark.parametrize(
    ("epochs", "documents", "copies"),
    [
        # Every document twice, and half of them a third time.
        (2.5, 10, 25),
        # Half of 5 is 2.5 and half of 3 is 1.5: both round to 2, the even number.
        (0.5, 5, 2),
        (0.5, 3, 2),
        # 0.1 in binary is a little more than 0.1; the decimal as written counts.
        (1.1, 10, 11),
        (0.1, 25, 2),
        (1.0, 7, 7),
        (0.0, 7, 0),
        (1000.0, 3, 3000),
        (2.5, 0, 0),
    ],
)
def test_copies_of_a_component_add_up_to_epochs_times_documents(epochs, documents, copies):
    keys = np.arange(documents, dtype=np.uint64)[::-1]
    found = exact_copies(epochs, keys)
    assert found.sum() == copies
    assert documents == 0 or found.max() - found.min() <= 1
    # The last key is the smallest here.
    assert (np.diff(found.astype(int)) >= 0).all()


def test_keys_of_copies_differ_for_seed_text_and_ordinal():
    hashes = np.array([[1, 2], [1, 2], [1, 3], [2, 2]], np.uint64)
    keys = copy_keys(7, hashes, np.array([0, 1, 0, 0], np.uint32))
    other_seed = copy_keys(8, hashes, np.array([0, 1, 0, 0], np.uint32))
    assert len({*keys.tolist(), *other_seed.tolist()}) == 8
    # Not the order's keys, or the documents copied once more would all stand at the corpus's beginning.
    order = keyed_columns(7, "order", hashes[:, 0], hashes[:, 1], np.array([0, 1, 0, 0], np.uint32))
    assert not set(keys.tolist()) & set(order.tolist())


def test_the_piles_weights_are_the_epochs_of_the_catalog():
    published = {component.slug: component.epochs for component in components()}
    assert len(published) == 22
    assert resolve_weights("pile", list(published)) == published
    assert (published["wikipedia-en"], published["gutenberg-pg-19"], published["github"]) == (3.0, 2.5, 1.0)


def test_a_component_of_ones_own_counts_once_among_the_piles():
    assert resolve_weights("pile", ["arxiv", "my-notes"]) == {"arxiv": 2.0, "my-notes": 1.0}


def test_a_table_is_taken_as_it_is_for_the_components_that_are_there():
    table = {"my-notes": 3, "arxiv": 0.25, "github": 7}
    assert resolve_weights(table, ["arxiv", "my-notes"]) == {"arxiv": 0.25, "my-notes": 3.0}


def test_a_file_holds_a_table(tmp_path):
    path = tmp_path / "weights.toml"
    path.write_text('arxiv = 2\n"pile-cc" = 0.5\n')
    assert resolve_weights(str(path), ["pile-cc", "arxiv"]) == {"pile-cc": 0.5, "arxiv": 2.0}


def test_a_default_is_for_the_components_that_a_table_does_not_name():
    table = {"default": 0.5, "arxiv": 3}
    assert resolve_weights(table, ["arxiv", "github", "my-notes"]) == {"arxiv": 3.0, "github": 0.5, "my-notes": 0.5}
    with pytest.raises(UsageError, match="the weight of 'default' is -1") as error:
        resolve_weights({"default": -1}, ["arxiv"])
    assert error.value.hint == "default = 1.0, or 0 to leave it out"


@pytest.mark.parametrize("weights", ["absent.toml", "Pile", "."])
def test_what_is_no_file_is_refused_with_what_may_stand_there(weights):
    with pytest.raises(UsageError, match=f"'{re.escape(weights)}', which is neither 'pile' nor a file") as error:
        resolve_weights(weights, ["arxiv"])
    assert error.value.hint.startswith("pile, or a TOML file")


@pytest.mark.parametrize(
    ("table", "fact", "hint"),
    [
        ({"arxvi": 1.0}, "'arxvi'", "did you mean 'arxiv'?"),
        ({"my-note": 1.0}, "'my-note'", "did you mean 'my-notes'?"),
        (
            {"arxiv": 1.0},
            "no entry for my-notes",
            "add `my-notes = 1.0`, or 0 to leave it out; `default = 1.0` is for all that have none",
        ),
    ],
)
def test_unknown_and_missing_names_are_refused_with_what_was_meant(table, fact, hint):
    with pytest.raises(UsageError, match=fact) as error:
        resolve_weights(table, ["arxiv", "my-notes"])
    assert error.value.hint == hint


@pytest.mark.parametrize("epochs", [-0.5, 1000.5, float("nan"), float("inf"), True, "2", None, {"epochs": 1}])
def test_a_number_that_is_no_epochs_is_refused_with_the_range(epochs):
    with pytest.raises(UsageError, match=r"the weight of 'arxiv' is .* from 0 to 1000"):
        resolve_weights({"arxiv": epochs}, ["arxiv"])
