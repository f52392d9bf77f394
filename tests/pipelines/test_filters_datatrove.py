"""The filters that bear a published name decide as datatrove's decide, document for document, given the same words.

datatrove splits English with spaCy, and here words are what white space separates: its filters get these words too.
"""

from __future__ import annotations

import importlib.util
import random

import pytest

from pile_toolkit.core.documents import read_documents
from pipelines.filters.document import Text
from pipelines.filters.pii import REPLACEMENTS
from pipelines.filters.registry import Dropped, find_filter

if importlib.util.find_spec("datatrove") is None:
    pytest.skip("datatrove is not installed: pip install datatrove", allow_module_level=True)

from datatrove.data import Document
from datatrove.pipeline.filters import c4_filters, fineweb_quality_filter, gopher_quality_filter
from datatrove.pipeline.filters import gopher_repetition_filter as repetition
from datatrove.pipeline.formatters.pii import PIIFormatter

REASONS = {
    "gopher_short_doc": "too_few_words",
    "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "words_too_short",
    "gopher_above_avg_threshold": "words_too_long",
    "gopher_too_many_hashes": "too_many_hashes",
    "gopher_too_many_ellipsis": "too_many_ellipses",
    "gopher_too_many_bullets": "too_many_bullets",
    "gopher_too_many_end_ellipsis": "too_many_lines_end_in_ellipsis",
    "gopher_below_alpha_threshold": "too_few_words_with_letters",
    "gopher_enough_stop_words": "too_few_stop_words",
    "empty": "blank",
    "dup_para_frac": "too_many_duplicate_paragraphs",
    "dup_para_char_frac": "too_many_characters_in_duplicate_paragraphs",
    "dup_line_frac": "too_many_duplicate_lines",
    "dup_line_char_frac": "too_many_characters_in_duplicate_lines",
    **{f"top_{n}_gram": f"too_frequent_{n}_gram" for n in range(2, 5)},
    **{f"duplicated_{n}_n_grams": f"too_many_duplicate_{n}_grams" for n in range(5, 11)},
    "line_punct_ratio": "too_few_lines_end_in_punctuation",
    "short_line_ratio": "too_many_short_lines",
    "char_dup_ratio": "too_many_characters_in_duplicate_lines",
    "list_ratio": "too_many_newlines",
    "lorem_ipsum": "lorem_ipsum",
    "curly_bracket": "curly_bracket",
}
FILTERS = {
    "gopher_quality": gopher_quality_filter.GopherQualityFilter,
    "gopher_repetition": repetition.GopherRepetitionFilter,
    "fineweb_quality": fineweb_quality_filter.FineWebQualityFilter,
    "c4_quality": lambda: c4_filters.C4QualityFilter(min_num_sentences=-1),
    "c4_paragraphs": c4_filters.C4ParagraphFilter,
}


@pytest.fixture(autouse=True)
def same_words(monkeypatch):
    for module in (gopher_quality_filter, repetition, fineweb_quality_filter):
        monkeypatch.setattr(module, "split_into_words", lambda text, language: text.split())
    monkeypatch.setattr(c4_filters, "split_into_sentences", lambda text, language: [])


def ours(name: str, text: str) -> tuple[str | None, str]:
    """(reason or None, text to go on with)."""
    step = find_filter(name)
    found = step.function(Text(text), step.read_options({}, where=name))
    if isinstance(found, Dropped):
        return found.reason, text
    return None, found.text if found else text


def theirs(name: str, text: str) -> tuple[str | None, str]:
    document = Document(text=text, id="")
    verdict = FILTERS[name]().filter(document)
    if verdict is True:
        return None, document.text
    reason = verdict[1]
    if reason.endswith("paragraphs"):
        long_enough = len(text.split("\n")) >= 3
        return "paragraphs_too_short" if long_enough else "too_few_paragraphs", document.text
    return REASONS[reason], document.text


def compare(name: str, text: str) -> str | None:
    expected, found = theirs(name, text), ours(name, text)
    if expected == (None, "") and name == "c4_quality":
        # Without its count of sentences it lets empty documents through.
        expected = ("no_line_left", text)
    assert found == (expected[0], text if expected[0] else expected[1]), (name, text[:500])
    return found[0]


@pytest.mark.real_data
@pytest.mark.parametrize("name", FILTERS)
def test_real_documents_go_and_stay_for_the_same_reasons(minipile, name):
    reasons = set()
    for path in sorted(minipile.glob("*.jsonl.zst")):
        for number, document in enumerate(read_documents(path)):
            if number % 12 == 0 and len(document.text) < 50_000 and document.text:
                reasons.add(compare(name, document.text))
    assert len(reasons) > 2


PARTS = ["the", "to", "of", "and", "a", "b", "ab", "1", "#", "...", "…", "•", "-", "\n", "\n\n", "\r", "\x0b", " "]
PARTS += ["é", "ﾊ", "—", "Lorem ipsum", "{", "}", "[1]", "[edit]", "javascript", "cookie policy", ".", "!", '"', "。"]
PARTS += ["\u2028", "word " * 12]


@pytest.mark.parametrize("name", FILTERS)
def test_random_texts_of_awkward_parts_go_and_stay_for_the_same_reasons(name):
    rng, seen = random.Random(7), set()
    for _ in range(1500):
        parts = rng.choices(rng.sample(PARTS, rng.randint(2, 12)), k=rng.choice((1, 5, 30, 150)))
        text = rng.choice((" ", "", "\n", ". ")).join(parts)
        # An empty list of words or lines is a division by zero there.
        if text.split() and text.splitlines():
            seen.add(compare(name, text))
    assert len(seen) > 2


@pytest.mark.parametrize("kind", ["email"])
def test_addresses_are_masked_where_datatrove_masks_them(minipile, kind):
    formatter = PIIFormatter(remove_ips=False, email_replacement=REPLACEMENTS["email"])
    step = find_filter("mask")
    options = step.read_options({kind: True}, where="mask")
    texts = [
        document.text
        for slug in ("enron-emails", "hackernews", "github", "arxiv", "ubuntu-irc")
        for document in read_documents(minipile / f"{slug}.jsonl.zst")
        if "@" in document.text and len(document.text) < 100_000
    ]
    rng = random.Random(3)
    alphabet = "ab1é.-@_!+[] \n:2"
    texts += ["".join(rng.choices(alphabet, k=rng.randint(3, 40))) for _ in range(20_000)]
    changed = 0
    for text in texts:
        found = step.function(Text(text), options)
        assert (found.text if found else text) == formatter.format(text), text[:300]
        changed += found is not None
    assert changed > 1000
