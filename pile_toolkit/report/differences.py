"""Two texts in, where their words differ out: a few pieces around the differences, whatever the texts are and hold.

Read from the first difference on, some thousand words of each; what lies behind them is not looked at.
"""

from __future__ import annotations

import difflib
import re
from collections import deque
from itertools import islice, takewhile, zip_longest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPARED_WORDS = 2_000
CONTEXT_WORDS = 14
SHOWN_WORDS = 260
LONGEST_WORD = 64
# Letters and digits, cut where they are too many for a word; of scripts without spaces, and of the rest, a character.
_CHARACTER = "\u2e80-\u9fff\uac00-\ud7af\U00020000-\U0003ffff"
_WORD = re.compile(rf"(?P<space>\s*)(?P<word>[{_CHARACTER}]|[^\W{_CHARACTER}]{{1,{LONGEST_WORD}}}|[^\w\s])")
# Joiners are part of how words are written, and do not show.
_JOINERS = "\u200c\u200d"
_LONG_SPACE = 80


class Span(NamedTuple):
    """Some text, and whether the other side has something else there."""

    text: str
    differs: bool


class Hunk(NamedTuple):
    """Both sides of one place; `skipped` words before it are equal in both."""

    skipped: int
    left: list[Span]
    right: list[Span]


class Differences(NamedTuple):
    """Without hunks the texts are equal word for word; `is_cut` where there may be more differences than these."""

    hunks: list[Hunk]
    is_cut: bool


class _Word(NamedTuple):
    space: str
    word: str


class _Operation(NamedTuple):
    """Words [left, left_end) of one text beside [right, right_end) of the other."""

    differs: bool
    left: int
    left_end: int
    right: int
    right_end: int


def differences(left: str, right: str) -> Differences:
    """The first places where two texts differ; white space alone is no difference."""
    before: deque[_Word] = deque(maxlen=CONTEXT_WORDS)
    equal = 0
    words = _words(left), _words(right)
    for one, other in zip_longest(*words):
        if one is None or other is None or one.word != other.word:
            break
        before.append(one)
        equal += 1
    else:
        return Differences([], is_cut=False)
    sides = [
        [*before, *filter(None, [first]), *islice(rest, COMPARED_WORDS)]
        for first, rest in zip((one, other), words, strict=True)
    ]
    more = [next(rest, None) is not None for rest in words]
    return _hunks(*sides, skipped=equal - len(before), more=any(more))


def _words(text: str) -> Iterator[_Word]:
    # White space that nothing follows would be tried from each of its characters on.
    return (_Word(found["space"], found["word"]) for found in _WORD.finditer(text.rstrip()))


def _hunks(left: list[_Word], right: list[_Word], *, skipped: int, more: bool) -> Differences:
    found: list[Hunk] = []
    at, shown = 0, 0
    for group in _grouped(_operations([item.word for item in left], [item.word for item in right])):
        if shown >= SHOWN_WORDS:
            return Differences(found, is_cut=True)
        one: list[Span] = []
        other: list[Span] = []
        skip, at = group[0].left - at + (skipped if not found else 0), group[-1].left_end
        for differs, left_start, left_end, right_start, right_end in group:
            room = max(SHOWN_WORDS - shown, 0)
            one += _spans(left[left_start:left_end], room, differs=differs)
            other += _spans(right[right_start:right_end], room, differs=differs)
            shown += min(max(left_end - left_start, right_end - right_start), room)
        found.append(Hunk(skip, one, other))
    return Differences(found, is_cut=more or shown >= SHOWN_WORDS)


def _operations(left: list[str], right: list[str]) -> list[_Operation]:
    """From one to the other, in order; what is equal at both ends is left to nobody's judgement."""
    shorter = min(len(left), len(right))
    head = next((place for place in range(shorter) if left[place] != right[place]), shorter)
    tail = next((place for place in range(shorter - head) if left[-1 - place] != right[-1 - place]), shorter - head)
    # Words that are everywhere are no anchors (`autojunk`): without that, texts of one word take quadratic time each.
    matcher = difflib.SequenceMatcher(None, left[head : len(left) - tail], right[head : len(right) - tail])
    middle = [
        _Operation(kind != "equal", *(head + place for place in places)) for kind, *places in matcher.get_opcodes()
    ]
    last = _Operation(False, len(left) - tail, len(left), len(right) - tail, len(right))
    return [*([_Operation(False, 0, head, 0, head)] if head else []), *middle, *([last] if tail else [])]


def _grouped(operations: list[_Operation]) -> Iterator[list[_Operation]]:
    """Differences with the equal words around them, those together that are not far apart."""
    group: list[_Operation] = []
    for number, item in enumerate(operations):
        is_first, is_last = not number, number == len(operations) - 1
        if item.differs or not (is_first or is_last or item.left_end - item.left > 2 * CONTEXT_WORDS):
            group.append(item)
            continue
        if not is_first:
            end = min(item.left + CONTEXT_WORDS, item.left_end)
            group.append(item._replace(left_end=end, right_end=item.right + end - item.left))
            yield group
        start = max(item.left, item.left_end - CONTEXT_WORDS)
        group = [] if is_last else [item._replace(left=start, right=item.right_end - item.left_end + start)]
    if group:
        yield group


def _spans(words: list[_Word], room: int, *, differs: bool) -> list[Span]:
    """The words as at most two spans: white space before the first of those that differ does not count."""
    text = "".join(_shown_space(item.space) + item.word for item in words[:room])
    text = visible(text) + (" …" if len(words) > room > 0 else "")
    start = len(text) - len(text.lstrip()) if differs else 0
    return [Span(*span) for span in ((text[:start], False), (text[start:], differs)) if span[0]]


def _shown_space(space: str) -> str:
    return space if len(space) <= _LONG_SPACE else f" [{len(space):,} white-space characters] "


def visible(text: str) -> str:
    """Text that shows all it holds: what does not print, or turns the direction of what follows, is its code."""
    plain = text.replace("\r\n", "\n")
    return "".join(char if char in "\n\t" or char in _JOINERS or char.isprintable() else _code(char) for char in plain)


def _code(char: str) -> str:
    return char.encode("unicode_escape", "replace").decode("ascii")


def beginning(text: str, *, characters: int) -> str:
    """How a text begins, on one line."""
    words = " ".join(takewhile(len, text[: 4 * characters].split()))
    return visible(words[:characters]) + ("…" if len(words) > characters or len(text) > 4 * characters else "")
