"""The front door: help that teaches and answers at once, errors of one sentence, exit codes from their class."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import click
import pytest

from pile_toolkit.cli.main import COMMANDS, PACKAGES, cli
from tests.chain.small_chain import pile_command, process_environment
from tests.making import REPOSITORY
from trainer.config import recipe_names

HEAVY = ["numpy", "numba", "pyarrow", "torch", "tokenizers", "datasets", "dask", "datasketch", "httpx2", "rich"]


def every_command(group: click.Group, context: click.Context, path: tuple[str, ...] = ()):
    """(path, command) of every command and subcommand."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, context, (*path, name))


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from pile_toolkit.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, imported = done.stdout.splitlines()
    assert imported == "[]"
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", "\n".join(text), re.MULTILINE)


def test_every_command_has_help_and_options_are_spelled_the_same_everywhere():
    spelled: dict[str, set[str]] = {}
    context = click.Context(cli)
    for path, command in every_command(cli, context):
        assert command.get_short_help_str(), path
        for option in command.params:
            if isinstance(option, click.Option):
                spelled.setdefault(option.name or "", set()).update(option.opts)
                assert option.help or option.hidden, (path, option.opts)
    for name in ("root", "seed", "jobs", "scheduler", "dry_run", "config"):
        assert spelled[name] == {f"--{name.replace('_', '-')}"}
    assert spelled["as_json"] == {"--json"}


