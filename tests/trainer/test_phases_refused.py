"""Where new weights cannot come into a run it says why, and what to do; nothing is changed then."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from pile_toolkit.core.errors import CorruptData, UsageError
from shards.phased import PhasedSamples
from shards.phases import PHASES, Phases, phase_of, read_phases
from tests.trainer.phase_roots import ENTRIES, files_of, write_shards


def test_other_shards_are_refused_unless_a_phase_is_asked_for(root, go_on):
    go_on(root, "shards", until=5)
    before = files_of(root / "runs" / "x")
    with pytest.raises(UsageError, match=r"shards/train \(content \w+\) from sample 0 on, it cannot be") as error:
        go_on(root, "mixes/more")
    assert "mixes/more/train" in error.value.message
    assert error.value.hint.startswith("--new-phase reads them from the newest checkpoint on")
    assert files_of(root / "runs" / "x") == before


@pytest.mark.parametrize("order", ["neox", "megatron"])
def test_an_order_that_depends_on_the_whole_run_has_no_phases(root, go_on, order):
    go_on(root, "shards", until=3, overrides={"data.order": order})
    before = files_of(root / "runs" / "x")
    for options in ({}, {"new_phase": True}):
        with pytest.raises(UsageError, match=f"in the order {order} each sample depends on") as error:
            go_on(root, "mixes/more", overrides={"data.order": order}, **options)
        assert "data.order=stateless" in error.value.hint
    assert files_of(root / "runs" / "x") == before


def test_shards_of_an_earlier_phase_are_refused_with_and_without_the_option(root, go_on):
    go_on(root, "shards", until=3)
    go_on(root, "mixes/more", until=5, new_phase=True)
    assert [phase.first_sample for phase in read_phases(root / "runs" / "x").phases] == [0, 16]
    with pytest.raises(UsageError, match="from sample 16 on, it cannot be continued"):
        go_on(root, "shards")
    with pytest.raises(
        UsageError, match=r"that was read from sample 0 of the run on: .* the same samples again"
    ) as error:
        go_on(root, "shards", new_phase=True)
    assert "pile shards mix" in error.value.hint


def test_where_a_phase_cannot_begin_it_says_why_and_nothing_changes(root, go_on):
    run = root / "runs" / "x"
    go_on(root, "shards", until=5)
    cut = files_of(run)
    with pytest.raises(UsageError, match=r"recipe\.data\.seed = 1234, it cannot be continued with 5"):
        go_on(root, "mixes/more", new_phase=True, overrides={"data.seed": 5})
    with pytest.raises(UsageError, match="tokenizer = , it cannot be continued with other"):
        go_on(root, "mixes/more", new_phase=True, tokenizer_hash="other")
    shutil.rmtree(root / "shards")
    write_shards(root / "shards", ENTRIES["mixes/more"])
    with pytest.raises(UsageError, match=r"was written again since .* read it from sample 0 on") as error:
        go_on(root, "shards", new_phase=True)
    assert "another name" in error.value.hint
    assert files_of(run) == cut
    shutil.rmtree(root / "shards")
    write_shards(root / "shards", ENTRIES["shards"])
    (newest,) = (run / "checkpoints" / "step-00000004").glob("*.safetensors")
    newest.write_bytes(b"")
    # Its samples after the last whole one were of the first shards, which the record could no longer say.
    with pytest.raises(UsageError, match="step-00000004 is damaged, and has read samples after 16") as error:
        go_on(root, "mixes/more", new_phase=True)
    assert f"rm -r {newest.parent}" in error.value.hint
    shutil.rmtree(newest.parent)
    go_on(root, "mixes/more", until=3, new_phase=True)
    assert read_phases(run).phases[1].first_sample == 16
    for path in (run / "checkpoints").glob("step-*/*.safetensors"):
        path.write_bytes(b"")
    (run / PHASES).unlink()
    go_on(root, "shards")
    with pytest.raises(UsageError, match="has finished its 10 steps"):
        go_on(root, "mixes/more", new_phase=True)
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    for path in (run / "checkpoints").glob("step-*/*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="no whole checkpoint of a step"):
        go_on(root, "mixes/more", new_phase=True)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UsageError, match="no whole checkpoint of a step") as error:
        go_on(root, "mixes/more", new_phase=True)
    assert f"rm -r {run} begins a run with these shards" in error.value.hint
    shutil.rmtree(run)
    with pytest.raises(UsageError, match="has not begun: no phase can follow"):
        go_on(root, "mixes/more", new_phase=True)
    assert not run.exists() or files_of(run) == {}


def test_a_lost_record_is_written_anew_where_there_was_one_phase_only(root, go_on):
    run = root / "runs" / "x"
    go_on(root, "shards", until=5)
    record = (run / PHASES).read_bytes()
    (run / PHASES).unlink()
    go_on(root, "shards", until=6)
    assert (run / PHASES).read_bytes() == record
    go_on(root, "mixes/more", new_phase=True)
    (run / PHASES).unlink()
    with pytest.raises(UsageError, match="was trained with phases = "):
        go_on(root, "mixes/more")
    (run / PHASES).write_bytes(b"{}")
    with pytest.raises(CorruptData, match="not a record of phases") as error:
        go_on(root, "mixes/more")
    assert f"rm {run / PHASES}" in error.value.hint


def test_phases_of_several_lengths_are_no_order(root):
    request = {"samples": 40, "seed": 1, "order": "stateless"}
    first = phase_of(root / "shards/train", sequence_length=8, **request)
    later = phase_of(root / "mixes/more/train", sequence_length=16, **request)
    phases = Phases(phases=(first,)).followed_by(msgspec.structs.replace(later, first_sample=20))
    with pytest.raises(UsageError, match=r"samples of one length, these have \[8, 16\]"):
        PhasedSamples(phases, samples=80)
