"""Which samples a run read, phase by phase, and how often it read every document: counted token by token."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.dataset import TokenDataset
from shards.exposures import exposures
from shards.index import SampleIndex
from shards.phases import PHASES, Phase, Phases, read_phases, write_phases
from shards.provenance import provenance_path, write_provenance

COMPONENTS = ["arxiv", "github", "ubuntu-irc"]
FILES = {"arxiv": ["a.jsonl.zst", "b.jsonl.zst"], "github": ["c.jsonl.zst"], "ubuntu-irc": ["d.jsonl.zst"]}
DOCUMENTS = [list(range(100 * number, 100 * number + size)) for number, size in enumerate([5, 3, 7, 2, 40, 1])]
FIRST_ENTRIES = [2, 0, 3, 2, 1, 0, 4, 5]
# Document 0 four times, document 3 never.
LATER_ENTRIES = [0, 4, 0, 2, 0, 1, 5, 0]
LENGTH = 9


@pytest.fixture(scope="module")
def shards(write_documents):
    return [write_documents(DOCUMENTS, entries) for entries in (FIRST_ENTRIES, LATER_ENTRIES)]


@pytest.fixture
def build(shards):
    def build_index(number, *, order="stateless", samples=40, seed=1):
        return SampleIndex.build(
            TokenDataset(shards[number].prefix), sequence_length=LENGTH, samples=samples, seed=seed, order=order
        )

    return build_index


def two_phases(build, order, at=25):
    return Phases().started(0, build(0, order=order)).started(at, build(1, order=order))


def counted(phases, samples):
    """Every document's tokens that the run read as inputs, from the samples themselves."""
    reads = Counter()
    for number in range(samples):
        phase, local = phases.of(number)
        index = phase.open()
        missing = LENGTH
        for origin in index.provenance(local):
            taken = min(origin.tokens[1] - origin.tokens[0], missing)
            reads[origin.document] += taken
            missing -= taken
    # Without those of which only the last id was read.
    return +reads


@pytest.mark.parametrize("order", ["neox", "megatron", "stateless"])
@pytest.mark.parametrize("samples", [0, 1, 17, 25, 26, 60])
def test_exposures_are_those_of_the_samples_that_were_read(build, shards, order, samples):
    phases = two_phases(build, order)
    found = exposures(phases, samples)
    expected = counted(phases, samples)
    documents = [found.document(row) for row in range(len(found.read))]
    assert {document: read for document, read in zip(documents, found.read.tolist(), strict=True) if read} == expected
    reached = shards[: 0 if samples == 0 else 1 if samples <= 25 else 2]
    # All that the shards hold is listed, whether it was read or not.
    assert set(documents) == {row["document"] for written in reached for row in written.rows}
    sizes = {
        row["document"]: len(DOCUMENTS[entry]) for s in reached for entry, row in zip(s.entries, s.rows, strict=True)
    }
    assert dict(zip(documents, found.tokens.tolist(), strict=True)) == sizes
    assert found.times.tolist() == [
        read / sizes[name] for name, read in zip(documents, found.read.tolist(), strict=True)
    ]
    for slug, epochs in found.epochs().items():
        mine = [name for name in documents if name.startswith(f"{slug}/")]
        assert epochs == sum(expected[name] for name in mine) / max(sum(sizes[name] for name in mine), 1)


def test_documents_are_known_by_name_though_shards_number_components_and_files_differently(shards, write_documents):
    again = write_documents(DOCUMENTS, LATER_ENTRIES)
    last = len(COMPONENTS) - 1
    columns = {name: [row[name] for row in again.rows] for name in ("line", "copy", "bytes")}
    write_provenance(
        provenance_path(again.prefix),
        component=[last - row["component"] for row in again.rows],
        file=[len(FILES[row["slug"]]) - 1 - row["file"] for row in again.rows],
        **columns,
        components=COMPONENTS[::-1],
        files={slug: names[::-1] for slug, names in FILES.items()},
    )

    def found_with(later):
        indexes = [
            SampleIndex.build(TokenDataset(prefix), sequence_length=LENGTH, samples=40, order="stateless")
            for prefix in (shards[0].prefix, later.prefix)
        ]
        found = exposures(Phases().started(0, indexes[0]).started(25, indexes[1]), 60)
        return {found.document(row): int(found.read[row]) for row in range(len(found.read))}

    assert found_with(again) == found_with(shards[1])
    assert sum(found_with(again).values()) == 60 * LENGTH


def test_phases_survive_the_disk_and_lead_samples_to_their_index(build, tmp_path):
    phases = two_phases(build, "stateless")
    write_phases(tmp_path, phases)
    assert read_phases(tmp_path) == phases
    assert [phases.of(number)[1] for number in (0, 24, 25, 100)] == [0, 24, 0, 75]
    assert phases.of(24)[0].index == build(0).hash
    assert phases.of(25)[0].open().hash == build(1).hash
    with pytest.raises(IndexError):
        phases.of(-1)
    with pytest.raises(IndexError):
        Phases().of(0)


def test_the_same_index_again_is_no_new_phase(build):
    phases = Phases().started(0, build(0))
    assert phases.started(30, build(0, samples=4000)) is phases
    # In gpt-neox's order another number of samples is another index.
    assert (
        len(Phases().started(0, build(0, order="neox")).started(30, build(0, order="neox", samples=4000)).phases) == 2
    )


def test_phases_that_cannot_be_are_refused(build, tmp_path):
    with pytest.raises(UsageError, match="cannot begin at sample 5: the first one begins at 0"):
        Phases().started(5, build(0))
    with pytest.raises(UsageError, match="cannot begin at sample 25: the last one begins at 25"):
        two_phases(build, "stateless").started(25, build(0, seed=9))
    with pytest.raises(UsageError, match=r"there is no phases\.json"):
        read_phases(tmp_path)
    written = two_phases(build, "stateless")
    write_phases(tmp_path, written)
    path = tmp_path / PHASES
    for true, false in (
        (b'"first_sample": 25', b'"first_sample": 0'),
        (b'"first_sample": 0', b'"first_sample": 1'),
        (b"{", b"["),
    ):
        write_phases(tmp_path, written)
        path.write_bytes(path.read_bytes().replace(true, false, 1))
        with pytest.raises(CorruptData, match=PHASES):
            read_phases(tmp_path)


def test_shards_that_were_written_again_are_noticed(build, write_documents):
    index = build(0)
    other = write_documents(DOCUMENTS[::-1])
    phase = Phase(
        first_sample=0,
        index=index.hash,
        prefix=str(other.prefix),
        sequence_length=LENGTH,
        samples=40,
        seed=1,
        order="stateless",
    )
    with pytest.raises(CorruptData, match=f"from sample 0 on was read from {index.hash}"):
        exposures(Phases(phases=(phase,)), 10)


def test_a_run_longer_than_its_index_is_not_counted(build):
    phases = Phases().started(0, build(0, order="neox", samples=5))
    with pytest.raises(IndexError):
        exposures(phases, 1000)


def test_shards_without_provenance_say_so(write_documents):
    dataset = TokenDataset(write_documents(DOCUMENTS, provenance=False).prefix)
    index = SampleIndex.build(dataset, sequence_length=LENGTH, samples=9, order="stateless")
    with pytest.raises(UsageError, match="do not say which documents"):
        exposures(Phases().started(0, index), 9)
    assert np.array_equal(index.reads(0, 0), np.zeros(len(dataset)))
