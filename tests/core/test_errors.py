"""An error says what happened and what to type, and still does after travelling between processes."""

import copy
import pickle

import pytest

from pile_toolkit.core import errors
from pile_toolkit.core.errors import (
    CorruptData,
    DiskFull,
    OutOfSpace,
    PileError,
    SourceUnavailable,
    TryAgain,
    UsageError,
    WorkerKilled,
)

KINDS = [UsageError, SourceUnavailable, CorruptData, OutOfSpace, DiskFull, WorkerKilled, TryAgain]


def test_exit_codes_are_those_of_the_design():
    assert {kind.__name__: kind.exit_code for kind in KINDS} == {
        "UsageError": 2,
        "SourceUnavailable": 3,
        "CorruptData": 4,
        "OutOfSpace": 5,
        "DiskFull": 5,
        "WorkerKilled": 5,
        "TryAgain": 75,
    }


def test_there_is_no_further_kind_of_error():
    found = {item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, PileError)}
    assert found == {PileError, *KINDS}
    assert list(errors.error_tree()) == KINDS


def test_every_kind_of_error_says_what_it_means_what_to_type_and_gives_an_example():
    for kind in KINDS:
        assert kind.__doc__
        assert kind.next_step
        assert kind.example


def test_the_hint_stands_below_the_fact():
    assert str(UsageError("no such file", hint="pile download")) == "no such file\n  try: pile download"
    assert str(UsageError("no such file")) == "no such file"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_travels_whole(kind, travel):
    error = kind("fact", hint="command")
    error.add_note("while working on this")
    other = travel(error)
    assert type(other) is kind
    assert (other.message, other.hint, other.args) == ("fact", "command", ("fact",))
    assert other.__notes__ == ["while working on this"]
