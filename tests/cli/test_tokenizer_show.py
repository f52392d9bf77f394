"""`pile tokenizer show`, `import` and `export`: columns that hold, and no byte of a text that a terminal would obey."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.cli.tokenizer.inputs import file_or_text
from pile_toolkit.cli.tokenizer.screen import GAP, NARROWEST_COLUMN, NEWLINE, SEPARATORS, TAB, side_by_side
from pile_toolkit.core.errors import UsageError
from tests.chain.small_chain import pile_command, process_environment
from tokenizer.show import show_tokens
from tokenizer.train import train_tokenizer

SEQUENCES = re.compile(r"\x1b\[[0-9;]*[mG]")
COLUMN = re.compile(r"\x1b\[\d+G")
# Letters of all kinds whose width terminals agree on, with what they do not show and what they would obey.
TEXT = st.text(
    st.sampled_from("ab |¦\n\t\x1b\x9b\r\x00\u202e\u200d\ufe0f\u0301中語é") | st.characters(codec="utf-8"), max_size=120
)


@pytest.fixture(scope="module")
def encoders():
    """Two tokenizers that cut text in different places."""
    first = train_tokenizer(["the quick brown fox   and 中文 " * 9], vocab_size=400, allow_smaller=True)
    second = train_tokenizer(["def f(x):\n    return x\n" * 9], vocab_size=320, max_space_run=1, allow_smaller=True)
    return [("first.json", first), ("second.json", second)]


def cells(text: str) -> int:
    """The width of printable text by the Unicode tables alone; an upper bound where a terminal combines characters."""
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


@settings(max_examples=150)
@given(text=TEXT, colours=st.booleans(), width=st.none() | st.integers(20, 120))
def test_nothing_of_the_text_reaches_the_terminal_that_it_would_obey(encoders, text, colours, width):
    hostile = [(f"{name}\x1b[31m\u202e", encoder) for name, encoder in encoders]
    shown = show_tokens(hostile, text)
    for line in side_by_side([shown, *shown.others], width=width, colours=colours):
        plain = SEQUENCES.sub("", line) if colours else line
        assert all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in plain)


@settings(max_examples=150)
@given(text=st.text("abc def 中語文é|\n\t\x00", max_size=200), width=st.integers(20, 130))
def test_columns_keep_their_width_and_hold_the_whole_text(encoders, text, width):
    shown = show_tokens(encoders, text)
    both = [shown, *shown.others]
    lines = list(side_by_side(both, width=width, colours=True))
    column = (width - GAP) // 2
    if column < NARROWEST_COLUMN:
        # One below the other, each with its name.
        assert [SEQUENCES.sub("", line) for line in lines if "json" in line] == ["first.json", "second.json"]
        assert all(cells(SEQUENCES.sub("", line)) <= max(width, 30) for line in lines)
        return
    assert SEQUENCES.sub("", COLUMN.sub("\n", lines[0])).split() == ["first.json", "second.json"]
    halves = [[SEQUENCES.sub("", half) for half in (*COLUMN.split(line), "", "")[:2]] for line in lines[3:]]
    expected = text.replace("\t", TAB).replace("\n", NEWLINE).replace("\x00", "<U+0000>")
    for place in range(2):
        assert all(cells(half[place].rstrip()) <= column for half in halves)
        whole = "".join(half[place] for half in halves)
        assert without_blanks(whole) == without_blanks(as_bytes_where_cut(both[place], expected))
    # The second column begins where it was told to.
    assert all(cells(half[0]) == column + GAP or not half[1] for half in halves)


def without_blanks(text: str) -> str:
    return text.replace(" ", "")


def as_bytes_where_cut(one, expected: str) -> str:
    """The text with the bytes of characters that tokens cut written out; `expected` where none is cut."""
    tokens = [token.replace("\t", TAB).replace("\n", NEWLINE).replace("\x00", "<U+0000>") for token in one.tokens]
    whole = "".join(tokens)
    return whole if "\\x" in whole else expected


@settings(max_examples=100)
@given(text=st.text("abc |¦‖\n", max_size=60))
def test_without_colours_a_separator_that_is_not_in_the_text_stands_between_tokens(encoders, text):
    shown = show_tokens(encoders[:1], text)
    *lines, last = side_by_side([shown], width=None, colours=False)
    assert last == f"{shown.count} tokens"
    separator = next(mark for mark in SEPARATORS if mark not in text)
    tokens = "".join(lines).split(separator)
    assert [token.replace(NEWLINE, "\n") for token in tokens] == (shown.tokens or [""])


def test_every_token_has_another_colour_than_its_neighbours(encoders):
    shown = show_tokens(encoders[:1], "the quick brown fox   and then\n")
    (line, _) = side_by_side([shown], width=80, colours=True)
    backgrounds = re.findall(r"48;5;(\d+)", line)
    assert len(backgrounds) == shown.count
    assert all(left != right for left, right in itertools.pairwise(backgrounds))


@pytest.fixture(scope="module")
def files(encoders, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("tokenizers")
    for name, encoder in encoders:
        encoder.save(folder / name)
    return [str(folder / name) for name, _ in encoders]


def test_a_file_is_read_a_text_is_taken_and_a_missing_file_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "code.py").write_text("def f(x):\n    return x\n")
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9")
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(1 << 30)
    monkeypatch.chdir(tmp_path)
    assert file_or_text("code.py", None) == ("code.py", "def f(x):\n    return x\n")
    assert file_or_text(None, "code.py") == ("the text given", "code.py")
    for text in ("a text about code.py", "word", "", "x" * 100_000, "a\0b", "don't.", "1.5 / 2"):
        assert file_or_text(text, None) == ("the text", text)
    for argument, text, said in (
        ("missing.py", None, "there is no file missing.py"),
        ("folder/file", None, "there is no file folder/file"),
        (".", None, "is a folder"),
        ("latin1.txt", None, "latin1.txt is not UTF-8"),
        ("huge.txt", None, "huge.txt has more than 16,777,216 bytes"),
        ("x", "y", "there are two texts"),
    ):
        with pytest.raises(UsageError, match=re.escape(said)) as error:
            file_or_text(argument, text)
        assert error.value.hint


def test_a_file_is_shown_by_its_name_and_a_page_of_it_written(pile, files, tmp_path):
    (tmp_path / "code.py").write_text("def f(x):\n    return x\n")
    arguments = ["tokenizer", "show", "code.py", "--with", files[0], "--with", files[1]]
    done = pile(*arguments, "--html", "page.html", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "page.html"
    assert done.stdout.splitlines()[0].startswith(f"{files[0]}: ")
    assert "<h1>code.py</h1>" in (tmp_path / "page.html").read_text()
    missing = pile("tokenizer", "show", "missing.py", "--with", files[0], cwd=tmp_path)
    assert missing.returncode == 2
    assert "try: pile tokenizer show --text missing.py, if it is a text" in missing.stderr


def test_several_tokenizers_stand_side_by_side_on_a_wide_terminal_and_one_below_the_other_elsewhere(files, pile):
    arguments = ["tokenizer", "show", "the quick brown fox", "--with", files[0], "--with", files[1]]
    elsewhere = pile(*arguments).stdout.splitlines()
    assert elsewhere[0] == files[0]
    assert elsewhere[1].endswith("tokens, ratio 1.000")
    assert files[1] in elsewhere
    shown = json.loads(pile(*arguments, "--json").stdout)
    assert shown["with"][0]["ratio"] == shown["with"][0]["count"] / shown["count"]
    leader, follower = pty.openpty()
    environment = {**process_environment(), "COLUMNS": "200", "TERM": "xterm-256color", "NO_COLOR": ""}
    with open(leader, "rb", buffering=0) as screen:
        subprocess.run(pile_command(arguments), stdout=follower, check=True, env=environment)
        os.close(follower)
        lines = os.read(screen.fileno(), 1 << 16).decode().splitlines()
    assert any("ratio 1.000" in line and line.count("ratio") == 2 for line in lines)
    assert "\x1b[48;5;" in lines[-1] or ";48;5;" in lines[-1]


def test_a_root_without_a_tokenizer_says_how_to_make_or_name_one(pile, tmp_path):
    done = pile("tokenizer", "show", "a b", "--root", "empty root", cwd=tmp_path)
    assert done.returncode == 2
    assert "pile tokenizer train --root 'empty root', or name one: --tokenizer FILE" in done.stderr


def test_importing_and_exporting_through_the_command_line_are_inverse(pile, files, tmp_path):
    second = files[1]
    dry = pile("tokenizer", "export", second, "--to", "tiktoken", "-o", "ranks", "--dry-run", cwd=tmp_path)
    assert "would write ranks" in dry.stdout
    assert not (tmp_path / "ranks").exists()
    done = pile("tokenizer", "export", second, "--to", "tiktoken", "-o", "ranks", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # The command that it says leads back.
    back = next(line for line in done.stdout.splitlines() if line.startswith("back: "))
    words = [word.strip("'") for word in back.removeprefix("back: pile ").split()]
    result = json.loads(pile(*words, "--json", cwd=tmp_path).stdout)
    assert result["special_tokens"] == {"<|endoftext|>": 0, "<|padding|>": 1}
    assert (tmp_path / "tokenizer.json").read_bytes() == Path(second).read_bytes()
    refused = pile("tokenizer", "export", files[0], "--to", "tiktoken", "-o", "other", cwd=tmp_path)
    assert refused.returncode == 2
    assert "runs of spaces" in refused.stderr
    for arguments, said in (
        (["import", second, "-o", tmp_path], "is a directory"),
        (["export", second, "--to", "hf", "-o", "ranks"], "ranks is a file, this format needs a folder"),
        (["export", second, "--to", "tiktoken", "-o", "."], "is a folder, this format is one file"),
        (["import", second, "--special", "x", "-o", "y"], "says itself which tokens are special"),
        (["import", "ranks", "--special", "=5", "-o", "y"], "has no name"),
    ):
        done = pile("tokenizer", *arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert said in done.stderr


def test_what_a_stage_has_written_is_not_written_over(pile, undisturbed, files):
    target = undisturbed / "root" / "tokenizer" / "tokenizer.json"
    before = target.read_bytes()
    done = pile("tokenizer", "import", files[0], "-o", target)
    assert done.returncode == 2
    assert "belongs to a stage" in done.stderr
    assert target.read_bytes() == before
