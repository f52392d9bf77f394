"""A stage's result is the same object whether it ran now or earlier."""

import msgspec
import pytest

from pile_toolkit.core.manifest import StageKey, publish, read_manifest
from pile_toolkit.core.stages import StageResult, stage_result


class Built(StageResult, frozen=True, kw_only=True):
    documents: int
    by_slug: dict[str, int]


def test_the_counts_of_the_manifest_are_the_fields_of_the_result(tmp_path):
    counts = {"documents": 3, "by_slug": {"arxiv": 3}}
    now = publish(tmp_path, StageKey(stage="build", format=1), outputs=[], counts=counts, started_at=0.0)
    ran = stage_result(Built, tmp_path, now, up_to_date=False)
    assert ran == Built(folder=str(tmp_path), up_to_date=False, documents=3, by_slug={"arxiv": 3})
    earlier = stage_result(Built, tmp_path, read_manifest(tmp_path), up_to_date=True)
    assert earlier == msgspec.structs.replace(ran, up_to_date=True)


def test_counts_of_another_shape_are_refused(tmp_path):
    manifest = publish(tmp_path, StageKey(stage="build", format=1), outputs=[], counts={}, started_at=0.0)
    with pytest.raises(msgspec.ValidationError, match="documents"):
        stage_result(Built, tmp_path, manifest, up_to_date=True)
