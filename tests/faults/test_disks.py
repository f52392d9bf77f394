"""The disk is full in the middle of every stage: exit code 5, where and how much, and it completes with room."""

from __future__ import annotations

import pytest

from tests.faults.disks import STAGES, fill_stage
from tests.faults.outcome import require

# Room for half of what the stage needs: some is written already, some is not.
HALF = 0.5


# Both passes of the corpus are tests of their own, in tests/pipelines; the campaign has these, too.
CAMPAIGN_ONLY = ("plan, copies moved", "corpus, pass 1", "corpus, pass 2", "lock", "diff")
FEW = [stage for stage in STAGES if stage not in CAMPAIGN_ONLY]
# Of many phases, each of which would start its workers: what a worker says of a full disk, the other stages show.
ALONE = ("minhash", "against")


@pytest.mark.parametrize("stage", FEW)
def test_a_stage_on_a_full_disk_says_what_is_missing_and_completes_with_room(ground, stage):
    require(fill_stage(ground, stage, HALF, jobs=1 if stage in ALONE else 2))


@pytest.mark.parametrize("stage", ["dedup", "mix"])
def test_a_disk_that_is_full_before_the_first_byte_is_named_as_well(ground, stage):
    require(fill_stage(ground, stage, 0.0))
