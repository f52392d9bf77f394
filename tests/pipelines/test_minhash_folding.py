"""Folding by kernels is what Python does with the text: for every code point, and however the blocks fall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pile_toolkit.core.seeds import normalized
from pipelines.minhash import SignatureSettings
from pipelines.minhash.folded import _LARGEST_GROWTH, TextFolder
from pipelines.minhash.folding.tables import nfc_table
from tests.pipelines.minhash_twin import TEXTS, folded

FLAG = st.booleans()
SETTINGS = st.builds(
    SignatureSettings,
    unit=st.just("characters"),
    nfc=FLAG,
    fold_case=FLAG,
    remove_punctuation=FLAG,
    zero_digits=FLAG,
    fold_spaces=FLAG,
)
EVERY_CODE_POINT = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
ALL = SignatureSettings(remove_punctuation=True, zero_digits=True)
KEPT = SignatureSettings(unit="characters", nfc=False, fold_case=False, fold_spaces=False)


def fold(texts: list[str], chosen: SignatureSettings) -> list[str]:
    folder = TextFolder(chosen.folding)
    folder.fold(texts, [text.encode() for text in texts])
    return [view.tobytes().decode() for view in folder.views()]


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4), chosen=SETTINGS)
@example(texts=["x" * 200 + "\u0390" * 300, "", "\u0390"], chosen=SignatureSettings())
@example(texts=[" ", "\u0301", "a", "\u0301b", "\u3000a\u3000"], chosen=SignatureSettings())
def test_folded_texts_are_pythons_whatever_is_asked_for(texts, chosen):
    assert fold(texts, chosen) == [folded(text, chosen) for text in texts]


@pytest.mark.parametrize("chosen", [SignatureSettings(), ALL, KEPT], ids=["default", "all", "nothing"])
@pytest.mark.parametrize("between", ["x{}y", "{} {}", "e{}\u0323"])
def test_every_code_point_folds_as_in_python_beside_letters_spaces_and_marks(chosen, between):
    texts = [
        "".join(between.format(*[character] * 2) for character in EVERY_CODE_POINT[first : first + 9999])
        for first in range(0, len(EVERY_CODE_POINT), 9999)
    ]
    assert fold(texts, chosen) == [folded(text, chosen) for text in texts]


def test_no_character_grows_by_more_than_the_room_that_is_made_for_it():
    growth = {
        character: len(folded(character, chosen).encode()) / len(character.encode())
        for chosen in (SignatureSettings(nfc=False), ALL)
        for character in EVERY_CODE_POINT
    }
    assert max(growth.values()) == _LARGEST_GROWTH == growth["\u0390"]


def test_the_default_is_what_splits_are_made_by():
    text = "Caf\u00e9 STRASSE\t\u0130stanbul \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03a3\u3000 \x1c end "
    assert fold([text], SignatureSettings()) == [normalized(text)]


def test_a_text_may_be_cut_before_any_character_that_is_not_marked():
    page_of, values = nfc_table()
    marked = {chr(code) for code in range(0x110000) if values[(page_of[code >> 7].astype(int) << 7) | (code & 127)]}
    assert {"\u0301", "\u1161", "\u11a8", "\u09be", "\u212b", "\u0344"} <= marked
    assert not marked & set("aé가中\u200b ")


def test_a_folder_gives_the_same_after_a_larger_call_and_after_none():
    folder = TextFolder(SignatureSettings().folding)
    texts = ["Some WORDS  here", "\u00c9 \u0390"]
    for before in (["z" * 5000 + "\u0390" * 999], []):
        folder.fold(before, [text.encode() for text in before])
        folder.fold(texts, [text.encode() for text in texts])
        assert [view.tobytes().decode() for view in folder.views()] == list(map(normalized, texts))
    assert folder.ends.dtype == np.int64
