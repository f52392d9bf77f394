"""Records of evaluation sets in, what is looked for out: n-grams of folded words, each with where it comes from.

The strings of a record are read one after the other, as sets print them, so that n-grams reach from a question into
its answer. Beside that, each option of a list follows the string before the list, and where a string has a blank, a
lone `_`, each option takes its place. A string of fewer words than an n-gram is looked for as a whole if it has
`shortest` words, and so is a record of fewer words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipelines.decontamination.evaluation import BLANK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipelines.decontamination.evaluation import Record

WHOLE = "record"
Words = list[bytes]


class Passage(NamedTuple):
    """Folded words in a row, and the n-grams in them: number of the first word, number of words, field."""

    words: Words
    ngrams: list[tuple[int, int, str]]


def passages(
    record: Record, fold: Callable[[Sequence[str]], list[Words]], *, ngram: int, shortest: int
) -> Iterator[Passage]:
    """What is looked for of a record; `fold` gives the folded words of texts."""
    leaves = fold([leaf.text for leaf in record.leaves])
    words = [word for leaf in leaves for word in leaf]
    owner = [number for number, leaf in enumerate(leaves) for _ in leaf]
    fields = [leaf.field for leaf in record.leaves]
    found = []
    for start in range(len(words) - ngram + 1):
        first, last = owner[start], owner[start + ngram - 1]
        found.append((start, ngram, fields[first] if first == last else _joined(fields[first], fields[last])))
    start = 0
    for field, leaf in zip(fields, leaves, strict=True):
        if shortest <= len(leaf) < ngram:
            found.append((start, len(leaf), field))
        start += len(leaf)
    if shortest <= len(words) < ngram:
        found.append((0, len(words), WHOLE))
    yield Passage(words, found)
    for before, option in record.options:
        field = _joined(fields[before], fields[option])
        yield _all_ngrams([*leaves[before][1 - ngram :], *leaves[option][: ngram - 1]], field, ngram)
    yield from _filled(record, fields, fold, ngram, shortest)


def _filled(
    record: Record, fields: list[str], fold: Callable[[Sequence[str]], list[Words]], ngram: int, shortest: int
) -> Iterator[Passage]:
    """The first string with a blank, each option of the lists in its place, as far as n-grams reach from it."""
    blanks = (number for number, leaf in enumerate(record.leaves) if leaf.text.split(" ").count(BLANK) == 1)
    number = next(blanks, None)
    if number is None:
        return
    parts = record.leaves[number].text.split(" ")
    at = parts.index(BLANK)
    before, after = fold([" ".join(parts[:at]), " ".join(parts[at + 1 :])])
    before, after = before[1 - ngram :], after[: ngram - 1]
    # Those known are the later elements of each list; the first one stands behind the string before the list.
    places = {place for first, option in record.options for place in (first + 1, option)}
    for place in sorted(places - {number}):
        (option,) = fold([record.leaves[place].text])
        words = [*before, *option, *after]
        size = min(ngram, len(words))
        if size >= min(ngram, shortest):
            yield _all_ngrams(words, _joined(fields[number], fields[place]), size)


def _all_ngrams(words: Words, field: str, size: int) -> Passage:
    return Passage(words, [(start, size, field) for start in range(len(words) - size + 1)])


def _joined(first: str, last: str) -> str:
    return f"{first} + {last}"
