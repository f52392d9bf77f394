"""A component behind filters: its files, its tables and what is said of each line are those of a plain reading."""

from __future__ import annotations

import json
import random

import pyarrow.parquet as pq
import pytest
import zstandard

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData, SourceUnavailable, UsageError
from pile_toolkit.core.manifest import MANIFEST, read_manifest
from pile_toolkit.core.tasks import WORK_PREFIX
from pipelines.dedup import dedup
from pipelines.download import download
from pipelines.filters import Text, command_options
from pipelines.filters.length import Length, length
from pipelines.filters.pii import Mask, mask
from pipelines.filters.tracing import trace_source, trace_written
from pipelines.why import explain, explain_source

ASKED = {"filters": ["length:min_words=3,max_words=9"], "mask": "email,phone"}
OPTIONS, MASKED = Length(min_words=3, max_words=9), Mask(email=True, phone=True)


def random_lines(seed: int, count: int) -> list[bytes]:
    rng = random.Random(seed)
    words = ["one", "two", "a@b.org", "713-853-6161", "é", "8.8.8.8"]
    lines = []
    for number in range(count):
        text = " ".join(rng.choices(words, k=rng.randint(0, 12)))
        lines.append(
            json.dumps({"text": text, "meta": {"n": number}}).encode() if rng.random() > 0.1 else b"no document"
        )
    return lines


@pytest.fixture
def source(tmp_path):
    """Two files of one component with lines that are no documents among them, and one of another."""
    parts = {"arxiv/b.jsonl.zst": (1, 120), "arxiv/a.jsonl.zst": (2, 80), "github.jsonl.zst": (3, 60)}
    for name, (seed, count) in parts.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each file meets the reasons in an order of its own.
        first = [b"no document", b'{"text": "' + b"one " * 12 + b'"}', b'{"text": "one"}'][seed - 1 :]
        path.write_bytes(zstandard.compress(b"\n".join([*first, *random_lines(seed, count)])))
    return tmp_path / "source"


def take(root, source, slugs=("arxiv", "github"), **options):
    return download(root, components=list(slugs), source=str(source), max_rejects=1000, **{**ASKED, **options})


def tree(root) -> dict[str, bytes]:
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != "timings.json"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def plain(path) -> tuple[list, list, list]:
    """(documents that stay, rows of lines that go, rows of documents that are changed) of one file of a source."""
    kept, gone, changed = [], [], []
    for number, line in enumerate(zstandard.decompress(path.read_bytes()).split(b"\n"), 1):
        try:
            record = json.loads(line)
        except ValueError:
            gone.append((number, "no document", "no document", None, None))
            continue
        if (found := length(Text(record["text"]), OPTIONS)) is not None:
            gone.append((number, "length", *found))
            continue
        edited = mask(Text(record["text"]), MASKED)
        kept.append((edited.text if edited else record["text"], record["meta"], number))
        if edited:
            changed.append((number, 0, edited.counts["email"], 0, edited.counts["phone"]))
    return kept, gone, changed


def test_files_and_tables_are_those_of_a_plain_reading(source, tmp_path):
    result = take(tmp_path / "root", source)
    folder = tmp_path / "root" / "components" / "arxiv"
    names = ["a.jsonl.zst", "b.jsonl.zst"]
    assert [file.counts.name for file in read_component(tmp_path / "root", "arxiv").files] == names
    dropped = pq.read_table(folder / "filtered.parquet").to_pylist()
    changed = pq.read_table(folder / "changed.parquet").to_pylist()
    expected_dropped, expected_changed, kept_documents = [], [], 0
    for number, name in enumerate(names):
        kept, gone, edits = plain(source / "arxiv" / name)
        documents = list(read_documents(folder / name))
        assert [(doc.text, json.loads(doc.meta)) for doc in documents] == [(text, meta) for text, meta, _ in kept]
        assert [doc.line for doc in documents] == list(range(1, len(kept) + 1))
        expected_dropped += [(number, *row) for row in gone]
        expected_changed += [(number, *row) for row in edits]
        kept_documents += len(kept)
    assert [tuple(row.values()) for row in dropped] == expected_dropped
    assert [tuple(row.values()) for row in changed] == expected_changed
    row = result.components[0]
    assert (row.documents, row.filtered.read) == (kept_documents, kept_documents + row.filtered.dropped_documents)
    assert row.filtered.dropped_documents == sum(gone[1] != "no document" for gone in [r[1:] for r in expected_dropped])
    assert row.filtered.changed["mask"]["documents"] == len(expected_changed)
    assert row.rejects == sum(gone[2] == "no document" for gone in expected_dropped)


