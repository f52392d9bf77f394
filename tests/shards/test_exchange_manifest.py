"""An export says what it was made of and what its bytes are; one that was changed since is not taken back unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xxhash

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.manifest import StageKey, describe, publish
from shards.dataset import TokenDataset
from shards.exchange import FORMATS, export_shards, import_shards
from shards.exchange.manifest import export_manifest_path

END = 99
DOCUMENTS = [[5, 6, END], [END], [1, 2, 3, END], [300, 7, 65_000, END]]
ENTRIES = [2, 0, 3, 2, 1, 0]


def import_of(source, target, name):
    return import_shards(source, target, format=name, end_of_text=END)


def exported_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".manifest.json"))


@pytest.mark.parametrize("name", FORMATS)
def test_the_manifest_names_every_file_of_an_export_with_its_hash(write_documents, tmp_path, name):
    written = write_documents(DOCUMENTS, ENTRIES)
    result = export_shards(written.prefix, tmp_path / "out", to=name)
    path = export_manifest_path(tmp_path / "out")
    assert result.pairs[0].files[-1] == str(path)
    manifest = json.loads(path.read_text())
    expected = {
        str(file.relative_to(tmp_path)): (file.stat().st_size, xxhash.xxh3_128_hexdigest(file.read_bytes()))
        for file in exported_files(tmp_path)
    }
    assert {one["path"]: (one["bytes"], one["hash"]) for one in manifest["outputs"]} == expected
    assert manifest["counts"] == {"sequences": 6, "tokens": sum(map(len, written.sequences))}
    assert manifest["key"]["parameters"] == {"split": "train", "to": name, "keep_pointers": False}
    assert manifest["key"]["inputs"] == {"shards": TokenDataset(written.prefix).hash}


@pytest.mark.parametrize("name", FORMATS)
def test_a_changed_byte_of_any_file_of_an_export_is_refused_on_import(write_documents, tmp_path, name):
    export_shards(write_documents(DOCUMENTS, ENTRIES).prefix, tmp_path / "out", to=name)
    said = import_of(tmp_path / "out", tmp_path / "back", name).said
    files = exported_files(tmp_path)
    assert any("files are as they were exported" in fact for fact in said)
    for file in [file for file in files if not file.name.startswith("back")]:
        sound = file.read_bytes()
        for changed, says in ((sound[:-1] + bytes([sound[-1] ^ 1]), "has the hash"), (sound + b"\0", "bytes, ")):
            file.write_bytes(changed)
            with pytest.raises(CorruptData, match=says) as error:
                import_of(tmp_path / "out", tmp_path / "again", name)
            assert str(file) in str(error.value)
        file.unlink()
        with pytest.raises(CorruptData, match="is missing"):
            import_of(tmp_path / "out", tmp_path / "again", name)
        file.write_bytes(sound)
    assert not list(tmp_path.glob("again*"))
    assert import_of(tmp_path / "out", tmp_path / "again", name).pairs[0].sequences == len(ENTRIES)


def test_shards_of_a_stage_are_named_by_their_manifest_and_their_tokenizer_goes_along(write_documents, tmp_path):
    prefix = write_documents(DOCUMENTS, ENTRIES).prefix
    outputs = [describe(prefix.parent, path) for path in sorted(prefix.parent.iterdir())]
    counts = {"vocab_size": 65_001, "tokenizer": "ab12"}
    made = publish(prefix.parent, StageKey(stage="shards", format=1), outputs=outputs, counts=counts, started_at=0.0)
    export_shards(prefix, tmp_path / "out", to="neox")
    manifest = json.loads(export_manifest_path(tmp_path / "out").read_text())
    assert manifest["key"]["inputs"] == {"shards": made.digest()}
    assert manifest["counts"].items() >= counts.items()


def test_every_split_of_a_folder_has_a_manifest_and_the_same_export_the_same(write_documents, tmp_path):
    shards = write_documents(DOCUMENTS, ENTRIES).prefix.parent
    for suffix in (".bin", ".idx"):
        (shards / f"val{suffix}").write_bytes((shards / f"train{suffix}").read_bytes())
    for name in ("a", "b"):
        export_shards(shards, tmp_path / name, to="dolma")
    for split in ("train", "val"):
        first, second = (tmp_path / name / f"{split}.manifest.json" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    # By the name of either file, what stands beside both is found.
    for number, ending in enumerate((".npy", ".csv.gz", "")):
        back = import_of(tmp_path / "a" / f"train{ending}", tmp_path / f"back{number}", "dolma")
        assert back.pairs[0].provenance


def test_what_was_removed_and_exported_again_is_not_held_against_the_old_manifest(write_documents, tmp_path):
    out = tmp_path / "out.bin"
    export_shards(write_documents(DOCUMENTS).prefix, out, to="nanogpt")
    out.unlink()
    export_shards(write_documents(DOCUMENTS[:2]).prefix, out, to="nanogpt")
    assert import_of(out, tmp_path / "back", "nanogpt").pairs[0].sequences == 2


@pytest.mark.parametrize("name", ["../out.bin", "/etc/hostname", "a//out.bin", ""])
def test_a_manifest_that_names_files_elsewhere_is_refused(write_documents, tmp_path, name):
    out = tmp_path / "out.bin"
    export_shards(write_documents(DOCUMENTS).prefix, out, to="nanogpt")
    path = export_manifest_path(out)
    manifest = json.loads(path.read_text())
    manifest["outputs"][0]["path"] = name
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorruptData, match="not beside it"):
        import_of(out, tmp_path / "back", "nanogpt")
    path.write_text("[]")
    with pytest.raises(CorruptData, match="a manifest of an export"):
        import_of(out, tmp_path / "back", "nanogpt")
    path.unlink()
    assert import_of(Path(out), tmp_path / "back", "nanogpt").pairs[0].sequences == len(DOCUMENTS)
