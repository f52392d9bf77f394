"""Some seconds of fuzzing for each target find nothing; and what there is to find, it would find."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pile_toolkit.core import documents, frames
from pile_toolkit.core.documents import decode_line
from shards.dataset import TokenDataset
from tests.fuzz import index, records
from tests.fuzz.run import TARGETS, fuzz, why_not

# `make campaign` takes an hour.
SECONDS = 10
needs_atheris = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(autouse=True)
def limits_as_they_were(monkeypatch):
    """The target for records lowers them, for its whole process."""
    monkeypatch.setattr(documents, "LONGEST_LINE_BYTES", documents.LONGEST_LINE_BYTES)
    monkeypatch.setattr(frames, "BOMB_SLACK_BYTES", frames.BOMB_SLACK_BYTES)


@needs_atheris
def test_some_seconds_of_fuzzing_find_nothing(tmp_path):
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda name: fuzz(name, seconds=SECONDS, seed=1, folder=tmp_path / name), TARGETS))
    for outcome in outcomes:
        said = (tmp_path / outcome.target / "log.txt").read_text()[-2000:]
        assert outcome.crashes == (), said
        assert outcome.inputs > 50, f"so few that something is wrong with the target: {said}"
        assert outcome.corpus_files > 20, "no input reached anything new: the modules are not instrumented"


@needs_atheris
def test_an_input_that_fails_is_kept_and_fuzzing_goes_on(tmp_path):
    outcome = fuzz("failing", seconds=60, seed=1, folder=tmp_path)
    assert len(outcome.crashes) > 1
    for crash in outcome.crashes:
        assert crash.name.startswith("crash-")
        assert crash.read_bytes()[0] & 1
    assert outcome.inputs >= len(outcome.crashes)
    assert "is odd" in (tmp_path / "log.txt").read_text()


@needs_atheris
def test_a_target_that_does_not_start_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r"No module named tests\.fuzz\.absent"):
        fuzz("absent", seconds=5, seed=1, folder=tmp_path)


# Without atheris: the same checks on random bytes, and what they say of readers that are wrong.


def random_inputs(seed: int, count: int) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [random.bytes(int(random.integers(1, 300))) for _ in range(count)]


@pytest.mark.parametrize("target", [records, index], ids=["records", "index"])
def test_random_inputs_find_nothing(tmp_path, target):
    for data in [*target.SEEDS, *random_inputs(1, 300)]:
        target.check(data, tmp_path)


def drop_a_line(lines):
    for number, line in enumerate(lines):
        if number != 3:
            yield line


def end_silently(blocks):
    try:
        yield from blocks
    except documents.CorruptData:
        return


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("read_lines", lambda path, right=documents.read_lines: drop_a_line(right(path))),
        ("read_lines", lambda path, right=documents.read_lines: end_silently(right(path))),
        ("decode_line", lambda line, right=decode_line: (right(line)[0].strip("x"), right(line)[1])),
        ("decode_line", lambda line, right=decode_line: (right(line)[0], right(line)[1].replace(b"NaN", b"0"))),
        ("_is_deep", lambda data, limit: False),
    ],
    ids=["a line lost", "damage ignored", "text changed", "meta changed", "no limit of depth"],
)
def test_a_wrong_reader_of_records_is_found(tmp_path, monkeypatch, name, wrong):
    monkeypatch.setattr(documents, name, wrong)
    with pytest.raises(AssertionError):  # noqa: PT012 - which of them finds it is not known
        for data in random_inputs(1, 2000):
            records.check(data, tmp_path)


@pytest.mark.parametrize("name", ["_check_sequences", "_check_documents"])
def test_an_index_that_nobody_checks_is_found(tmp_path, monkeypatch, name):
    monkeypatch.setattr(f"shards.format.{name}", lambda *arguments: None)
    with pytest.raises(AssertionError):  # noqa: PT012 - which of them finds it is not known
        for data in random_inputs(1, 2000):
            index.check(data, tmp_path)


def test_ids_read_from_the_wrong_place_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(TokenDataset, "get", lambda self, number, **_: self.ids[: self.sizes[number]])
    with pytest.raises(AssertionError):  # noqa: PT012 - which of them finds it is not known
        for data in random_inputs(1, 2000):
            index.check(data, tmp_path)
