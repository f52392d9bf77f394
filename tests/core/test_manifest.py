"""No manifest, no output; with one, a changed input, parameter or file is seen, and a mere touch is not a change."""

import json
import os
import shutil

import msgspec
import pytest

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import (
    MANIFEST,
    TIMINGS,
    StageKey,
    current_manifest,
    describe,
    publish,
    put_back,
    read_manifest,
    read_timings,
    withdraw,
)

PARAMETERS = {"seed": 1, "sizes": (1, 2), "table": {"x": 0.5}}
KEY = StageKey(stage="stage", format=1, inputs={"a": "00"}, parameters=PARAMETERS)
COUNTS = {"documents": 2, "by": {"b": 1, "a": 1}}


@pytest.fixture
def folder(tmp_path):
    """A finished stage: two files, one of them in a folder below."""
    return finished(tmp_path / "stage")


def finished(folder, *, started_at=1.0):
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "00.txt").write_text("zero")
    (folder / "val.txt").write_text("value")
    return republish(folder, started_at=started_at)


def republish(folder, *, paths=None, started_at=1.0, key=KEY):
    paths = [folder / "val.txt", folder / "train" / "00.txt"] if paths is None else paths
    publish(folder, key, outputs=[describe(folder, path) for path in paths], counts=COUNTS, started_at=started_at)
    return folder