def test_every_line_is_traced_to_where_it_went_and_back(source, tmp_path):
    root = tmp_path / "root"
    take(root, source)
    for name in ("a.jsonl.zst", "b.jsonl.zst"):
        kept, gone, edits = plain(source / "arxiv" / name)
        for line, filter_, reason, value, limit in gone:
            trace = trace_source(root, "arxiv", name, line)
            assert (trace.written, trace.filter, trace.reason) == (None, filter_, reason)
            assert (trace.value, trace.limit) == (value, limit)
        counts = {line: {"email": email, "phone": phone} for line, _, email, _, phone in edits}
        for written, (_, _, line) in enumerate(kept, 1):
            trace = trace_source(root, "arxiv", name, line)
            assert trace == trace_written(root, "arxiv", name, written)
            assert (trace.source, trace.written) == (f"arxiv/{name}:{line}", f"arxiv/{name}:{written}")
            assert trace.changed == {kind: count for kind, count in counts.get(line, {}).items() if count}
        for line in (0, len(kept) + len(gone) + 1):
            with pytest.raises(UsageError, match="no line"):
                trace_source(root, "arxiv", name, line)
        with pytest.raises(UsageError, match="none on line"):
            trace_written(root, "arxiv", name, len(kept) + 1)


def test_without_filters_nothing_is_written_and_manifests_say_nothing_of_them(source, tmp_path):
    take(tmp_path / "root", source, filters=[], mask="")
    manifest = read_manifest(tmp_path / "root" / "components" / "arxiv")
    assert manifest.key.parameters.keys() == {"component", "from", "files"}
    assert manifest.counts.keys() == {"files"}
    assert not list((tmp_path / "root").rglob("*.zst"))
    for asked in ({"original_filters": True}, {"filters": ["pile-cc/length:min_words=1"]}, {"filters": {}, "mask": []}):
        result = take(tmp_path / "root", source, ("arxiv",), **{"filters": [], "mask": "", **asked})
        # ArXiv has an original filter; the others are of components that are not taken.
        assert result.up_to_date == ("original_filters" not in asked)
        if not result.up_to_date:
            take(tmp_path / "root", source, ("arxiv",), filters=[], mask="")


@pytest.mark.parametrize("options", [{"jobs": 2}, {"scheduler": "serial"}])
def test_the_bytes_do_not_depend_on_who_filters(source, tmp_path, options):
    take(tmp_path / "one", source)
    take(tmp_path / "two", source, **options)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize("reports", [1, 2, 3, 4])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(source, tmp_path, run_killed, reports):
    call = (
        f"from pipelines.download import download; download({str(tmp_path / 'killed')!r}, components=['arxiv'], "
        f"source={str(source)!r}, max_rejects=1000, filters={ASKED['filters']!r}, mask={ASKED['mask']!r}, "
        "reporter=reporter)"
    )
    assert run_killed(call, reports) == -9
    take(tmp_path / "killed", source, ("arxiv",))
    take(tmp_path / "whole", source, ("arxiv",))
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_a_run_that_was_killed_between_moving_files_goes_on(source, tmp_path, monkeypatch):
    from pipelines.filters import decisions

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(decisions, "write_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            take(tmp_path / "root", source, ("arxiv",))
    folder = tmp_path / "root" / "components" / "arxiv"
    assert (folder / "a.jsonl.zst").exists()
    assert not (folder / MANIFEST).exists()
    take(tmp_path / "root", source, ("arxiv",))
    take(tmp_path / "whole", source, ("arxiv",))
    assert tree(tmp_path / "root") == tree(tmp_path / "whole")


def test_a_second_run_is_up_to_date_and_other_filters_are_another_result(source, tmp_path):
    root = tmp_path / "root"
    first = take(root, source)
    again = take(root, source)
    assert again.up_to_date
    assert [row.filtered for row in again.components] == [row.filtered for row in first.components]
    digest = read_component(root, "arxiv").digest
    other = take(root, source, filters=["length:min_words=4,max_words=9"])
    assert not other.up_to_date
    assert read_component(root, "arxiv").digest != digest
    # Filters for one component leave the other as it is.
    third = take(root, source, filters=["length:min_words=4,max_words=9", "github/length:min_words=5"])
    assert [row.up_to_date for row in third.components] == [True, False]
    (source / "arxiv" / "a.jsonl.zst").write_bytes(zstandard.compress(b'{"text": "one two three four"}'))
    fourth = take(root, source, ("arxiv",), filters=["length:min_words=4,max_words=9"])
    assert fourth.components[0].filtered.read < first.components[0].filtered.read


def test_a_source_that_was_fetched_is_not_fetched_again_for_other_filters_or_none(tmp_path):
    root, folder = tmp_path / "root", tmp_path / "root" / "components" / "ubuntu-irc"

    def here() -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    download(root, components=["ubuntu-irc"])
    unfiltered, inode = tree(root), (folder / "00.jsonl.zst").stat().st_ino
    download(root, components=["ubuntu-irc"], filters=["length:min_words=60"])
    assert (folder / "source" / "00.jsonl.zst").stat().st_ino == inode
    assert "filtered.parquet" in here()
    download(root, components=["ubuntu-irc"], mask="email")
    assert (folder / "source" / "00.jsonl.zst").stat().st_ino == inode
    download(root, components=["ubuntu-irc"])
    assert (folder / "00.jsonl.zst").stat().st_ino == inode
    assert here() == ["00.jsonl.zst", "manifest.json", "timings.json"]
    assert tree(root) == unfiltered


def test_filters_that_are_taken_away_leave_nothing_behind(source, tmp_path):
    take(tmp_path / "root", source)
    take(tmp_path / "root", source, filters=[], mask="")
    take(tmp_path / "plain", source, filters=[], mask="")
    assert tree(tmp_path / "root") == tree(tmp_path / "plain")


def test_a_source_that_has_nothing_leaves_the_filtered_component(source, tmp_path):
    root, nothing = tmp_path / "root", tmp_path / "nothing"
    nothing.mkdir()
    take(root, source, ("arxiv",))
    before = tree(root)
    for asked in ({}, {"filters": [], "mask": ""}):
        with pytest.raises(SourceUnavailable):
            take(root, nothing, ("arxiv",), **asked)
        assert tree(root) == before
    assert take(root, source, ("arxiv",)).up_to_date


def test_a_component_of_which_nothing_is_left_is_an_error_that_names_the_filter(source, tmp_path):
    with pytest.raises(UsageError, match=r"of the .* documents of 'arxiv' none passes the filters: length") as error:
        take(tmp_path / "root", source, filters=["length:min_words=100"])
    assert "too_few_words" in error.value.message
    assert "arxiv/length:off" in error.value.hint
    assert not (tmp_path / "root" / "components" / "arxiv" / MANIFEST).exists()
    result = take(tmp_path / "root", source, filters=["length:min_words=100", "arxiv/length:off", "github/length:off"])
    assert result.documents > 0
    assert not list((tmp_path / "root").rglob(f"{WORK_PREFIX}*"))


def test_too_many_rejects_and_damage_are_errors_with_filters_too(source, tmp_path):
    with pytest.raises(CorruptData, match="at most 0 may be"):
        download(tmp_path / "root", components=["arxiv"], source=str(source), **ASKED)
    path = source / "github.jsonl.zst"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CorruptData, match="github"):
        take(tmp_path / "root", source, ("github",))


