"""A lock holds all that a corpus depends on: with it the same bytes come again, or what differs is said."""

from __future__ import annotations

import json
import re
import shutil

import msgspec
import pytest
import zstandard

from pile_toolkit.chain.config import load_run_config, write_resolved
from pile_toolkit.chain.lock import encoded, lock, lock_of, read_lock
from pile_toolkit.chain.locked import FREE, LockedRun
from pile_toolkit.chain.run import run
from pile_toolkit.core.documents import DocumentWriter, read_documents
from pile_toolkit.core.errors import CorruptData, TryAgain, UsageError
from pile_toolkit.core.manifest import read_manifest
from tests.chain.small_chain import deterministic_outputs
from tests.making import REPOSITORY, held_by_another_run
from trainer.config import load_recipe


@pytest.fixture(scope="module")
def locked(undisturbed, tmp_path_factory):
    """The lock of the undisturbed run."""
    path = tmp_path_factory.mktemp("lock") / "pile.lock"
    lock(undisturbed / "root", path)
    return path


def changed(locked, folder, change):
    """The lock with something else in it."""
    tables = json.loads(locked.read_text())
    change(tables)
    path = folder / "changed.lock"
    path.write_text(json.dumps(tables))
    return path


def stage_of(tables, folder):
    return next(stage for stage in tables["stages"] if stage["folder"] == folder)


