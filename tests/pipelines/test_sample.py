"""The embedded sample is the same everywhere, says what it is, looks like what it stands for, and its sums are right.

Pins lie in tests/golden/sample.json, by the content of the installed standard library: the exact bytes belong to one
release and build, the counts to the minor version. `PYTHONPATH=. python tests/pipelines/test_sample.py` prints the pins
of the Python that runs it.
"""

from __future__ import annotations

import email
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tokenize
from collections import Counter
from datetime import date
from email.utils import parsedate_to_datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.errors import SourceUnavailable, UsageError
from pipelines.sample import SAMPLE_SLUGS, sample_documents, sample_fingerprint
from pipelines.sample.draw import WEEKDAYS, Draw, Moment
from pipelines.sample.mathematics import decimal, in_base
from pipelines.sample.passages import examples, held_back_listings, library_passages, paragraphs, sentences
from pipelines.sample.slices import code, prose
from pipelines.sample.standard_library import library_texts

REPOSITORY = Path(__file__).resolve().parents[2]
PINS = REPOSITORY / "tests" / "golden" / "sample.json"
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
BOOKS = {"books3", "gutenberg-pg-19", "bookcorpus2"}

# Written apart from the package's own rule, so that a change of that rule is noticed.
OPTIONAL = (
    "distutils ensurepip idlelib lib2to3 msilib test tkinter turtledemo venv site sysconfig "
    "_aix_support _bootsubprocess _osx_support _sysconfigdata"
)
OPTIONAL_FOLDERS = ("__pycache__", "macholib", "site-packages", "test", "tests")


def installed_library() -> dict[str, str]:
    """The texts of the modules that every build of this Python has: the slow twin of `library_texts`."""
    folder = os.path.dirname(os.__file__)
    found = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in OPTIONAL_FOLDERS]
        for name in files:
            relative = os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
            top = relative.split("/")[0].removesuffix(".py")
            if name.endswith(".py") and top in sys.stdlib_module_names and top not in OPTIONAL.split():
                with tokenize.open(os.path.join(place, name)) as file:
                    found[relative] = file.read()
    return dict(sorted(found.items()))


def library_key(library: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(library).encode()).hexdigest()[:32]


def documents_hash(documents: list) -> str:
    hasher = hashlib.sha256()
    for text, meta in documents:
        hasher.update(json.dumps([text, meta], sort_keys=True).encode() + b"\n")
    return hasher.hexdigest()[:32]


def measured(sample: dict[str, list]) -> dict[str, list]:
    """Slug to documents, bytes of text, hash."""
    return {
        slug: [len(found), sum(len(text.encode()) for text, _ in found), documents_hash(found)]
        for slug, found in sample.items()
    }


@pytest.fixture(scope="module")
def sample() -> dict[str, list]:
    return {slug: list(sample_documents(slug)) for slug in SAMPLE_SLUGS}


@pytest.fixture(scope="module")
def library() -> dict[str, str]:
    return installed_library()


@pytest.fixture(scope="module")
def pins() -> dict[str, dict]:
    return json.loads(PINS.read_text())


def test_the_sample_has_the_22_components_of_the_pile(reference):
    published = json.loads((reference / "pile_components.json").read_text())["components"]
    assert sorted(SAMPLE_SLUGS) == sorted(component["slug"] for component in published)
    assert len(set(SAMPLE_SLUGS)) == 22


def test_the_bytes_are_the_pinned_ones(sample, library, pins):
    pinned = pins.get(library_key(library))
    if pinned is None:
        pytest.skip(
            f"Python {sys.version.split()[0]} has a standard library (key {library_key(library)}) that is not pinned: "
            "patch releases and distributors change it; the counts are still compared with the pinned minor version's"
        )
    assert measured(sample) == pinned["components"]


def test_the_counts_are_those_of_the_minor_version(sample, pins):
    builds = [build for build in pins.values() if build["python"].startswith(f"{MINOR}.")]
    if not builds:
        pytest.skip(f"no build of Python {MINOR} is pinned")
    for build in builds:
        for slug, (documents, text_bytes, _) in measured(sample).items():
            pinned_documents, pinned_bytes, _ = build["components"][slug]
            assert abs(documents - pinned_documents) <= max(4, 0.05 * pinned_documents), slug
            assert abs(text_bytes - pinned_bytes) <= 0.05 * pinned_bytes, slug


