"""Bars on a terminal, timed lines elsewhere, results on stdout only."""

import io
import os
import pty
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core import console
from pile_toolkit.core.console import SILENT, Bars, Lines, amount, print_table, reporter, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1,023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (-2048, "-2.00 KiB"),
        (1 << 20, "1.00 MiB"),
        (825 << 30, "825.00 GiB"),
        (1 << 40, "1.00 TiB"),
        (5 << 50, "5,120.00 TiB"),
    ],
)
def test_sizes_are_in_powers_of_1024(value, text):
    assert size(value) == text


@given(st.integers(0, 1 << 60))
def test_a_size_says_what_it_is_within_its_digits(value):
    number, unit = size(value).split(" ")
    factor = 1024 ** ("B", "KiB", "MiB", "GiB", "TiB").index(unit)
    assert abs(float(number.replace(",", "")) * factor - value) <= 0.005 * factor + value * 1e-12


def test_other_amounts_are_counted():
    assert amount(1234567, "documents") == "1,234,567 documents"
    assert amount(2048, "bytes") == "2.00 KiB"


def test_lines_go_to_stderr_with_their_time(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.0)
    lines = Lines()
    lines.say("hello [red]")
    with lines.progress("read", total=3000, unit="files") as advance:
        advance(1000)
        advance(500, note="loss 7.1")
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("] ", 1)[1] for line in err.splitlines()] == [
        "hello [red]",
        "read: 1,000 of 3,000 files",
        "read: 1,500 of 3,000 files, loss 7.1",
    ]


def test_what_would_make_a_line_too_long_stands_below_it(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.0)
    with Lines().progress("train", total=100, unit="steps") as advance:
        advance(1, note="x" * 65)
        advance(1, note="x" * 66)
    (fits, cut, below) = capsys.readouterr().err.splitlines()
    assert (len(fits), fits[-66:]) == (100, " " + "x" * 65)
    assert (cut.split("] ", 1)[1], below) == ("train: 2 of 100 steps", "  " + "x" * 66)


def test_short_tasks_print_no_line(capsys):
    with Lines().progress("read", total=3, unit="files") as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_silence_is_silent(capsys):
    SILENT.say("hello")
    with SILENT.progress("read", total=3, unit="files") as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_bars(monkeypatch, capsys):
    leader, follower = pty.openpty()
    with open(follower, "w") as terminal, open(leader, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        bars = reporter()
        assert isinstance(bars, Bars)
        bars.say("hello [red]")
        with bars.progress("read", total=4096, unit="bytes") as advance:
            advance(4096, note="so far so [good]")
        terminal.flush()
        shown = _all_of(screen)
    assert "hello [red]" in shown
    assert "4.00 KiB of 4.00 KiB" in shown
    assert "\n  so far so [good]" in shown
    assert capsys.readouterr().out == ""


def _all_of(screen):
    """Everything that a terminal was sent: one read gives only what came in one piece."""
    os.set_blocking(screen.fileno(), False)
    return b"".join(iter(screen.read, None)).decode()


def test_elsewhere_there_are_lines():
    assert isinstance(reporter(), Lines)


def test_a_table_shows_what_it_is_given_to_the_letter(capsys):
    print_table(("name", ">documents"), [("[bold]x[/bold]", "7"), ("a" * 100, "1,234,567")], title="counts")
    out, err = capsys.readouterr()
    title, head, _, first, second = out.splitlines()
    assert (title, err) == ("counts", "")
    assert head.split() == ["name", "documents"]
    assert first.split() == ["[bold]x[/bold]", "7"]
    assert second.split() == ["a" * 100, "1,234,567"]
    assert len(first) == len(second)


class Screen(io.StringIO):
    """Standard output that says it is a terminal; its width is that of COLUMNS."""

    def isatty(self):
        """It is."""
        return True


def terminal_lines(monkeypatch, columns, rows):
    """What a table looks like on a terminal of 60 columns, without its styles."""
    for name, value in (("COLUMNS", "60"), ("TERM", "xterm"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Screen())
        print_table(columns, rows)
        return re.sub(r"\x1b\[[0-9;]*m", "", sys.stdout.getvalue()).splitlines()


WORDS = "one two three four five six seven"


def test_on_a_narrow_terminal_optional_columns_go_last_first_and_text_breaks_between_words(monkeypatch):
    columns = ("slug", ">first", "?>second", "?>third", "text")
    head, _, *lines = terminal_lines(monkeypatch, columns, [("youtubesubtitles", "1,234,567", "222", "333", WORDS)])
    assert head.split() == ["slug", "first", "second", "text"]
    assert " ".join(lines).split() == ["youtubesubtitles", "1,234,567", "222", *WORDS.split()]
    assert len(lines) == 2
    assert max(map(len, [head, *lines])) <= 60


def test_where_even_that_does_not_fit_nothing_is_cut(monkeypatch):
    lines = terminal_lines(monkeypatch, ("slug", ">a", ">b"), [("s" * 30, "1" * 20, "2" * 20)])
    assert lines[2] == f"{'s' * 30}  {'1' * 20}  {'2' * 20}"


def test_a_table_in_a_pipe_has_every_column_and_no_blanks_at_line_ends(capsys):
    print_table(("slug", "?>n", "text"), [("a", "1", WORDS), ("b", "2", "x")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[2:]] == [["a", "1", *WORDS.split()], ["b", "2", "x"]]
    assert lines == [line.rstrip() for line in lines]
