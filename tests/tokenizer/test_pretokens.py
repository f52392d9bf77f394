"""Pre-tokens end where the library's regular expression says, for every code point and any way of calling."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from pile_toolkit.core.characters.tables import CHANGED_BY_NFC, PAGE_BITS
from tokenizer.pretokens import generate, ranges
from tokenizer.pretokens.kernels import PADDING, SMALLEST_ENDS, find_pretokens
from tokenizer.pretokens.tables import LETTER, NUMBER, WHITE, spans, unicode_tables

REPOSITORY = Path(__file__).resolve().parents[2]
EVERY_CODE_POINT = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
LIBRARY = pre_tokenizers.ByteLevel(add_prefix_space=False)
PARTS = [
    *("a", "é", "中", "7", "½", "!", "'", "'s", "'re", "'ll", "'d", "'x", " ", "  ", " " * 24, " " * 25, " " * 70),
    *(
        "\n",
        "\t",
        "\r\n",
        "\u0085",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\u200b",
        "\u0301",
        "👩‍👧",
        "x" * 70,
        "中" * 30,
        "\x00",
    ),
]
TEXT = st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=60).map("".join)


def found(text: str, *, longest_run: int = 1, entries: int = SMALLEST_ENDS, before: str = "", after: str = "") -> list:
    """(cut out, text) of all pre-tokens as the kernel finds them, with other text around."""
    first, middle = before.encode(), text.encode()
    data = np.frombuffer(first + middle + after.encode() + b" " * PADDING, np.uint8)
    ends = np.zeros(entries, np.int64)
    pieces, at, stop = [], len(first), len(first) + len(middle)
    while at < stop:
        count, following = find_pretokens(data, at, stop, longest_run, *unicode_tables(), ends)
        assert 0 < count <= entries
        for end in ends[:count].tolist():
            pieces.append((end < 0, data[at : abs(end)].tobytes().decode()))
            at = abs(end)
        assert at == following
    return pieces


def expected(text: str, *, longest_run: int = 1) -> list:
    """The same by the library; runs of spaces by Python's regular expressions."""
    pieces = re.split(f"( {{2,{longest_run}}})", text) if longest_run > 1 else [text]
    tokens = []
    for number, piece in enumerate(pieces):
        if number % 2:
            tokens.append((True, piece))
        else:
            tokens += [(False, piece[start:end]) for _, (start, end) in LIBRARY.pre_tokenize_str(piece)]
    return tokens


@settings(max_examples=300)
@given(text=TEXT, longest_run=st.sampled_from([1, 2, 3, 24, 30]), entries=st.sampled_from([SMALLEST_ENDS, 700, 4096]))
def test_any_text_is_cut_as_by_the_library(text, longest_run, entries):
    assert found(text, longest_run=longest_run, entries=entries) == expected(text, longest_run=longest_run)


@settings(max_examples=150)
@given(
    text=TEXT,
    before=st.sampled_from(["", "a", " ", "'", "中", "\u0301"]),
    after=st.sampled_from(["a", "  ", "s", "中"]),
)
def test_what_stands_around_a_piece_does_not_matter(text, before, after):
    assert found(text, longest_run=24, before=before, after=after) == found(text, longest_run=24)


@pytest.mark.parametrize("context", ["a{}a", " {} ", "1{}\n"])
def test_every_code_point_is_what_the_library_takes_it_for(context):
    for first in range(0, len(EVERY_CODE_POINT), 1 << 16):
        text = "".join(context.format(character) for character in EVERY_CODE_POINT[first : first + (1 << 16)])
        ends = np.cumsum([len(piece) for _, piece in found(text, entries=1 << 14)]).tolist()
        assert ends == [end for _, (_, end) in LIBRARY.pre_tokenize_str(text)]


def test_the_tables_are_those_of_the_installed_library():
    for name, codes in generate.tables().items():
        assert getattr(ranges, name).split() == generate.as_ranges(codes).split(), (
            f"{name} changed: python -m tokenizer.pretokens.generate"
        )


def test_the_two_arrays_say_what_the_ranges_say():
    page_of, properties = unicode_tables()
    codes = np.arange(0x110000)
    of_code = properties[(page_of[codes >> PAGE_BITS].astype(int) << PAGE_BITS) | (codes & 127)]
    for listed, value in ((ranges.LETTERS, LETTER), (ranges.NUMBERS, NUMBER), (ranges.WHITE_SPACE, WHITE)):
        codes_listed = [code for first, end in spans(listed) for code in range(first, end)]
        assert np.flatnonzero(of_code & ~np.uint8(CHANGED_BY_NFC) == value).tolist() == codes_listed
    changed = [code for first, end in spans(ranges.CHANGED_BY_NFC) for code in range(first, end)]
    assert np.flatnonzero(of_code & CHANGED_BY_NFC).tolist() == changed
    assert not page_of.flags.writeable
    assert not properties.flags.writeable


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 127, 128, 5000, 100_000])
@pytest.mark.parametrize("character", ["a", "中", "\u0301", "7", "\x00", "\n", "\u3000", "'"])
def test_a_pre_token_may_be_as_long_as_it_likes(character, length):
    for text in (character * length, " " + character * length + "b", "x" * 30 + character * length + " y"):
        assert found(text) == expected(text)


@pytest.mark.parametrize("length", [1, 2, 23, 24, 25, 26, 47, 48, 49, 64, 65, 5000, 100_000])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("x", "y"), ("\n", "'s"), ("'s", "\u3000"), ("中", "\n")])
def test_runs_of_spaces_are_cut_out_longest_first(before, after, length):
    text = before + " " * length + after
    for longest_run in (1, 2, 24):
        assert found(text, longest_run=longest_run) == expected(text, longest_run=longest_run)


GUARDED = """
import ctypes, mmap, sys
import numpy as np
from tokenizer.pretokens.kernels import PADDING, SMALLEST_ENDS, find_pretokens
from tokenizer.pretokens.tables import unicode_tables

memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
bytes_ = np.frombuffer(memory, np.uint8)
end = ctypes.c_void_p(bytes_.ctypes.data + mmap.PAGESIZE)
assert ctypes.CDLL(None).mprotect(end, mmap.PAGESIZE, 0) == 0
ends = np.empty(SMALLEST_ENDS, np.int64)
for size in range(1, 300):
    text = bytes_[mmap.PAGESIZE - PADDING - size : mmap.PAGESIZE]
    text[:] = ord("a")
    assert find_pretokens(text, 0, size, 1, *unicode_tables(), ends) == (1, size)
print("read no further")
"""


def test_no_more_than_the_padding_is_read_behind_a_text():
    """The page behind it may not be read: a byte further is the end of the process."""
    done = subprocess.run([sys.executable, "-c", GUARDED], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "read no further\n"), done.stderr
