"""Options mean the same everywhere: a file gives defaults, typing wins, a dry run tells what is there."""

from __future__ import annotations

import json
import os
import pty
import subprocess

import click
import pytest

from pile_toolkit.cli.main import cli
from tests.chain.small_chain import DOCUMENTS, pile_command, process_environment
from tests.cli.test_main import every_command


def test_every_command_takes_its_root_from_a_configuration_file():
    for path, command in every_command(cli, click.Context(cli)):
        names = {option.name for option in command.params}
        if "root" in names and path[0] not in ("run", "plan"):
            assert "config" in {option.name for option in command.params}, path


def test_of_a_configuration_a_command_takes_its_own_table_only(pile, undisturbed):
    config = undisturbed / "pile.toml"
    # The file has a table [tokenizer], and `shards write` an option of that name.
    written = pile("shards", "write", "--config", config, "--json")
    assert json.loads(written.stdout)["up_to_date"], written.stderr
    stats = pile("shards", "stats", "--config", config)
    assert stats.returncode == 0, stats.stderr
    assert "sequences" in stats.stdout


def test_download_takes_components_and_sources_from_a_configuration(pile, undisturbed):
    report = json.loads(pile("download", "--config", undisturbed / "pile.toml", "--dry-run", "--json").stdout)
    assert report["parameters"] == {"components": list(DOCUMENTS), "from": str(undisturbed / "source")}
    typed = json.loads(pile("download", "github", "--config", undisturbed / "pile.toml", "--dry-run", "--json").stdout)
    assert typed["parameters"]["components"] == ["github"]


def test_tables_of_a_configuration_reach_the_command_as_tables(pile, tmp_path):
    (tmp_path / "pile.toml").write_text(
        '[download]\ncomponents = ["arxiv"]\nfrom = { default = "sample:" }\n[build.weights]\narxiv = 1.5\n'
    )
    downloaded = pile("download", "--config", "pile.toml", "--dry-run", "--json", cwd=tmp_path)
    assert json.loads(downloaded.stdout)["parameters"]["from"] == {"default": "sample:"}
    built = pile("build", "--config", "pile.toml", "--dry-run", "--json", cwd=tmp_path)
    assert json.loads(built.stdout)["parameters"]["weights"] == {"arxiv": 1.5}


def test_train_takes_recipe_steps_and_keys_from_a_configuration_and_typed_keys_are_added(pile, undisturbed):
    done = pile("train", "--config", undisturbed / "pile.toml", "--set", "model.layers=2", "--dry-run", "--json")
    parameters = json.loads(done.stdout)["parameters"]
    assert parameters["recipe"] == "debug"
    assert parameters["steps"] == 12
    assert parameters["model.layers"] == "2"
    assert parameters["model.hidden_size"] == 32


def test_run_and_plan_follow_the_root_of_the_environment_and_typing_wins(undisturbed, configure, tmp_path):
    config = configure(tmp_path)

    def planned(*arguments, root):
        command = pile_command(["plan", config, "--json", *arguments])
        environment = {**process_environment(), "PILE_ROOT": root}
        return json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)["root"]

    assert planned(root=str(undisturbed / "root")) == str(undisturbed / "root")
    assert planned("--root", "typed", root=str(undisturbed / "root")) == "typed"
    assert planned(root="") == str(tmp_path / "root")


def test_a_dry_run_says_what_stands_there_and_how_it_differs(pile, undisturbed):
    root = undisturbed / "root"
    other = pile(
        "build", "--seed", "8", "--val-share", "0.1", "--test-share", "0.1", "--dry-run", "--root", root
    ).stdout
    assert other.splitlines()[1] == f"would write {root / 'plan'}: what is there was made with seed 7"
    same = pile("tokenizer", "train", "--vocab-size", "1500", "--dry-run", "--root", root).stdout
    assert same.splitlines()[1].endswith("there already, kept if nothing changed")
    here = pile("download", "--all", "--dry-run", "--root", root).stdout
    assert set(here.splitlines()[1].partition("there already: ")[2].split(", ")) == set(DOCUMENTS)


def test_a_stage_with_nothing_to_do_says_so_beside_its_result(pile, undisturbed):
    done = pile("dedup", "--root", undisturbed / "root")
    assert done.stderr == "up to date: there was nothing to do\n"
    assert "documents kept" in done.stdout


@pytest.mark.parametrize("ending", [".bin", ".idx", ".docs.arrow"])
def test_shards_may_be_named_by_one_of_their_files(pile, undisturbed, ending):
    prefix = undisturbed / "root" / "shards" / "val"
    by_file = pile("shards", "stats", f"{prefix}{ending}", "--json")
    assert by_file.stdout == pile("shards", "stats", prefix, "--json").stdout


def test_decoded_text_goes_into_a_pipe_without_a_byte_more(undisturbed):
    root = undisturbed / "root"
    text = "def main():\n        return 'na\u00efve'  "
    for end in ("", "\n", "\n\n"):
        ids = subprocess.run(
            pile_command(["tokenizer", "encode", "--root", root]), input=(text + end).encode(), capture_output=True
        )
        back = subprocess.run(
            pile_command(["tokenizer", "decode", "--root", root]), input=ids.stdout, capture_output=True
        )
        assert back.stdout.decode() == text + end


@pytest.mark.parametrize(("no_color", "shown"), [("1", "a| b"), ("", "\x1b[")])
def test_on_a_terminal_tokens_have_colours_unless_nobody_wants_them(undisturbed, no_color, shown):
    leader, follower = pty.openpty()
    with open(leader, "rb", buffering=0) as screen:
        command = pile_command(["tokenizer", "show", "a b", "--root", undisturbed / "root"])
        environment = {**process_environment(), "NO_COLOR": no_color}
        subprocess.run(command, stdout=follower, check=True, env=environment)
        os.close(follower)
        text = os.read(screen.fileno(), 1 << 16).decode()
    assert shown in text
    assert ("\x1b[" in text) == (no_color == "")


def test_two_tokenizers_of_one_file_name_are_told_apart(pile, undisturbed, tmp_path):
    file = undisturbed / "root" / "tokenizer" / "tokenizer.json"
    (tmp_path / "tokenizer.json").write_bytes(file.read_bytes())
    done = pile("tokenizer", "compare", file, tmp_path / "tokenizer.json", "--root", undisturbed / "root")
    assert done.stdout.splitlines()[:2] == [f"(1) {file}", f"(2) {tmp_path / 'tokenizer.json'}"]
    assert "tokens (1)" in done.stdout
    assert "tokens (2)" in done.stdout


def test_an_export_takes_the_tokenizer_of_the_root_that_its_run_lies_in(pile, undisturbed, tmp_path):
    root = undisturbed / "root"
    done = pile("export", root / "runs" / "debug", tmp_path / "model", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = (root / "tokenizer" / "tokenizer.json").read_bytes()
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == expected


def test_an_export_refuses_a_tokenizer_that_the_model_was_not_trained_with(pile, undisturbed, tmp_path):
    other = tmp_path / "other.json"
    trained = json.loads((undisturbed / "root" / "tokenizer" / "tokenizer.json").read_text())
    trained["model"]["merges"].pop()
    other.write_text(json.dumps(trained))
    run = undisturbed / "root" / "runs" / "debug"
    done = pile("export", run, tmp_path / "model", "--tokenizer", other)
    assert done.returncode in (2, 4), done.stderr
    missing = pile("export", run, tmp_path / "model", "--tokenizer", tmp_path / "nowhere.json")
    assert missing.returncode == 2
    assert not (tmp_path / "model").exists()