def rewrite(path, text):
    """Other content with another modification time, whatever the clock's resolution."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_published_stage_is_current_and_says_what_it_is(folder):
    manifest = current_manifest(folder, KEY)
    assert manifest == read_manifest(folder)
    assert manifest.counts == COUNTS
    assert [(output.path, output.bytes, output.hash) for output in manifest.outputs] == [
        (name, (folder / name).stat().st_size, hash_file(folder / name)) for name in ("train/00.txt", "val.txt")
    ]


def test_without_a_manifest_there_is_no_output(folder, tmp_path):
    withdraw(folder)
    assert (folder / "val.txt").exists()
    assert current_manifest(folder, KEY) is None
    assert read_manifest(tmp_path / "nowhere") is None
    assert read_timings(tmp_path / "nowhere") is None
    withdraw(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "other"},
        {"format": 2},
        {"inputs": {"a": "01"}},
        {"inputs": {"a": "00", "b": "00"}},
        {"parameters": {**KEY.parameters, "seed": 2}},
        {"parameters": {**KEY.parameters, "sizes": (1, 2, 3)}},
        {"parameters": {"seed": 1}},
    ],
)
def test_another_key_is_not_current(folder, change):
    assert current_manifest(folder, msgspec.structs.replace(KEY, **change)) is None


def test_the_order_of_parameters_is_no_part_of_the_key(folder):
    other = msgspec.structs.replace(KEY, parameters=dict(reversed(KEY.parameters.items())))
    assert other.digest() == KEY.digest()
    assert current_manifest(folder, other)


def test_a_file_that_is_gone_shorter_or_different_is_not_current(folder):
    rewrite(folder / "val.txt", "VALUE")
    assert current_manifest(folder, KEY) is None
    rewrite(folder / "val.txt", "valu")
    assert current_manifest(folder, KEY) is None
    (folder / "val.txt").unlink()
    assert current_manifest(folder, KEY) is None
    (folder / "val.txt").mkdir()
    assert current_manifest(folder, KEY) is None
    (folder / "val.txt").rmdir()
    (folder / "val.txt").write_text("value")
    assert current_manifest(folder, KEY)


def test_a_touched_file_is_current(folder):
    os.utime(folder / "val.txt", ns=(1, 1))
    assert current_manifest(folder, KEY)


def test_a_copied_folder_is_read_again_once(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    path = copy / "val.txt"
    os.utime(path, ns=(5, 5))
    manifest, before = (copy / MANIFEST).read_bytes(), read_timings(copy)
    assert current_manifest(copy, KEY) is not None
    # What was learned of its time is trusted from now on: content that differs at that time is not looked at.
    path.write_text("VALUE")
    os.utime(path, ns=(5, 5))
    assert current_manifest(copy, KEY) is not None
    assert (copy / MANIFEST).read_bytes() == manifest
    assert msgspec.structs.replace(read_timings(copy), modified_ns=before.modified_ns) == before
    os.utime(path, ns=(6, 6))
    assert current_manifest(copy, KEY) is None


def test_a_file_is_trusted_by_size_and_time_alone(folder):
    """What makes the check take milliseconds; a change that keeps both is for `pile verify` to find."""
    times = (folder / "val.txt").stat()
    (folder / "val.txt").write_text("VALUE")
    os.utime(folder / "val.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert current_manifest(folder, KEY)
    # Without the times only the content is left to judge by.
    (folder / TIMINGS).unlink()
    assert current_manifest(folder, KEY) is None
    (folder / "val.txt").write_text("value")
    assert current_manifest(folder, KEY)


def test_a_moved_root_is_current(folder, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved, copy_function=shutil.copyfile)
    assert current_manifest(moved, KEY) == current_manifest(folder, KEY)


def test_two_publications_differ_in_their_timings_only(folder, tmp_path):
    other = finished(tmp_path / "other", started_at=2.0)
    os.utime(other / "val.txt", ns=(1, 1))
    republish(other, paths=[other / "train" / "00.txt", other / "val.txt"], started_at=3.0)
    assert (other / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()
    assert (other / TIMINGS).read_bytes() != (folder / TIMINGS).read_bytes()
    timings = read_timings(other)
    assert timings.process == os.getpid()
    assert timings.elapsed_s == pytest.approx(timings.finished_at - 3.0, abs=0.001)


def test_no_time_host_or_process_stands_in_the_manifest(folder):
    assert set(json.loads((folder / MANIFEST).read_bytes())) == {"key", "outputs", "counts"}


def test_an_outside_file_counts_by_name_and_content_wherever_it_lies(tmp_path):
    digests = set()
    for place in ("here", "there"):
        outside = tmp_path / place / "00.jsonl.zst"
        outside.parent.mkdir()
        outside.write_text("the same")
        stage = tmp_path / f"stage-{place}"
        republish(stage, paths=[outside])
        manifest = current_manifest(stage, KEY)
        assert manifest.outputs[0].path == str(outside)
        digests.add(manifest.digest())
    assert len(digests) == 1
    rewrite(outside, "THE SAME")
    assert current_manifest(stage, KEY) is None
    assert republish(stage, paths=[outside])
    assert read_manifest(stage).digest() not in digests


def test_the_digest_tells_names_and_contents_apart_and_nothing_else(folder, tmp_path):
    digest = read_manifest(folder).digest()
    republish(folder, key=StageKey(stage="other", format=7))
    assert read_manifest(folder).digest() == digest
    (folder / "val.txt").rename(folder / "test.txt")
    republish(folder, paths=[folder / "test.txt", folder / "train" / "00.txt"])
    assert read_manifest(folder).digest() != digest


def test_outside_files_may_lie_in_any_order_of_folders(tmp_path):
    digests = set()
    for stage, places in (("one", ("x", "y")), ("two", ("y", "x"))):
        paths = [tmp_path / stage / place / f"{number}.txt" for number, place in enumerate(places)]
        for number, path in enumerate(paths):
            path.parent.mkdir(parents=True)
            path.write_text(str(number))
        republish(tmp_path / f"stage-{stage}", paths=paths)
        digests.add(read_manifest(tmp_path / f"stage-{stage}").digest())
    assert len(digests) == 1


def test_a_manifest_that_was_put_back_is_the_one_that_was_withdrawn(folder):
    before, manifest = (folder / MANIFEST).read_bytes(), read_manifest(folder)
    withdraw(folder)
    assert current_manifest(folder, KEY) is None
    put_back(folder, manifest)
    assert (folder / MANIFEST).read_bytes() == before
    assert current_manifest(folder, KEY) == manifest


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 1}', b"\xff", b"[" * 100_000])
@pytest.mark.parametrize(("name", "read"), [(MANIFEST, read_manifest), (TIMINGS, read_timings)])
def test_a_damaged_file_is_named_with_what_to_type(folder, name, read, damage):
    (folder / name).write_bytes(damage)
    with pytest.raises(CorruptData) as error:
        read(folder)
    assert str(folder / name) in error.value.message
    assert error.value.hint == f"rm {folder / name}"
    with pytest.raises(CorruptData):
        current_manifest(folder, KEY)


def test_a_manifest_with_one_letter_less_is_corrupt_wherever_it_is_missing(folder):
    whole = (folder / MANIFEST).read_bytes()
    for end in range(len(whole) - 2):
        (folder / MANIFEST).write_bytes(whole[:end])
        with pytest.raises(CorruptData):
            read_manifest(folder)
