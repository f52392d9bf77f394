"""Outcomes become a record that survives an interruption, and a page that hides nothing."""

from __future__ import annotations

import re

from tests.faults import campaign, reliability
from tests.faults.outcome import Lost, Outcome, judged


def outcome(kind, stage, seed, *, passed=True, fact="all held", skipped=False):
    return Outcome(kind=kind, stage=stage, seed=seed, passed=passed, fact=fact, elapsed_s=2.0, skipped=skipped)


def test_the_record_keeps_every_outcome_and_the_last_of_a_repeated_case(tmp_path):
    record = tmp_path / "new" / "record.jsonl"
    for one in (outcome("kill", "dedup", 1, passed=False), outcome("disk", "plan", 0), outcome("kill", "dedup", 1)):
        reliability.append(record, one)
    with record.open("ab") as file:
        file.write(b'{"kind":"kill","stage":"ded')
    assert reliability.read(record) == [outcome("kill", "dedup", 1), outcome("disk", "plan", 0)]
    assert reliability.read(tmp_path / "none.jsonl") == []


def test_the_page_counts_what_was_tried_and_names_what_failed(tmp_path):
    outcomes = [
        outcome("kill", "dedup", 0),
        outcome("kill", "plan", 1, passed=False, fact="other bytes\nin plan/plan.parquet"),
        outcome("kill", "dedup", 2),
        outcome("worker", "killed for memory", 0, passed=False, skipped=True, fact="no limit can be set"),
    ]
    page = reliability.page(outcomes, "make campaign", date="2026-01-01")
    assert "4 cases in 0 minutes of work: 2 passed, 1 failed, 1 could not run" in page
    assert "| dedup | 2 | 2 | 0 | 0 | 2.0 |" in page
    assert "| plan | 1 | 0 | 1 | 0 | 2.0 |" in page
    assert "| **all** | 3 | 2 | 1 | 0 | 2.0 |" in page
    assert "- `--only kill:1` (plan): other bytes in plan/plan.parquet" in page
    assert "- `--only worker:0` (killed for memory): no limit can be set" in page
    assert re.search(r"Machine: \d+ CPUs, \d+ GiB of memory, Python 3\.", page)


def test_a_campaign_spreads_its_kinds_so_that_an_interrupted_one_has_tried_all():
    options = campaign.parse(["--kills", "30", "--disks", "10", "--flips", "20", "--workers", "10"])
    cases = campaign.cases_of(options)
    assert len(cases) == len(set(cases)) == 70
    assert {kind for kind, _ in cases[:10]} == {"kill", "disk", "flip", "worker"}
    assert campaign.cases_of(campaign.parse(["--only", "kill:17"])) == [("kill", 17)]


def test_a_case_that_breaks_is_a_failure_with_its_fact_and_ends_nothing():
    def lost():
        raise Lost("other bytes")

    def broken():
        raise ZeroDivisionError("by zero")

    assert (judged("kill", "plan", 3, lost).passed, judged("kill", "plan", 3, lost).fact) == (False, "other bytes")
    assert judged("kill", "plan", 3, broken).fact == "ZeroDivisionError: by zero"
    assert judged("kill", "plan", 3, lambda: "held").passed
