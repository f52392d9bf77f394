"""The hours of a run come from a measurement of this machine, which is made once and kept."""

from __future__ import annotations

import math

import msgspec
import pytest

from pile_toolkit.chain import calibration as module
from pile_toolkit.chain import training
from pile_toolkit.chain.calibration import Calibration, calibration, measure, method_name
from pile_toolkit.chain.forecast import plan
from pile_toolkit.chain.hours import SPEEDUP_PER_JOB, stage_hours
from pile_toolkit.chain.training import TrainingSpeed

STAGES = ("download", "dedup", "plan", "corpus", "tokenizer", "shards")
# A machine that takes a second for a megabyte wherever it reads or writes.
SLOW = Calibration(
    processor="an abacus",
    version="1",
    sample_bytes=1_000_000,
    seconds_per_byte=dict.fromkeys(
        ("download", "dedup, exact", "dedup, minhash", "dedup, minhash, verified", "corpus", "tokenizer", "shards"),
        1e-6,
    ),
    merging_s=10.0,
)
WORK = {
    "documents": 1_000_000,
    "text_bytes": 3_600_000_000,
    "copied_bytes": 7_200_000_000,
    "method": "exact",
    "sample_bytes": None,
    "jobs": 1,
}


TRAINS = TrainingSpeed(
    device="an abacus", gpus=0, flop_per_s=1e6, update_s_per_parameter=1e-9, layers=2, hidden_size=64
)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder that nobody has measured into."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "measure", lambda recipe: TRAINS)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def measured():
    """A real measurement on two small components."""
    return measure(("nih-exporter", "enron-emails"))


def test_every_stage_and_method_is_measured_on_this_machine(measured):
    methods = {f"dedup, {method_name(*kind)}" for kind in (("exact", False), ("minhash", False), ("minhash", True))}
    assert set(measured.seconds_per_byte) == {"download", *methods, "corpus", "tokenizer", "shards"}
    # Between 10 GB and 10 kB a second.
    assert all(1e-10 < value < 1e-4 for value in measured.seconds_per_byte.values())
    assert math.isfinite(measured.merging_s)
    assert measured.merging_s >= 0
    # Two components of the sample have some 270,000 bytes, of each of which there are four variants.
    assert measured.sample_bytes == pytest.approx(4 * 270_000, rel=0.5)


def test_a_measurement_is_kept_and_made_again_only_when_asked_for(own_cache, measured, monkeypatch):
    measurements = []

    def count():
        measurements.append(1)
        return measured

    monkeypatch.setattr(module, "measure", count)
    assert calibration("never") is None
    assert calibration("once") == measured
    assert calibration("once") == calibration("never") == measured
    assert len(measurements) == 1
    assert calibration("again") == measured
    assert len(measurements) == 2


def test_a_damaged_measurement_is_made_anew(own_cache, measured, monkeypatch):
    monkeypatch.setattr(module, "measure", lambda: measured)
    calibration("once")
    (kept,) = own_cache.rglob("calibration-*.json")
    kept.write_bytes(kept.read_bytes()[:-20])
    assert calibration("never") is None
    assert calibration("once") == measured


def test_hours_are_bytes_over_speed():
    hours = stage_hours(SLOW, **WORK)
    assert set(hours) == set(STAGES)
    assert {stage: hours[stage] for stage in ("download", "dedup", "shards")} == pytest.approx(
        {"download": 1.0, "dedup": 1.0, "shards": 1.0}
    )
    assert hours["corpus"] == pytest.approx(2.0)
    # Counted in an hour; 3,600 times the text has 3,600 ** 0.7 times the words.
    assert hours["tokenizer"] == pytest.approx(1.0 + 10 * 3600**0.7 / 3600)


def test_more_jobs_take_less_but_for_what_one_process_does():
    one, four = stage_hours(SLOW, **WORK), stage_hours(SLOW, **{**WORK, "jobs": 4})
    assert four["shards"] == pytest.approx(one["shards"] / (1 + 3 * SPEEDUP_PER_JOB))
    assert four["plan"] == one["plan"]


def test_a_tokenizer_trained_on_a_sample_takes_the_time_of_the_sample():
    assert stage_hours(SLOW, **{**WORK, "sample_bytes": 1_000_000})["tokenizer"] == pytest.approx(11 / 3600)


def test_a_plan_without_a_measurement_has_no_hours_and_one_with_it_adds_those_to_do(own_cache, tmp_path, monkeypatch):
    (tmp_path / "pile.toml").write_text('[download]\nfrom = "https://localhost/pile/"\n[dedup]\nmethod = "minhash"\n')
    forecast = plan(tmp_path / "pile.toml")
    assert forecast.hours is None
    assert {row.hours for row in forecast.stages} == {None}
    monkeypatch.setattr(module, "measure", lambda: SLOW)
    forecast = plan(tmp_path / "pile.toml", calibrate="once")
    assert forecast.processor == "an abacus"
    assert forecast.hours == pytest.approx(sum(row.hours for row in forecast.stages))
    # 825 GiB at a megabyte a second.
    assert forecast.stages[0].hours == pytest.approx(825.18 * 2**30 / 1e6 / 3600, rel=0.01)


def test_stages_that_are_there_take_no_more_hours(undisturbed, own_cache, monkeypatch):
    monkeypatch.setattr(module, "measure", lambda: SLOW)
    forecast = plan(undisturbed / "pile.toml", calibrate="once")
    assert forecast.hours == 0
    assert all(row.hours > 0 for row in forecast.stages)


def test_the_command_teaches_how_to_get_hours(pile, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pile.toml").write_text("")
    without = pile("plan", "--no-calibrate", cwd=tmp_path)
    assert "pile plan, which measures this machine once" in without.stdout
    folder = tmp_path / "cache" / module.NAME
    folder.mkdir(parents=True, exist_ok=True)
    (folder / module._kept().name).write_bytes(msgspec.json.encode(SLOW))
    with_hours = pile("plan", cwd=tmp_path)
    assert "on this machine (an abacus), the network aside" in with_hours.stdout
