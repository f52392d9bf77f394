"""`pile download` with filters, as people and scripts type it; `pile why --source`."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def asked(source, tmp_path) -> list:
    """Two components of the small corpus, filtered and masked."""
    filters = ["--filter", "length:min_words=40", "--filter", "enron-emails/gopher_quality:min_words=off"]
    return [
        "download",
        "enron-emails",
        "github",
        "--from",
        source,
        *filters,
        "--mask",
        "email",
        "--root",
        tmp_path / "r",
    ]


def test_the_table_says_what_was_read_dropped_and_masked(pile, asked, tmp_path):
    done = pile(*asked, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    header = next(number for number, line in enumerate(lines) if "read" in line and "kept" in line)
    assert lines[header].split() == ["component", "read", "kept", "length", "email"]
    row = next(line for line in lines[header:] if line.startswith("enron-emails"))
    assert row.split()[1] == "60"
    assert "documents dropped" in done.stdout
    result = json.loads(pile(*asked, "--json").stdout)
    github, enron = sorted(result["components"], key=lambda item: item["filtered"]["read"])
    assert (github["filtered"]["read"], enron["filtered"]["read"]) == (40, 60)
    dropped = sum(sum(reasons.values()) for reasons in enron["filtered"]["dropped"].values())
    assert enron["documents"] == 60 - dropped
    assert row.split()[2] == str(60 - dropped)
    folder = tmp_path / "r" / "components" / "enron-emails"
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        *("manifest.json", "timings.json", "filtered.parquet", "changed.parquet", "enron-emails.jsonl.zst"),
    }
    lines = [
        pile("why", "--source", f"enron-emails/enron-emails.jsonl.zst:{n}", "--root", tmp_path / "r") for n in (1, 2)
    ]
    assert all(line.stdout.startswith("download: enron-emails/enron-emails.jsonl.zst:") for line in lines)
    assert json.loads(
        pile("why", "--source", "enron-emails/enron-emails.jsonl.zst:1", "--root", tmp_path / "r", "--json").stdout
    )["source"].endswith(":1")


def test_a_dry_run_says_the_filters_and_writes_nothing(pile, asked, tmp_path):
    done = pile(*asked, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "filters length:min_words=40" in done.stdout
    assert not (tmp_path / "r").exists()
    wrong = pile(*asked, "--dry-run", "--filter", "lenght:min_words=4")
    assert (wrong.returncode, "did you mean 'length'" in wrong.stderr) == (2, True)


def test_the_filters_of_a_file_are_taken_and_typed_ones_replace_them(pile, source, tmp_path):
    (tmp_path / "pile.toml").write_text(
        f'root = "r"\n[download]\ncomponents = ["github"]\nfrom = "{source}"\nmask = ["ip"]\n'
        "[download.filters.length]\nmin_words = 10\n[download.filters.blank]\n"
    )
    arguments = ("download", "--config", tmp_path / "pile.toml", "--json", "--jobs", "1")
    assert pile(*arguments).returncode == 0
    manifest = json.loads((tmp_path / "r" / "components" / "github" / "manifest.json").read_bytes())
    assert [step["name"] for step in manifest["key"]["parameters"]["filtering"]["steps"]] == ["length", "blank", "mask"]
    assert pile(*arguments, "--filter", "blank", "--mask", "phone").returncode == 0
    manifest = json.loads((tmp_path / "r" / "components" / "github" / "manifest.json").read_bytes())
    first, second = manifest["key"]["parameters"]["filtering"]["steps"]
    assert (first["name"], second["options"]["phone"], second["options"]["ip"]) == ("blank", True, False)


def test_all_filters_are_listed_with_options_and_sources(pile):
    rows = {row["name"]: row for row in json.loads(pile("download", "--list-filters", "--json").stdout)}
    assert {"length", "gopher_quality", "gopher_repetition", "fineweb_quality", "c4_quality", "language"} <= rows.keys()
    options = {option["name"]: option for option in rows["gopher_quality"]["options"]}
    assert options["min_words"] == {"name": "min_words", "type": "whole number or false", "default": 50}
    assert rows["language"]["needs"] == "pile-toolkit[language]"
    text = pile("download", "--list-filters").stdout
    assert all(name in text for name in rows)
