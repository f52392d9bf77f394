"""Random single bits of a finished root: each is found, and only it, and the repair gives back every byte."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.flips import flip, flip_and_repair, hashes, outputs_inside, turn_over


@pytest.fixture(scope="module")
def copied(undisturbed, tmp_path_factory):
    """A copy of a finished root, which every test leaves as it was."""
    return shutil.copytree(undisturbed / "root", tmp_path_factory.mktemp("flips") / "root", symlinks=True)


def test_every_random_bit_is_found_and_nothing_else_is(copied):
    before = hashes(copied)
    for seed in range(40):
        outcome = flip(copied, seed)
        assert outcome.problem is None, outcome
    assert hashes(copied) == before


def test_a_flip_that_nobody_finds_is_a_problem(copied, monkeypatch):
    from tests.faults import flips

    monkeypatch.setattr(flips, "turn_over", lambda path, bit: None)
    assert "verify named []" in flip(copied, 1).problem


def test_the_same_bit_twice_is_the_same_file_with_the_same_times(copied):
    path = outputs_inside(copied)[0]
    content, status = path.read_bytes(), path.stat()
    turn_over(path, 77)
    assert path.read_bytes() != content
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    turn_over(path, 77)
    assert path.read_bytes() == content


def test_several_random_bits_are_repaired(copied):
    outcome = flip_and_repair(copied, 3)
    assert outcome.problem is None, outcome
