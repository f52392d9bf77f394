"""What is marked differs, what is not is the same on both sides, and no text takes for ever or hides what it holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.report.differences import COMPARED_WORDS, SHOWN_WORDS, beginning, differences, visible

WORDS = st.lists(st.sampled_from(["a", "b", "c1", "(", "é", "語", "x" * 70, "\u200e"]), max_size=60)


def plain(text: str) -> list[str]:
    """Words of texts that have nothing but those above, white space between any two of them."""
    return text.split()


def shown(spans: list, *, marked: bool | None = None) -> str:
    return "".join(span.text for span in spans if marked is None or span.differs == marked)


@given(WORDS, WORDS)
def test_what_is_not_marked_is_the_same_on_both_sides(left, right):
    found = differences(" ".join(left), "\n".join(right))
    assert bool(found.hunks) == (left != right)
    for hunk in found.hunks:
        assert "".join(shown(hunk.left, marked=False).split()) == "".join(shown(hunk.right, marked=False).split())
        assert shown(hunk.left, marked=True) or shown(hunk.right, marked=True)
        for spans, words in ((hunk.left, left), (hunk.right, right)):
            assert "".join(shown(spans).split()) in visible("".join(words))


@given(WORDS, st.integers(0, 59), st.sampled_from(["new", "of", "語"]))
def test_one_other_word_is_found_wherever_it_is(words, place, other):
    place = min(place, len(words))
    changed = [*words[:place], other, *words[place:]]
    hunks = differences(" ".join(words), " ".join(changed)).hunks
    assert "".join(shown(hunk.left, marked=True) for hunk in hunks) == ""
    assert "".join(shown(hunk.right, marked=True) for hunk in hunks).strip() == other


def test_a_difference_far_behind_is_found_with_the_words_before_it():
    before = [f"w{number}" for number in range(50_000)]
    (hunk,) = differences(" ".join([*before, "left"]), " ".join([*before, "right"])).hunks
    assert (shown(hunk.left, marked=True), shown(hunk.right, marked=True)) == ("left", "right")
    context = shown(hunk.left, marked=False).split()
    assert context == before[-len(context) :]
    assert hunk.skipped + len(context) == len(before)


def test_places_apart_are_pieces_apart_and_between_them_equal_words_are_counted():
    words = [f"w{number}" for number in range(300)]
    other = list(words)
    other[10], other[200] = "x", "y"
    first, second = differences(" ".join(words), " ".join(other)).hunks
    assert (shown(first.left, marked=True), shown(second.left, marked=True)) == ("w10", "w200")
    assert (first.skipped, second.skipped) == (0, 200 - 14 - (10 + 14 + 1))
    assert shown(second.left).split()[0] == "w186"


def test_much_that_differs_is_cut_and_said_to_be():
    found = differences("a " * 10 + "b " * 5000, "a " * 10 + "c " * 5000)
    assert found.is_cut
    assert sum(len(plain(shown(hunk.left))) for hunk in found.hunks) <= SHOWN_WORDS + 1
    behind = [f"w{number}" for number in range(2 * COMPARED_WORDS)]
    assert differences(" ".join(["x", *behind]), " ".join(["y", *behind])).is_cut
    assert not differences("x a b", "y a b").is_cut


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (" " * 2_000_000, "a" + " " * 2_000_000),
        ("a " * 100_000 + "b", "a " * 100_000 + "a b"),
        ("a b " * 50_000, "b a " * 50_000),
        ("x" * 2_000_000, "x" * 2_000_001),
    ],
)
def test_texts_made_to_take_long_do_not(left, right):
    found = differences(left, right)
    assert found.hunks
    assert sum(len(shown(hunk.right)) for hunk in found.hunks) < 100_000


def test_white_space_alone_is_no_difference():
    assert differences("a  b\n", "a\tb").hunks == []
    assert differences("", " \n").hunks == []


def test_what_does_not_print_or_turns_the_direction_is_its_code():
    assert visible("a\x1b[31m\u202e\r\nb\tc\u00a0d") == "a\\x1b[31m\\u202e\nb\tc\\xa0d"
    (hunk,) = differences("a \u202e b", "a b").hunks
    assert shown(hunk.left, marked=True) == "\\u202e"


def test_how_a_text_begins_is_one_line():
    assert beginning(" a\n\nb\x00 ", characters=10) == "a b\\x00"
    assert beginning("word " * 100, characters=9) == "word word…"