def test_everything_after_sees_the_masked_text(tmp_path, write_source):
    texts = ["Write to one@b.org today.", "Write to two@b.org today.", "Call 8.8.8.8."]
    source = write_source(tmp_path / "source", {"arxiv": texts})
    root = tmp_path / "root"
    download(root, components=["arxiv"], source=str(source), mask={"email": "<mail>"}, filters=["length:min_words=3"])
    assert [doc.text for doc in read_documents(root / "components" / "arxiv" / "arxiv.jsonl.zst")] == [
        "Write to <mail> today."
    ] * 2
    assert dedup(root).kept == 1
    told = explain(root, "arxiv/arxiv.jsonl.zst:2")
    assert told.source.changed == {"email": 1}
    assert told.lines[1] == "download: arxiv/arxiv.jsonl.zst:2 of the source, changed: email 1"
    assert explain_source(root, "arxiv/arxiv.jsonl.zst:2") == told
    gone = explain_source(root, "arxiv/arxiv.jsonl.zst:3")
    assert gone.lines == [
        "download: arxiv/arxiv.jsonl.zst:3 of the source was dropped by length: too_few_words (2, at least 3 passes)"
    ]
    # By the paths of the files: that of the source has a third line, the component's own has not.
    assert explain_source(root, f"{source / 'arxiv.jsonl.zst'}:3") == gone
    assert explain(root, f"{root / 'components' / 'arxiv' / 'arxiv.jsonl.zst'}:2") == told
    for name in ("arxiv/arxiv.jsonl.zst:3", f"{root / 'components' / 'arxiv' / 'arxiv.jsonl.zst'}:3"):
        with pytest.raises(UsageError) as error:
            explain(root, name)
        assert "pile why --source" in error.value.hint
    # After other filters the numbers of lines are others than those in which duplicates were sought.
    download(root, components=["arxiv"], source=str(source), filters=["length:max_words=3"])
    assert explain(root, "arxiv/arxiv.jsonl.zst:2").source is None


def test_the_words_of_a_command_make_the_same_component_again(source, tmp_path):
    filters = {
        "gopher_repetition": {"max_duplicate_lines_ratio": False, "top_ngrams": [[2, 0.5]], "duplicate_ngrams": []},
        "length": {"min_words": 2, "arxiv": {"max_words": 11}},
        "gopher_quality": {"components": ["github"]},
    }
    take(tmp_path / "one", source, ("arxiv",), filters=filters, mask={"email": 'a,"b"'}, original_filters=True)
    words = command_options(read_manifest(tmp_path / "one" / "components" / "arxiv").key.parameters)
    texts = [word for option, word in zip(words[::2], words[1::2], strict=True) if option == "--filter"]
    masks = [word for option, word in zip(words[::2], words[1::2], strict=True) if option == "--mask"]
    take(tmp_path / "two", source, ("arxiv",), filters=texts, mask=masks[0])
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert command_options({"component": "arxiv"}) == []