def test_another_root_with_other_jobs_has_the_same_bytes(locked, undisturbed, source, pile, tmp_path):
    done = pile("run", "--locked", locked, "--root", tmp_path / "again", "--from", source, "--jobs", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["warnings"] == []
    before = deterministic_outputs(undisturbed / "root")
    assert {name: value for name, value in deterministic_outputs(tmp_path / "again").items() if "runs" not in name} == {
        name: value for name, value in before.items() if "runs" not in name
    }
    lock(tmp_path / "again", tmp_path / "again.lock")
    assert (tmp_path / "again.lock").read_bytes() == locked.read_bytes()
    # The training as well has the recipe that was locked.
    roots = (undisturbed / "root", tmp_path / "again")
    recipes = [read_manifest(root / "runs" / "debug").key.parameters for root in roots]
    assert recipes[0] == recipes[1]


def test_a_lock_names_no_place_of_this_machine_and_no_moment(locked, undisturbed, source, tmp_path):
    text = locked.read_text()
    for place in (undisturbed, source, undisturbed.resolve()):
        assert str(place) not in text
    moved = shutil.copytree(undisturbed, tmp_path / "moved", symlinks=True)
    assert encoded(lock_of(moved / "root", strict=True)) == locked.read_bytes()
    tables = json.loads(text)
    assert "root" not in tables["config"]
    assert "from" not in tables["config"]["download"]


def test_every_output_up_to_the_shards_is_in_it_by_its_hash(locked, undisturbed):
    tables = json.loads(locked.read_text())
    files = [(stage["folder"], file) for stage in tables["stages"] for file in stage["outputs"]]
    found = {f"{folder}/{file['path']}": file["hash"] for folder, file in files}
    outputs = deterministic_outputs(undisturbed / "root")
    wanted = {name: value for name, value in outputs.items() if "runs" not in name and "stats" not in name}
    assert {name.rpartition("/")[2]: value for name, value in wanted.items()} == {
        name.rpartition("/")[2]: value for name, value in found.items()
    }
    assert len(found) == len(wanted)


def test_secrets_in_addresses_are_masked_and_a_revision_is_kept(undisturbed, tmp_path):
    root = shutil.copytree(undisturbed / "root", tmp_path / "root")
    sources = {
        "github": {"from": "https://me:hunter2@host/pile?token=hunter3"},
        "dm-mathematics": {"from": "hf://owner/name", "revision": "abc123", "split": "train"},
    }
    for slug, source in sources.items():
        manifest = root / "components" / slug / "manifest.json"
        tables = json.loads(manifest.read_text())
        tables["key"]["parameters"] |= source
        manifest.write_text(json.dumps(tables))
        (manifest.parent / "timings.json").unlink()
    made = encoded(lock_of(root)).decode()
    assert "hunter" not in made
    assert json.loads(made)["config"]["download"]["from"] == {
        "github": "https://***@host/pile?token=***",
        "dm-mathematics": "hf://owner/name@abc123?split=train",
    }


def test_a_changed_input_is_said_before_anything_runs(locked, source, pile, tmp_path):
    folder = shutil.copytree(source, tmp_path / "source")
    documents = list(read_documents(folder / "enron-emails.jsonl.zst"))
    with DocumentWriter(folder / "enron-emails.jsonl.zst") as writer:
        for number, document in enumerate(documents):
            writer.write(document.text + " Yours" * (number == 17), document.meta)
    done = pile("run", "--locked", locked, "--root", tmp_path / "again", "--from", folder)
    assert done.returncode == 4
    assert "enron-emails.jsonl.zst" in done.stderr
    assert "the corpus would be another one" in done.stderr
    assert not (tmp_path / "again").exists()


def test_inputs_that_are_gone_or_new_or_of_another_length_are_said(locked, source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "source")
    (folder / "github.jsonl.zst").unlink()
    overrides = {"download.from": str(folder), "root": str(tmp_path / "again")}
    with pytest.raises(CorruptData, match=r"github.jsonl.zst was there and is not now"):
        LockedRun(locked, overrides).check()
    (folder / "github").mkdir()
    shutil.copy(source / "github.jsonl.zst", folder / "github")
    LockedRun(locked, overrides).check()
    shutil.copy(source / "github.jsonl.zst", folder / "github" / "more.jsonl.zst")
    with pytest.raises(CorruptData, match=r"more.jsonl.zst was not there"):
        LockedRun(locked, overrides).check()
    (folder / "github" / "more.jsonl.zst").unlink()
    with (folder / "github" / "github.jsonl.zst").open("ab") as file:
        file.write(zstandard.compress(b'{"text": "one more"}\n'))
    with pytest.raises(CorruptData, match=r"github.jsonl.zst has [\d,]+ bytes and had [\d,]+"):
        LockedRun(locked, overrides).check()


def test_another_version_is_a_warning_and_so_is_another_format(locked, source, pile, tmp_path):
    def older(tables):
        tables["versions"]["pyarrow"] = "1.0"
        stage_of(tables, "plan")["format"] = 77

    path = changed(locked, tmp_path, older)
    done = pile("run", "--locked", path, "--root", tmp_path / "again", "--from", source, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "warning: pyarrow is" in done.stdout
    assert "and was 1.0" in done.stdout
    assert "build writes format" in done.stdout
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tables: None, "nothing that is recorded differs"),
        (lambda tables: tables["versions"].update(pyarrow="1.0"), r"most likely because of pyarrow .* \(was 1.0\)"),
        (lambda tables: stage_of(tables, "dedup").update(format=77), "its format is .* and was 77"),
        (lambda tables: stage_of(tables, "dedup")["parameters"].update(method="none"), "parameter method is 'exact'"),
    ],
)
def test_a_file_that_comes_out_otherwise_ends_the_run_with_its_stage_and_the_likely_reason(
    locked, source, tmp_path, change, said
):
    def other(tables):
        stage = stage_of(tables, "dedup")
        stage["outputs"][-1]["hash"] = "0" * 32
        change(tables)

    path = changed(locked, tmp_path, other)
    overrides = {"root": str(tmp_path / "again"), "download.from": str(source)}
    with pytest.raises(CorruptData, match=rf"documents.parquet has the hash .* dedup did not make what .*{said}"):
        run(locked=path, overrides=overrides, jobs=1)
    assert not (tmp_path / "again" / "plan").exists()


def test_files_that_are_missing_or_too_many_differ_too(locked, source, undisturbed, tmp_path):
    overrides = {"root": str(undisturbed / "root"), "download.from": str(source)}

    def more(tables):
        stage_of(tables, "corpus")["outputs"].append({"path": "zz.jsonl.zst", "bytes": 1, "hash": "0" * 32})

    with pytest.raises(CorruptData, match=r"zz.jsonl.zst was not written"):
        LockedRun(changed(locked, tmp_path, more), overrides).after("build")

    def fewer(tables):
        del stage_of(tables, "corpus")["outputs"][0]

    with pytest.raises(CorruptData, match="was written as well"):
        LockedRun(changed(locked, tmp_path, fewer), overrides).after("build")
    for step in ("download", "dedup", "build", "tokenizer", "shards"):
        LockedRun(locked, overrides).after(step)


