"""Long and hostile lines: a reject at worst, in the time and the memory that are stated."""

from __future__ import annotations

import subprocess
import sys

import pytest
import zstandard

from pile_toolkit.core import documents as module
from pile_toolkit.core.documents import (
    LINE_MEMORY_FACTOR,
    Document,
    Reject,
)
from tests.core.document_making import GOOD, records


@pytest.fixture
def path(tmp_path):
    return tmp_path / "00.jsonl.zst"


def test_a_line_of_quotes_that_are_not_closed_takes_no_longer_than_another(path):
    """A million places where a string may begin, each of which ends nowhere: no clock, but hours if all were tried."""
    for start in (b'{"text":"', b'{"n":NaN,"text":"'):
        for end in (b"", b"\\"):
            (reject,) = records(path, start + b'\\"' * 1_000_000 + end)
            assert isinstance(reject, Reject)


@pytest.mark.parametrize("line_bytes", [100, 101, 500, 3_000_000])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n" + GOOD, b"\n\n\n" + GOOD + b"\n"])
def test_a_line_past_the_limit_is_a_reject_and_the_next_is_read(path, monkeypatch, line_bytes, end):
    monkeypatch.setattr(module, "LONGEST_LINE_BYTES", 100)
    line = b'{"text":"' + b"x" * (line_bytes - 11) + b'"}'
    first, middle, *others = records(path, GOOD + b"\n" + line + end)
    assert first.text == "good"
    if line_bytes > 100:
        assert middle == Reject(2, f"the line has {line_bytes:,} bytes, the limit is 100")
    else:
        assert middle.text == "x" * 89
    assert len(others) == (end.rstrip(b"\n") + b"\n").count(b"\n") - 1
    if others:
        assert others[-1] == Document(2 + len(others), "good", b'{"n":1}')


# Prints how many records a file has, and how much the peak of memory grew over them.
PEAK = """
import pathlib, sys
from pile_toolkit.core.documents import read_records

def peak_bytes():
    return int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

before, found = peak_bytes(), ""
for record in read_records(pathlib.Path(sys.argv[1])):
    found += type(record).__name__ + " "
    del record
print(peak_bytes() - before, found)
"""
MANY = 50_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    ("middle", "factor"),
    [
        (b"x" * 200_000_000, 2.3),
        ("zwölf €5 \U0001f600 ".encode() * (MANY // 18), 4),
        (b'\\"a\\n' * (MANY // 5), 3),
        # The worst that is known: Python widens the whole text for its last characters, three times.
        (b"\\n" + b"x" * MANY + "é€\U0001f600".encode() + b'","meta":{"n":NaN},"x":"', LINE_MEMORY_FACTOR),
        (b'","meta":{"n":[' + b"NaN,null," * (MANY // 90) + b'1]},"x":"' + b"x" * MANY, LINE_MEMORY_FACTOR),
    ],
    ids=["ascii", "wide", "escapes", "widened", "numbers"],
)
def test_a_long_line_takes_no_more_memory_than_stated(path, middle, factor):
    line = b'{"text":"' + middle + b'"}'
    path.write_bytes(zstandard.ZstdCompressor(level=1).compress(line + b"\n" + GOOD))
    run = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    peak_bytes, *found = run.stdout.split()
    assert found == ["Document", "Document"]
    assert len(line) < int(peak_bytes) < factor * len(line) + (8 << 20)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read from /proc")
def test_a_line_past_the_limit_is_not_held(path):
    """192 MiB without a newline, from some 6 KB."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    zeros = bytes(1 << 24)
    path.write_bytes(b"".join(compressor.compress(zeros) for _ in range(12)) + compressor.flush())
    limit = "import pile_toolkit.core.documents as module; module.LONGEST_LINE_BYTES = 1 << 24"
    command = [sys.executable, "-c", limit + PEAK, path]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    peak_bytes, *found = run.stdout.split()
    assert found == ["Reject"]
    assert int(peak_bytes) < 48 << 20


def test_the_longest_line_is_a_gibibyte():
    assert module.LONGEST_LINE_BYTES == 1 << 30
