"""What a component behind filters was made of is read again too: files of the user's folder, and those in `source/`."""

from __future__ import annotations

import pytest

from pile_toolkit.chain.verify import verify
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.manifest import MANIFEST
from pipelines.download import download
from tests.faults.flips import turn_over

FILTERS = ["length:min_words=4"]


@pytest.fixture
def filtered(tmp_path):
    """A root with two components behind filters: `github` of a folder, `enron-emails` of the sample."""
    with DocumentWriter(tmp_path / "mine" / "github.jsonl.zst") as writer:
        for number in range(20):
            writer.write(f"def function_{number}(): return a number" if number % 3 else "too short", {})
    source = {"default": "sample:", "github": str(tmp_path / "mine")}
    download(tmp_path / "root", components=["github", "enron-emails"], source=source, filters=FILTERS)
    return tmp_path / "root"


def test_the_sources_of_filtered_components_are_read_again(filtered):
    result = verify(filtered)
    assert result.faults == result.stale == []
    # Each component, and its source.
    assert result.stages == 4


def test_a_changed_file_of_the_users_folder_is_named_and_never_touched(filtered):
    mine = filtered.with_name("mine") / "github.jsonl.zst"
    turn_over(mine, 800)
    changed = mine.read_bytes()
    (fault,) = verify(filtered, repair=True).faults
    assert fault.path == str(mine)
    assert fault.fact.startswith("has the hash")
    assert fault.repair == f"restore {mine} from where it came; it lies outside {filtered} and is never written"
    assert mine.read_bytes() == changed


@pytest.mark.parametrize("name", ["00.jsonl.zst", MANIFEST])
def test_a_damaged_source_in_the_root_is_fetched_again_and_nothing_else_changes(filtered, name):
    folder = filtered / "components" / "enron-emails"
    before = {path: hash_file(path) for path in folder.rglob("*.jsonl.zst")}
    (filtered / "resolved.toml").write_text(
        '[download]\ncomponents = ["enron-emails"]\nfilters = { length = { min_words = 4 } }\n'
    )
    turn_over(folder / "source" / name, 8)
    (fault,) = verify(filtered).faults
    assert fault.path == str(folder / "source" / name)
    assert "pile download enron-emails" in fault.repair
    assert verify(filtered, repair=True).faults == []
    assert {path: hash_file(path) for path in folder.rglob("*.jsonl.zst")} == before


def test_a_source_that_was_removed_to_save_its_room_is_no_damage(filtered):
    (filtered / "components" / "enron-emails" / "source" / "00.jsonl.zst").unlink()
    (filtered.with_name("mine") / "github.jsonl.zst").unlink()
    result = verify(filtered)
    assert result.faults == result.stale == []


def test_a_component_that_was_filtered_of_another_source_is_stale(filtered):
    mine, folder = filtered.with_name("mine"), filtered / "components" / "github"
    kept = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with DocumentWriter(mine / "github.jsonl.zst") as writer:
        writer.write("quite another text of many words", {})
    download(filtered, components=["github"], source=str(mine), filters=FILTERS)
    for path, content in kept.items():
        path.write_bytes(content)
    (stale,) = verify(filtered).stale
    assert stale.path == str(folder)
    assert stale.fact == "was made of another 'source' than the one there"
    assert "pile download github" in stale.repair