def test_what_a_lock_fixes_cannot_be_typed_and_what_it_lacks_is_asked_for(locked, pile, tmp_path):
    for arguments, said in (
        (("--seed", "3"), "seed is fixed by"),
        (("--steps", "3"), "train.steps is fixed by"),
        ((), "names no source of documents"),
    ):
        done = pile("run", "--locked", locked, "--root", tmp_path / "again", *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    done = pile("run", "pile.toml", "--locked", locked, cwd=tmp_path)
    assert (done.returncode, "has its own configuration" in done.stderr) == (2, True)
    with pytest.raises(UsageError, match="one of them"):
        run()
    assert {"root", "download.from"} <= set(FREE)


def test_the_configuration_is_that_of_the_manifests_where_stages_were_run_by_hand(undisturbed, tmp_path):
    root = shutil.copytree(undisturbed / "root", tmp_path / "root")
    whole = lock_of(root).config
    (root / "resolved.toml").unlink()
    bare = lock_of(root).config
    del whole["train"]
    assert bare == whole
    assert (bare["seed"], bare["build"]["train_shards"], bare["tokenizer"]["vocab_size"]) == (7, 3, 1500)
    assert list(bare["build"]["weights"]) == list(read_manifest(root / "plan").key.parameters["weights"])


def test_a_recipe_of_ones_own_is_in_the_lock_and_its_path_is_not(undisturbed, source, tmp_path):
    config = load_run_config(undisturbed / "pile.toml")
    root = shutil.copytree(undisturbed / "root", tmp_path / "root")
    stands = (REPOSITORY / "trainer" / "recipes" / "debug.toml").read_text()
    (tmp_path / "mine.toml").write_text(re.sub(r"(?m)^layers = \d+", "layers = 3", stands))
    table = msgspec.structs.replace(config.train, recipe=str(tmp_path / "mine.toml"), set={}, name=None)
    write_resolved(root, msgspec.structs.replace(config, train=table))
    lock(root, tmp_path / "pile.lock")
    assert str(tmp_path) not in (tmp_path / "pile.lock").read_text()
    train = LockedRun(tmp_path / "pile.lock", {"download.from": str(source)}).config.train
    assert train.run_name == "mine"
    assert load_recipe(train.recipe, train.set) == load_recipe(tmp_path / "mine.toml")


def test_what_cannot_be_locked_or_is_no_lock_is_said(undisturbed, tmp_path):
    with pytest.raises(UsageError, match="holds no finished stage"):
        lock(tmp_path / "empty", tmp_path / "pile.lock")
    with held_by_another_run(tmp_path / "busy"), pytest.raises(TryAgain, match="in use"):
        lock(tmp_path / "busy", tmp_path / "pile.lock")
    root = shutil.copytree(undisturbed / "root", tmp_path / "root")
    shutil.rmtree(root / "components" / "github")
    with pytest.raises(UsageError, match="was made of 'github', which is no longer there"):
        lock(root, tmp_path / "pile.lock")
    (root / "dedup" / "manifest.json").write_text("{")
    with pytest.raises(CorruptData, match="not a manifest that can be read"):
        lock(root, tmp_path / "pile.lock")
    assert not (tmp_path / "pile.lock").exists()
    for content in ("", "{}", '{"format": 1}', "[" * 1000):
        (tmp_path / "bad.lock").write_text(content)
        with pytest.raises(CorruptData, match="not a lock file of this version"):
            read_lock(tmp_path / "bad.lock")
    (tmp_path / "new.lock").write_text('{"format": 2, "versions": {}, "config": {}, "stages": []}')
    with pytest.raises(CorruptData, match="a lock of format 2"):
        read_lock(tmp_path / "new.lock")
    with pytest.raises(UsageError, match="there is no lock file"):
        read_lock(tmp_path / "none.lock")