def test_every_command_prints_json_and_those_that_write_have_a_dry_run():
    context = click.Context(cli)
    for path, command in every_command(cli, context):
        if isinstance(command, click.Group):
            continue
        names = {option.name for option in command.params}
        assert "as_json" in names, path
        if path[-1] in ("download", "dedup", "build", "run", "train", "write", "mix", "export", "report"):
            assert "dry_run" in names, path


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["bild"], 2, "did you mean 'build'"),
        (["build", "--sead", "1"], 2, "--seed"),
        (["run", "nowhere.toml"], 2, "there is no file nowhere.toml"),
        (["dedup", "--root", "empty"], 2, "pile download"),
        (["build", "--root", "empty"], 2, "pile dedup"),
        (["tokenizer", "train", "--root", "empty"], 2, "pile build"),
        (["shards", "write", "--root", "empty"], 2, "pile tokenizer train"),
        (["train", "debug", "--root", "empty"], 2, "pile shards write"),
        (["train", "debgu", "--root", "empty"], 2, "did you mean 'debug'"),
        (["verify", "--root", "empty"], 2, "pile run"),
        (["report", "--root", "empty"], 2, "pile"),
        (["download", "enron-email", "--root", "empty"], 2, "did you mean 'enron-emails'"),
        (["download", "arxiv", "--root", "empty", "--from", "there"], 3, "arxiv.jsonl.zst"),
        (["why", "nothing", "--root", "empty"], 2, "<slug>/<file>:<line>"),
        (["dedup", "--root", "empty", "--scheduler", "cloud"], 2, "--scheduler takes serial, process, dask"),
        (["build", "--val-share", "x"], 2, "try: pile build --help"),
        (["tokenizer", "trian"], 2, "did you mean 'train'"),
        (["train"], 2, "missing argument 'RECIPE'"),
        (["download"], 2, "pile download --all"),
        (["download", "arxiv", "--all"], 2, "pile download --all"),
        (["download", "arxv", "--dry-run"], 2, "did you mean 'arxiv'"),
        (["download", "arxiv", "--max-rejects", "-1"], 2, "--max-rejects"),
        (["run", "nowhere.toml"], 2, "try: a first one: printf '[build]"),
        (["verify", "--root", ""], 2, "--root is empty"),
        (["verify", "--root", "/proc/nothing/there"], 2, "pile run"),
        (["download", "arxiv", "--root", "/proc/nothing"], 2, "pile doctor"),
        (["shards", "show", "--index", "-1"], 2, "--index"),
        (["train", "debug", "--mix", "more-code", "--root", "empty"], 2, "pile shards mix more-code --weights FILE"),
    ],
)
def test_an_error_is_a_sentence_with_what_to_type_and_its_exit_code(pile, tmp_path, arguments, exit_code, said):
    (tmp_path / "there").mkdir()
    done = pile(*arguments, cwd=tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert said.lower() in done.stderr.lower()
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_first_configuration_is_what_the_error_about_a_missing_one_says(pile, tmp_path):
    advised = re.search(r"printf .*", pile("run", "pile.toml", cwd=tmp_path).stderr)
    subprocess.run(advised[0], shell=True, check=True, cwd=tmp_path)
    planned = pile("plan", "pile.toml", "--no-calibrate", "--json", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert len(json.loads(planned.stdout)["components"]) == 22


def test_a_full_disk_behind_standard_output_is_exit_5(pile):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(pile_command(["components"]), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5
    assert done.stderr.startswith("error: No space left on device: standard output\n  try: ")


def test_an_option_that_is_wrong_keeps_its_exit_code_with_a_closed_standard_output():
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *pile_command(["build", "--sead", "1"])]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no such option")


def test_a_reader_that_has_seen_enough_is_no_error(undisturbed):
    for arguments in (["components"], ["shards", "show", "--root", undisturbed / "root"]):
        command = subprocess.Popen(pile_command(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        command.stdout.close()
        assert (command.stderr.read(), command.wait()) == (b"", 0)
        command.stderr.close()


def test_characters_that_a_locale_lacks_are_printed_as_escapes(undisturbed, tmp_path):
    root = tmp_path / "W\u00fcrzel"
    shutil.copytree(undisturbed / "root", root)
    done = subprocess.run(
        pile_command(["run", undisturbed / "pile.toml", "--root", root]),
        capture_output=True,
        env={**process_environment(), "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert rb"W\xfcrzel" in done.stdout


def test_help_names_every_recipe_that_comes_with_the_package(pile):
    shown = pile("train", "--help").stdout
    assert f"Recipes that come with the package: {', '.join(recipe_names())}." in " ".join(shown.split())


def test_help_of_a_group_lists_its_commands_as_data_flows_and_cuts_no_sentence(pile):
    for group, first in (("tokenizer", "train"), ("shards", "write")):
        commands = pile(group, "--help").stdout.partition("Commands:\n")[2].splitlines()
        assert commands[0].split()[0] == first
        assert not [line for line in commands if line.endswith("...")]


def test_an_error_that_knows_no_remedy_says_that_of_its_class(pile, tmp_path):
    (tmp_path / "bad.toml").write_text("seed = \n")
    done = pile("run", "bad.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "bad.toml is not valid TOML" in done.stderr
    assert re.search(r"^  try: .+", done.stderr, re.MULTILINE)


def test_debug_shows_the_traceback(pile, tmp_path):
    done = pile("--debug", "dedup", "--root", tmp_path / "empty")
    assert "Traceback" in done.stderr
    assert "UsageError" in done.stderr


def test_a_truncated_file_is_exit_4_with_its_name_and_the_offset(pile, source, tmp_path):
    whole = (source / "ubuntu-irc.jsonl.zst").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "ubuntu-irc.jsonl.zst").write_bytes(whole[:-100])
    done = pile("download", "ubuntu-irc", "--from", tmp_path / "cut", "--root", tmp_path / "root")
    assert done.returncode == 4
    assert "ubuntu-irc.jsonl.zst" in done.stderr
    assert f"{len(whole) - 100:,}" in done.stderr


def test_a_foreign_package_in_place_of_ours_is_named_at_the_start(tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise RuntimeError('foreign code must not run')\n")
    environment = {**process_environment(), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pile_toolkit", "components"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert f"the module 'pipelines' is not ours: Python finds {tmp_path}" in done.stderr


def test_a_package_of_ours_that_another_distribution_wrote_over_is_named_at_the_start(tmp_path):
    for name in ("pile_toolkit", *PACKAGES):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pile_toolkit", "components"]
    environment = {**process_environment(), "PYTHONPATH": str(tmp_path)}

    def run() -> subprocess.CompletedProcess:
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)

    assert run().returncode == 0
    (tmp_path / "tokenizer" / "__init__.py").write_text('"""A tokenizer for something else."""\n')
    assert run().returncode == 2
    assert "the module 'tokenizer' is not ours" in run().stderr


def test_components_as_json_are_the_published_22(pile):
    rows = json.loads(pile("components", "--json").stdout)
    assert len(rows) == 22
    for row in rows:
        assert {
            "slug",
            "name",
            "raw_bytes",
            "documents",
            "epochs",
            "weight",
            "mean_document_bytes",
            "availability",
        } <= row.keys()


def test_stages_one_by_one_give_the_same_shards_as_the_chain(pile, undisturbed, tmp_path):
    root, source = tmp_path / "root", undisturbed / "source"
    slugs = ["github", "stackexchange", "gutenberg-pg-19", "dm-mathematics", "ubuntu-irc", "enron-emails"]
    for arguments in (
        ["download", *slugs, "--from", source],
        ["dedup"],
        ["build", "--seed", "7", "--val-share", "0.1", "--test-share", "0.1", "--train-shards", "3"],
        ["tokenizer", "train", "--vocab-size", "1500"],
        ["shards", "write"],
    ):
        done = pile(*arguments, "--root", root, "--jobs", "1")
        assert done.returncode == 0, done.stderr
    for name in ("plan/plan.parquet", "corpus/train/00.jsonl.zst", "tokenizer/tokenizer.json", "shards/train.idx"):
        assert (root / name).read_bytes() == (undisturbed / "root" / name).read_bytes()


def test_config_gives_a_command_its_defaults_and_typing_wins(pile, undisturbed):
    asked = pile("build", "--config", undisturbed / "pile.toml", "--dry-run", "--json", "--val-share", "0.3")
    report = json.loads(asked.stdout)
    assert report["parameters"]["seed"] == 7
    assert report["parameters"]["val_share"] == 0.3
    assert report["parameters"]["test_share"] == 0.1
    assert report["folder"] == str(undisturbed / "root" / "plan")


def test_a_dry_run_writes_nothing(pile, configure, tmp_path):
    config = configure(tmp_path)
    for arguments in (["run", config], ["download", "--all", "--root", tmp_path / "root"], ["plan", config]):
        extra = ["--no-calibrate"] if arguments[0] == "plan" else ["--dry-run"]
        done = pile(*arguments, *extra)
        assert done.returncode in (0, 5), done.stderr
    assert not (tmp_path / "root").exists()


def test_encode_and_decode_through_the_command_line_are_inverse(pile, undisturbed):
    root = undisturbed / "root"
    text = "def main():\n        return 'naïve   <|endoftext|>'"
    ids = json.loads(pile("tokenizer", "encode", text, "--root", root, "--json").stdout)["ids"]
    back = json.loads(pile("tokenizer", "decode", *map(str, ids), "--root", root, "--json").stdout)["text"]
    assert back == text
    assert 0 not in ids
    shown = json.loads(pile("tokenizer", "show", text, "--root", root, "--json").stdout)["tokens"]
    assert len(shown) == len(ids)


def test_why_tells_every_decision_on_a_document(pile, undisturbed):
    root = undisturbed / "root"
    decided = json.loads(pile("why", "dm-mathematics/dm-mathematics.jsonl.zst:1", "--root", root, "--json").stdout)
    assert decided["kept"]
    assert decided["split"] in ("train", "val", "test")
    assert decided["copies"] == (2 if decided["split"] == "train" else 1)
    missing = pile("why", "dm-mathematics/dm-mathematics.jsonl.zst:999", "--root", root)
    assert missing.returncode == 2


def test_comparing_a_tokenizer_with_itself_gives_ratio_one(pile, undisturbed):
    file = undisturbed / "root" / "tokenizer" / "tokenizer.json"
    table = json.loads(pile("tokenizer", "compare", file, "--root", undisturbed / "root", "--json").stdout)
    assert set(table["total"]["ratio"].values()) == {1.0}


def test_shards_show_prints_a_sample_with_the_documents_it_comes_from(pile, undisturbed):
    done = pile("shards", "show", "--index", "3", "--sequence-length", "64", "--root", undisturbed / "root")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^--- [a-z0-9-]+/[\w.-]+:\d+, tokens [\d,]+ to [\d,]+", done.stdout)


def test_doctor_is_content_here_and_names_what_it_looked_at(pile, tmp_path):
    result = json.loads(pile("doctor", "--root", tmp_path, "--json").stdout)
    assert result["healthy"]
    assert [check["name"] for check in result["checks"]] == [
        "python",
        "processors",
        "memory",
        "disk",
        "locks",
        "torch",
        "names",
    ]


def test_doctor_ends_with_2_where_something_stands_in_the_way(pile):
    done = pile("doctor", "--root", "/proc/nothing")
    assert "failed" in done.stdout
    assert done.returncode == 2


def test_doctor_names_a_distribution_that_owns_a_module_of_ours(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "__init__.py").touch()
    information = tmp_path / "foreign_shards-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-shards\nVersion: 1.0\n")
    (information / "RECORD").write_text("shards/__init__.py,,\n")
    code = (
        "import sys, json, msgspec; from pile_toolkit.chain.doctor import examine\n"
        f"sys.path.append({str(tmp_path)!r})\n"
        "print(msgspec.json.encode(examine('.')).decode())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert not result["healthy"]
    (check,) = [check for check in result["checks"] if check["state"] == "failed"]
    assert "'shards' is also installed by foreign-shards" in check["fact"]