def test_another_process_gives_the_same_bytes(sample, tmp_path):
    script = (
        f"import sys, json; sys.path[:0] = [{str(REPOSITORY)!r}, {str(Path(__file__).parent)!r}]\n"
        "from pipelines.sample import *; from test_sample import measured\n"
        "print(json.dumps(measured({slug: list(sample_documents(slug)) for slug in reversed(SAMPLE_SLUGS)})))"
    )
    environment = {"PYTHONHASHSEED": "4242", "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    run = subprocess.run(
        [sys.executable, "-OO", "-c", script], env=kept | environment, cwd=tmp_path, capture_output=True, check=True
    )
    assert json.loads(run.stdout) == measured(sample)


def test_a_component_read_again_gives_the_same_documents(sample):
    for slug in ("github", "arxiv", "ubuntu-irc", "dm-mathematics"):
        assert list(sample_documents(slug)) == sample[slug]


def test_the_modules_read_are_those_every_build_has(library):
    assert list(library_texts()) == list(library)
    assert dict(library_texts()) == library
    assert len(sample_fingerprint()) == 32


def test_github_documents_are_whole_files_of_the_library(sample, library):
    for text, meta in sample["github"]:
        assert text == library[meta["source"]]
        assert len(text) < 100_000
    assert max(len(run) for text, _ in sample["github"] for run in re.findall(" +", text)) > 24


def test_every_document_is_text_that_can_be_stored(sample):
    for slug, documents in sample.items():
        for text, _ in documents:
            assert isinstance(text, str), slug
            assert text.strip(), slug
            text.encode()  # raises for a lone surrogate
            assert "\r" not in text, slug


def test_every_document_says_that_it_is_a_stand_in_and_where_its_text_is_from(sample, library):
    for slug, documents in sample.items():
        for _, meta in documents:
            assert set(meta) <= {"stand_in", "source"}
            assert meta["stand_in"].startswith("Stand-in, not from the Pile: ")
            if "source" in meta:
                named = re.sub(r" and \d+ more$", "", meta["source"]).split(", ")
                assert all(source in library and "-packages" not in source for source in named), slug
            else:
                assert slug in {"dm-mathematics", "wikipedia-en"}


def test_the_sizes_are_those_of_a_small_pile(sample):
    counts = measured(sample)
    assert 15_000_000 <= sum(text_bytes for _, text_bytes, _ in counts.values()) <= 30_000_000
    for slug, (documents, _, _) in counts.items():
        assert documents >= (20 if slug in BOOKS else 40), slug
    text_bytes = {slug: count[1] for slug, count in counts.items()}
    assert min(text_bytes, key=text_bytes.get) == "nih-exporter"
    assert text_bytes["pile-cc"] > text_bytes["freelaw"] > text_bytes["europarl"] > text_bytes["enron-emails"]
    longest = sorted(counts, key=lambda slug: counts[slug][1] / counts[slug][0])[-4:]
    assert {"books3", "gutenberg-pg-19"} <= set(longest)


def test_near_duplicates_stay_in_and_the_components_are_not_copies_of_each_other(sample):
    tables = {meta["source"]: shingles(text) for text, meta in sample["github"] if "encodings/cp125" in meta["source"]}
    alike = [jaccard(left, right) for left, right in itertools.combinations(tables.values(), 2)]
    assert max(alike) > 0.6
    everywhere = Counter(
        shingle for documents in sample.values() for text, _ in documents for shingle in shingles(text)
    )
    assert len(everywhere) / sum(everywhere.values()) > 0.6
    texts = Counter(text for documents in sample.values() for text, _ in documents)
    assert len(texts) > 0.99 * sum(texts.values())


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def jaccard(left: set, right: set) -> float:
    return len(left & right) / len(left | right)


def test_a_passage_is_quoted_by_two_components_and_code_by_one():
    passages = Counter(id(passage) for slug in SAMPLE_SLUGS for passage in prose(slug))
    assert {passages[id(passage)] for passage in library_passages()} == {2}
    listings = Counter(id(listing) for slug in SAMPLE_SLUGS for listing in code(slug))
    assert {listings[id(listing)] for listing in held_back_listings()} == {1}
    on_github = {meta["source"] for _, meta in sample_documents("github")}
    assert not on_github & {listing.source for listing in held_back_listings()}


