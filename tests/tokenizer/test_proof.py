"""The proof on a tenth of the mini-Pile: on text that training has not seen, ours gives the tokens of the library's.

The whole one, of 50,257 ids and against the released tokenizers, is `python -m tests.tokenizer.proof`.
"""

from __future__ import annotations

import pytest

from pile_toolkit.core.seeds import text_hash
from tests.tokenizer.proof import Halves, Line, halves, known_pairs, measure, read_minipile

VOCAB_SIZE = 6000


@pytest.fixture(scope="module")
def lines(minipile) -> list[Line]:
    return read_minipile(minipile)


@pytest.fixture(scope="module")
def sides(minipile, lines) -> Halves:
    return halves(lines, known_pairs(minipile))


def test_every_document_is_on_one_side_and_a_tenth_is_held_out(lines, sides):
    assert sorted(sides.train + sides.held_out) == sorted(lines)
    assert 0.09 < len(sides.held_out) / len(lines) < 0.11
    size, held_out = (sum(len(line.text) for line in some) for some in (lines, sides.held_out))
    assert 0.08 < held_out / size < 0.12


def test_equal_and_nearly_equal_documents_are_on_one_side(minipile, lines, sides):
    side = {(line.file, line.line): number for number, some in enumerate(sides) for line in some}
    pairs = known_pairs(minipile)
    assert {side[one] == side[other] for one, other in pairs} == {True}
    assert {side[one] for one, _ in pairs} == {0, 1}
    train, held_out = ({text_hash(line.text) for line in some} for some in sides)
    assert not train & held_out
    assert len(train) + len(held_out) < len(lines)


def test_copies_nobody_knows_of_are_on_one_side_too():
    # Of other files: by the places of their hashes alone they would come to stand on both sides.
    lines = [
        Line(f"{step}.jsonl.zst", number, f"text {number}") for step in (1, 3, 7) for number in range(1, 200, step)
    ]
    train, held_out = ({line.text for line in some} for some in halves(lines, []))
    assert not train & held_out
    assert len(held_out) > 10


def test_held_out_text_has_the_tokens_of_the_librarys_trainer(neox, gpt2, sides):
    some = Halves(sides.train[::12], sides.held_out[::5])
    found = measure(some, neox_20b=neox.ours, gpt2=gpt2.ours, vocab_size=VOCAB_SIZE)
    assert (found.different_documents, found.librarys) == (0, found.ours)
    assert found.train_documents > 600
    assert found.ours > 100_000


def test_the_proof_sees_another_tokenizer(neox, gpt2, sides):
    # Trained on other text for ours than for the library's.
    few = Halves(sides.train[300:800:20], sides.held_out[-40:])
    same = measure(few, neox_20b=neox.ours, gpt2=gpt2.ours, vocab_size=600)
    other = measure(few, neox_20b=neox.ours, gpt2=gpt2.ours, vocab_size=600, librarys_train=sides.train[-20:])
    assert (same.different_documents, other.different_documents) == (0, len(few.held_out))
