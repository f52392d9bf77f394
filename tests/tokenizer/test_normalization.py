"""NFC of the few places where it could change a text is the library's NFC of the whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from pile_toolkit.core.characters.kernels import find_windows, most_windows
from tokenizer.normalization.nfc import changed_texts, normalize
from tokenizer.pretokens import ranges
from tokenizer.pretokens.kernels import PADDING
from tokenizer.pretokens.tables import spans, unicode_tables

NFC = normalizers.NFC()
EVERY_CODE_POINT = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
LISTED = {chr(code) for first, end in spans(ranges.CHANGED_BY_NFC) for code in range(first, end)}
# Bases and marks that compose, reorder, decompose or only could: letters, Hangul, Indic, singletons, Greek.
MOVING = (
    "aeouAO>=\u0301\u0300\u0327\u0323\u0345\u0338\u1100\u1161\u11a8\uac00\u0915\u093c\u0928\u212b\u1fbf\u03b1\u0313"
)
TEXT = st.lists(
    st.text(max_size=6) | st.text(alphabet=MOVING, max_size=6) | st.sampled_from(["x" * 70, "中" * 30, "plain text "]),
    max_size=12,
).map("".join)


def padded(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts one after the other with a combining mark behind them, and where they end."""
    data = [text.encode() for text in texts]
    memory = np.frombuffer(b"".join(data) + "\u0301".encode() * PADDING, np.uint8)
    return memory, np.cumsum([len(one) for one in data])


def windows_of(texts: list[str]) -> list[list[int]]:
    memory, stops = padded(texts)
    windows = np.empty((most_windows(int(stops[-1]), len(texts)), 3), np.int64)
    return windows[: find_windows(memory, stops, *unicode_tables(), windows)].tolist()


@settings(max_examples=400)
@given(texts=st.lists(TEXT, min_size=1, max_size=4))
def test_texts_are_normalized_as_by_the_library(texts):
    expected = [NFC.normalize_str(text) for text in texts]
    assert [normalize(text.encode()).decode() for text in texts] == expected
    changed = {number: text.encode() for number, text in enumerate(expected) if text != texts[number]}
    assert changed_texts(*padded(texts)) == changed


def test_every_code_point_beside_letters_and_marks_is_normalized_as_by_the_library():
    for around in ("{}", "a{}", "{}\u0301", "\u0327{}\u0301", "\u1100{}\u11a8"):
        for first in range(0, len(EVERY_CODE_POINT), 1 << 16):
            text = "\n".join(map(around.format, EVERY_CODE_POINT[first : first + (1 << 16)]))
            assert normalize(text.encode()).decode() == NFC.normalize_str(text)


def test_every_code_point_has_a_window_or_is_left_alone():
    for text in EVERY_CODE_POINT[::7]:
        assert bool(windows_of([text])) == (text in LISTED)
    plain = "".join(character for character in EVERY_CODE_POINT if character not in LISTED)
    assert windows_of([plain]) == []
    assert NFC.normalize_str(plain) == plain


def test_a_window_begins_at_the_character_before_and_ends_at_the_one_behind():
    assert windows_of(["caf\u00e9 e\u0301\u0327x", "", "\u0301", "plain", "a\u0301"]) == [
        [0, 6, 11],
        [2, 12, 14],
        [4, 19, 22],
    ]


def test_a_text_with_many_windows_is_one_window():
    text = "e\u0301x" * 100
    assert windows_of(["a", text, "b"]) == [[1, 1, 1 + len(text.encode())]]
    assert normalize(text.encode()).decode() == NFC.normalize_str(text)
