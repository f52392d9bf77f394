"""Bars on a terminal, timed lines elsewhere, results on stdout only."""

import os
import pty
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
        advance(500)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("] ", 1)[1] for line in err.splitlines()] == [
        "hello [red]",
        "read: 1,000 files of 3,000 files",
        "read: 1,500 files of 3,000 files",
    ]


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
            advance(4096)
        terminal.flush()
        shown = os.read(screen.fileno(), 1 << 16).decode()
    assert "hello [red]" in shown
    assert "4.00 KiB of 4.00 KiB" in shown
    assert capsys.readouterr().out == ""


def test_elsewhere_there_are_lines():
    assert isinstance(reporter(), Lines)


def test_a_table_shows_what_it_is_given_to_the_letter(capsys):
    print_table(("name", ">documents"), [("[bold]x[/bold]", "7"), ("a" * 100, "1,234,567")], title="counts")
    out, err = capsys.readouterr()
    title, head, _, first, second = [line.rstrip() for line in out.rstrip().splitlines() if line.strip()]
    assert (title, err) == ("counts", "")
    assert head.split() == ["name", "documents"]
    assert first.split() == ["[bold]x[/bold]", "7"]
    assert second.split() == ["a" * 100, "1,234,567"]
    assert len(first) == len(second)