def test_comments_are_what_the_tokenizer_calls_comments(library):
    for source in ("argparse.py", "asyncio/base_events.py", "pickletools.py", "tarfile.py", "unittest/mock.py"):
        tokens = tokenize.generate_tokens(io.StringIO(library[source]).readline)
        comments = {token.string.lstrip("#:! ").rstrip() for token in tokens if token.type == tokenize.COMMENT}
        taken = [passage for passage in library_passages() if passage.source == source and passage.kind == "comment"]
        assert len(taken) > 20
        for line in [line for passage in taken for line in passage.text.split("\n")]:
            assert line.lstrip("#:! ") in comments


def test_prose_is_unwrapped_and_code_left_out():
    text = "Wrap the lines\nof it. Return it.\n\n    indented(code)\n\n>>> wrap(1)\n'one'\n\n-----\n\nHere it ends now"
    assert paragraphs(text) == ["Wrap the lines of it. Return it.", "Here it ends now"]
    assert sentences("Split the text here. And then (always) here! ok") == [
        "Split the text here.",
        "And then (always) here! ok.",
    ]
    assert examples(text) == [">>> wrap(1)\n'one'"]


def test_email_headers_are_read_by_the_email_package(sample):
    for text, _ in sample["enron-emails"]:
        message = email.message_from_string(text)
        assert {"Message-ID", "Date", "From", "To", "Subject", "X-Folder"} <= set(message.keys())
        sent = parsedate_to_datetime(message["Date"])
        assert message["Date"].startswith(sent.strftime("%a, "))
        assert message.get_payload().strip()


def test_captions_and_channel_logs_run_forward_in_time(sample):
    for text, _ in sample["youtubesubtitles"]:
        times = [
            ((int(h) * 60 + int(m)) * 60 + int(s)) * 1000 + int(ms)
            for h, m, s, ms in re.findall(r"\b(\d\d):(\d\d):(\d\d),(\d{3})\b", text)
        ]
        assert len(times) > 20
        assert times == sorted(times)
    for text, _ in sample["ubuntu-irc"]:
        clocks = re.findall(r"^\[(\d\d:\d\d)\] <[^>]+> ", text, re.MULTILINE)
        assert len(clocks) > 5
        assert clocks == sorted(clocks)


def test_an_unknown_component_is_refused_with_the_command_that_lists_them():
    with pytest.raises(UsageError, match="'enron' is not one of the 22") as error:
        sample_documents("enron")
    assert "pile components" in error.value.hint


def test_a_python_without_sources_is_refused_with_another_way_in(tmp_path, monkeypatch):
    (tmp_path / "abc.py").write_text("only = 1\n")
    monkeypatch.setattr("pipelines.sample.standard_library.sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(SourceUnavailable, match="holds 1 of its modules") as error:
        library_texts.__wrapped__()
    assert "--from FOLDER" in error.value.hint


@given(st.dates(date(1900, 1, 1), date(2100, 12, 31)))
def test_weekdays_are_those_of_the_calendar(day):
    moment = Moment(year=day.year, month=day.month, day=day.day, second=0)
    assert moment.weekday == WEEKDAYS[day.weekday()]
    assert moment.iso == day.isoformat()


@given(st.integers(0, 10**6), st.integers(1, 10**12), st.integers(1, 50))
def test_drawn_numbers_stay_in_range_and_depend_on_the_document_only(document, limit, size):
    draw, again = Draw("test", document), Draw("test", document)
    drawn = [draw.below(limit) for _ in range(5)]
    assert drawn == [again.below(limit) for _ in range(5)]
    assert all(0 <= number < limit for number in drawn)
    assert 1 <= abs(draw.nonzero(size)) <= size
    assert sorted(draw.shuffled(range(size))) == list(range(size))


@given(st.integers(-(10**12), 10**12), st.integers(0, 8), st.integers(2, 16))
def test_numbers_are_written_exactly(number, places, base):
    value = Fraction(number, 10**places)
    assert Fraction(decimal(value)) == value
    assert not re.search(r"\.\d*0$|\.$", decimal(value))
    assert int(in_base(number, base), base) == number


if __name__ == "__main__":
    entry = {
        "python": sys.version.split()[0],
        "components": measured({slug: list(sample_documents(slug)) for slug in SAMPLE_SLUGS}),
    }
    print(json.dumps({library_key(installed_library()): entry}))
