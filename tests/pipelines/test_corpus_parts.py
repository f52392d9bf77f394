"""Lines are found, dealt, kept and sorted as plain Python does it, whatever the ranges, the blocks and the room."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from pile_toolkit.core import documents
from pile_toolkit.core.documents import Document, DocumentWriter, TooLong, read_lines, read_records
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.plan.lines import PlannedLine
from pile_toolkit.core.seeds import text_hash
from pipelines.corpus import reading
from pipelines.corpus.blocks import BlockWriter, file_name, find_blocks, read_block, records_of
from pipelines.corpus.dealing import block_file
from pipelines.corpus.layout import FileSize, Layout, choose_layout
from pipelines.corpus.lines import Batch, Finisher, join_plainly
from pipelines.corpus.loading import load_kernels
from pipelines.corpus.memory import MIB, run_room
from pipelines.corpus.metas import Namer, with_set_name
from pipelines.corpus.reading import LineBuffer
from pipelines.corpus.sorting import SORTED_FILE, sort_output

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('\\\\"/\n\t\r\b\f\x00\x1f\x7f\u2028é{}:,')) | st.text(
    'ab\\"\n', max_size=40
)
METAS = st.dictionaries(st.text(max_size=5) | st.just("pile_set_name"), st.text(max_size=5) | st.integers(), max_size=3)
BIG = (1 << 64) - 1


def written_like_us(text: str, meta: dict) -> bytes:
    return msgspec.json.encode({"text": text, "meta": meta})


def written_by_python(text: str, meta: dict) -> bytes:
    return json.dumps({"text": text, "meta": meta}, ensure_ascii=False).encode()


def written_in_ascii(text: str, meta: dict) -> bytes:
    return json.dumps({"text": text, "meta": meta}).encode()


def written_otherwise(text: str, meta: dict) -> bytes:
    return json.dumps({"meta": meta, "text": text}, separators=(" , ", ":  ")).encode()


WRITERS = st.sampled_from([written_like_us, written_by_python, written_in_ascii, written_otherwise])
LINES = st.lists(st.tuples(WRITERS, TEXTS, METAS), max_size=8)


class FewRows:
    """A plan of one file, as far as lines are finished from it."""

    def __init__(self, path: Path, planned: list[PlannedLine]) -> None:
        self.root, self._path = path.parent, path
        rows = [(each.number, each.text_hash, piece) for each in planned for piece in each.pieces or [(None, None)]]
        self._lines = np.array([row[0] for row in rows], np.uint64)
        self._hashes = [row[1] for row in rows]
        self._pieces = {"piece_start": [row[2][0] for row in rows], "piece_end": [row[2][1] for row in rows]}

    def column(self, name: str) -> np.ndarray:
        return {"line": self._lines}[name]

    def text_hashes(self, rows) -> list[bytes]:
        return [self._hashes[row] for row in rows]

    def blocks(self, names: list[str]) -> list[tuple[int, dict[str, np.ndarray]]]:
        assert names == ["text_hash"]
        hashes = np.frombuffer(b"".join(self._hashes), np.uint64).reshape(-1, 2)
        # In groups, as a plan gives them.
        return [(first, {"text_hash": hashes[first : first + 3]}) for first in range(0, len(hashes), 3)]

    def pieces(self, name: str, rows) -> list[int | None]:
        return [self._pieces[name][row] for row in rows]

    def path(self, component: int, file: int) -> Path:
        return self._path

    def rows(self) -> np.ndarray:
        return np.arange(len(self._lines))


def finish_file(path: Path, planned: list[PlannedLine], *, compiled: bool, batch_bytes: int = 1 << 20) -> list[bytes]:
    """The finished lines of the rows of a file, joined by the kernel and by its twin."""
    plan = FewRows(path, planned)
    finisher = Finisher(plan, path, Namer("ArXiv"), load_kernels() if compiled else None, batch_bytes=batch_bytes)
    made: list[bytes] = []
    for batch in finisher.batches(0, 0, plan.rows()):
        assert batch.first == len(made)
        sizes = batch.line_bytes()
        for number, size in enumerate(sizes.tolist()):
            out, chosen = np.full(size + 8, 7, np.uint8), np.array([number])
            twin = out.copy()
            for join, into in ((load_kernels().join_lines, out), (join_plainly, twin)):
                assert join(batch.data, batch.rest, batch.spans, chosen, into) == size
            assert (out == twin).all()
            assert (out[size:] == 7).all()
            assert out[size - 1] == 10
            made.append(out[: size - 1].tobytes())
    return made


def finish(
    lines: list[tuple[bytes, str, list | None]], *, compiled: bool, batch_bytes: int = 1 << 20, between: bytes = b""
) -> list[bytes]:
    """The same of these lines, with `between` on a line of its own before each of them, which nobody planned."""
    planned = [PlannedLine(2 * n + 2, line, text_hash(text), pieces) for n, (line, text, pieces) in enumerate(lines)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.jsonl.zst"
        path.write_bytes(zstandard.compress(b"\n".join(between + b"\n" + line for line, _, _ in lines)))
        return finish_file(path, planned, compiled=compiled, batch_bytes=batch_bytes)


@given(LINES)
@example([(written_like_us, "\\" * n + '"' * (n % 3), {}) for n in range(20)])
@example([(written_by_python, "x" * n + "\n" + "é" * n, {"n": n}) for n in range(20)])
def test_the_compiled_loop_finds_in_plain_lines_what_a_json_library_reads(cases):
    lines = [write(text, meta) for write, text, meta in cases]
    joined = b"\n".join([*lines, bytes(16)])
    plain, found = np.zeros(len(joined), np.uint8), np.zeros((len(lines), load_kernels().FOUND), np.int64)
    numbers = np.arange(len(lines)) + 5
    data = np.frombuffer(bytearray(joined), np.uint8)
    counted = load_kernels().find_lines(data, 0, len(joined) - 16, 5, numbers, 0, plain, found)
    assert counted == (len(lines), len(lines) + 5)
    at, before = 0, None
    for (write, text, meta), line, (begin, end, start, close, meta_at, text_end, changed, *hashed) in zip(
        cases, lines, found[:, :9].tolist(), strict=True
    ):
        assert joined[begin:end] == line
        # Plain are lines without escapes of code points, in this order of keys, with these spaces or none.
        if write in (written_like_us, written_by_python) and b"\\u" not in written_like_us(text, {}):
            assert start >= 0
        if start < 0:
            assert text_end == at
            continue
        assert plain[at:text_end].tobytes() == text.encode()
        assert np.array(hashed).tobytes() == text_hash(text)
        assert json.loads(b'"' + joined[start:close] + b'"') == text
        assert json.loads(joined[meta_at : end - 1]) == meta
        at = text_end
        assert line.endswith(joined[meta_at:end])
        assert changed == (joined[meta_at:end] != before)
        before = joined[meta_at:end]


@given(st.lists(st.binary(max_size=60) | st.just(b'{"text":"') | st.just(b'{"text":"a","meta":'), max_size=6))
def test_the_compiled_loop_reads_no_further_than_a_line_whatever_stands_in_it(lines):
    lines = [line.replace(b"\n", b" ") for line in lines]
    joined = b"\n".join([*lines, bytes(16)])
    # What lies behind the arrays must stay as it was.
    whole, found = np.full(len(joined) + 64, 7, np.uint8), np.zeros((len(lines), load_kernels().FOUND), np.int64)
    # Of every other line.
    numbers = np.arange(1, len(lines), 2)
    data = np.frombuffer(bytearray(joined), np.uint8)
    load_kernels().find_lines(data, 0, len(joined) - 16, 0, numbers, 0, whole[: len(joined)], found)
    assert (whole[len(joined) :] == 7).all()
    for line, (begin, end, start, close, meta) in zip(lines[1::2], found[:, :5].tolist(), strict=False):
        assert joined[begin:end] == line
        assert start < 0 or begin < start <= close < meta <= end


@given(LINES, st.booleans(), st.sampled_from([1, 1 << 20]), st.sampled_from([b"", b'{"text":"no","meta":{}}', b"\xff"]))
def test_lines_are_finished_as_the_writer_of_documents_writes_them(cases, compiled, batch_bytes, between):
    metas = [with_set_name(json.dumps(meta).encode(), "ArXiv") for _, _, meta in cases]
    rows = [(write(text, meta), text, None) for write, text, meta in cases]
    # As they stand in the line, spaces and all.
    stood = [json.loads(line) for line, _, _ in rows]
    assert [row["text"] for row in stood] == [text for _, text, _ in cases]
    finished = finish(rows, compiled=compiled, batch_bytes=batch_bytes, between=between)
    assert finished == finish(rows, compiled=False)
    for line, (_, text, _), meta in zip(finished, cases, metas, strict=True):
        assert line.startswith(msgspec.json.encode({"text": text})[:-1] + b',"meta":{')
        assert json.loads(line) == {"text": text, "meta": json.loads(meta)}


@pytest.mark.parametrize("compiled", [True, False])
def test_a_piece_is_its_code_points_and_has_the_hash_of_the_whole(compiled):
    line = written_in_ascii("aé😀b\nc", {"n": 1})
    pieces = [(0, 2), (2, 4), (5, 6)]
    assert [json.loads(made)["text"] for made in finish([(line, "aé😀b\nc", pieces)], compiled=compiled)] == [
        "aé",
        "😀b",
        "c",
    ]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        b'{"text":"other","meta":{}}',
        b'{"text":"text","text":"other","meta":{}}',
        b'{"text":"text"}',
        b'{"text":"text","meta":{}} ',
        b'{"text":"text","meta":{"a":1},"meta":{"b":2}}',
        b'{"text":"text","meta":{},"more":{}}',
        b'{"text": "te\\u0078t","meta" :{}}',
        b'\xef\xbb\xbf{"text":"text","meta":{}}',
        b'{"text":"text","meta":[]}',
        b'{"text":"text","meta":{"a":}}',
        b'{"text":"text","meta":{"a":NaN}}',
        b'{"text":"text","meta":{"a":"\xff"}}',
        b'{"text":"text","meta":' + b"[" * 300 + b"]" * 300 + b"}",
        b"",
    ],
)
def test_odd_lines_are_what_the_reader_of_documents_takes_them_for(tmp_path, line, compiled):
    path = tmp_path / "file.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(line + b"\n"))
    (record,) = read_records(path)
    planned = [PlannedLine(1, line, text_hash("text"), None)]
    if not isinstance(record, Document):
        with pytest.raises(CorruptData, match="has no document on line 1"):
            finish_file(path, planned, compiled=compiled)
    elif record.text != "text":
        with pytest.raises(CorruptData, match="has another text on line 1"):
            finish_file(path, planned, compiled=compiled)
    else:
        (made,) = finish_file(path, planned, compiled=compiled)
        assert made == b'{"text":"text","meta":' + with_set_name(record.meta, "ArXiv") + b"}"


@given(
    st.lists(st.lists(st.sampled_from([b"a", b"bb" * 200, b"\n", b"\n\n", b"c" * 3000, b"\r"]), max_size=6)),
    st.sampled_from([1, 100, 10**6]),
)
def test_the_buffer_holds_the_lines_that_plain_python_splits(tmp_path_factory, frames, forget_at):
    path = tmp_path_factory.mktemp("lines") / "file.zst"
    path.write_bytes(b"".join(zstandard.compress(b"".join(frame)) for frame in [*frames, []]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "LINES_BYTES", 1)
        patch.setattr(documents, "LONGEST_LINE_BYTES", 5000)
        buffer, found = LineBuffer(path), []
        while some := buffer.read():
            lines = buffer.data[some.begin : some.end].tobytes().split(b"\n")
            assert lines.pop() == b""
            assert len(lines) == some.lines
            found += lines
            if some.end >= forget_at:
                buffer.forget()
        expected = [b"" if isinstance(line, TooLong) else bytes(line) for line in read_lines(path)]
    # Of those that are a little too long it depends on the blocks they came in: no reader takes them for documents.
    assert len(found) == len(expected)
    assert all(one == other or (len(one) > 5000 and other == b"") for one, other in zip(found, expected, strict=True))


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, BIG))), st.integers(1, 10_000), st.integers(1, 99))
@example([(0, 0), (0, BIG), (1, BIG), (2, BIG)], 10_000, 4096)
def test_a_copy_goes_to_the_range_that_integers_without_bounds_give(copies, shards, train):
    layout = Layout(shards, (train, 3, 7))
    split, key = np.array([s for s, _ in copies], np.uint8), np.array([k for _, k in copies], np.uint64)
    for place, (in_split, of_key) in zip(layout.places(split, key).tolist(), copies, strict=True):
        output = of_key * shards >> 64 if in_split == 0 else shards + in_split - 1
        ranges = (train, 3, 7)[in_split]
        inside = layout.of_output(output)
        assert place in inside
        assert place - layout.of_output(shards + in_split - 1 if in_split else 0).start == (
            of_key * shards * ranges >> 64 if in_split == 0 else of_key * ranges >> 64
        )
    every = [bucket for output in range(layout.outputs) for bucket in layout.of_output(output)]
    assert every == list(range(layout.buckets))


def add_lines(writer: BlockWriter, buckets: np.ndarray, copies: tuple, lines: list[bytes]) -> None:
    """Lines, given without their newlines, as a batch of whole ones."""
    ends = np.cumsum([len(line) + 1 for line in lines], dtype=np.int64)
    spans = np.full((len(lines), 4), -1)
    spans[:, 3], spans[:, 2] = ends, np.append([0], ends[:-1])
    rest = np.frombuffer(b"".join(line + b"\n" for line in lines), np.uint8)
    batch = Batch(0, np.empty(0, np.uint8), rest, spans)
    writer.add(batch, buckets, records_of(*copies, batch.line_bytes()), np.arange(len(lines)))


@given(
    st.lists(st.tuples(st.integers(0, BIG) | st.integers(0, 5), st.binary(max_size=30)), max_size=60),
    st.integers(1, 60),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 300, 2000, 1 << 20]),
)
def test_what_is_sorted_is_all_lines_by_key_row_and_copy_in_any_room(
    tmp_path_factory, copies, block, compress, compiled, room
):
    folder = tmp_path_factory.mktemp("sorted")
    copies = [(key, n // 3, n % 3, line.replace(b"\n", b"")) for n, (key, line) in enumerate(copies)]
    layout = Layout(1, (4, 1, 1))
    key, row, copy = (np.array([each[n] for each in copies], kind) for n, kind in ((0, "u8"), (1, "i8"), (2, "u2")))
    places = layout.places(np.zeros(len(copies), np.uint8), key)
    (folder / "one").mkdir()
    join = load_kernels().join_lines if compiled else join_plainly
    with BlockWriter(folder / "one", [0] * 6, compress=compress, join=join) as writer:
        for some in (slice(start, start + block) for start in range(0, len(copies), block)):
            lines = [each[3] * 40 for each in copies[some]]
            add_lines(writer, places[some], (key[some], row[some], copy[some]), lines)
    sources = [str(folder / "one" / file_name(0)), str(folder / "two" / file_name(0))]
    result = sort_output(folder, sources, 0, 4, room, compiled)
    assert (folder / SORTED_FILE).stat().st_size == result["bytes"]
    stream = zstandard.ZstdDecompressor().stream_reader((folder / SORTED_FILE).read_bytes())
    expected = b"".join(each[3] * 40 + b"\n" for each in sorted(copies))
    assert stream.read() == expected
    # The bytes are those of one frame of the whole text, written at once.
    whole = io.BytesIO()
    with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(whole, closefd=False) as plain:
        plain.write(expected)
    assert (folder / SORTED_FILE).read_bytes() == whole.getvalue()
    if room == 1:
        assert result["turns"] == len({each[0] for each in copies})
    if room == 1 << 20:
        assert result["turns"] == len(set(places))


def test_lines_of_many_megabytes_are_sorted_into_the_frame_that_the_writer_of_documents_makes(tmp_path):
    rng = np.random.default_rng(1)
    texts = [bytes(rng.integers(97, 123, size, np.uint8)).decode() for size in (3_000_000, 10, 700_000, 0, 1_500_000)]
    keys = np.arange(5, dtype=np.uint64)[::-1].copy()
    with BlockWriter(tmp_path, [0], compress=True, join=join_plainly) as writer:
        lines = [msgspec.json.encode({"text": text, "meta": {}}) for text in texts]
        add_lines(writer, np.zeros(5, np.uint64), (keys, np.arange(5), np.zeros(5, np.uint16)), lines)
    sort_output(tmp_path, [str(tmp_path / file_name(0))], 0, 1, 1 << 20)
    with DocumentWriter(tmp_path / "expected") as writer:
        for text in texts[::-1]:
            writer.write(text, {})
    assert (tmp_path / SORTED_FILE).read_bytes() == (tmp_path / "expected").read_bytes()


def read_all(path: str, buckets: range) -> list[bytes]:
    found, lines = find_blocks([path], buckets), []
    for block in (block for some in found.values() for block in some):
        out = np.empty(block.line_bytes, np.uint8)
        records = read_block(block, out)
        assert records["bytes"].sum() == len(out)
        lines += out.tobytes().splitlines()
    return lines


@pytest.mark.parametrize("place", [0, 4, 8, 16, 29, 30, 50, 51, 59, 67, 75, 83, 91, 98, -8, -1, None])
def test_a_block_with_a_bit_flipped_or_cut_off_is_no_block(tmp_path, place):
    path = tmp_path / "deal-arxiv-0" / file_name(0)
    path.parent.mkdir()
    with BlockWriter(path.parent, [0], compress=False, join=join_plainly) as writer:
        one = np.zeros(1, np.uint64)
        add_lines(writer, one, (one, one, one), [b"a line of some bytes"])
    data = bytearray(path.read_bytes())
    assert read_all(str(path), range(1)) == [b"a line of some bytes"]
    assert read_all(str(path), range(1, 9)) == []
    if place is None:
        del data[-3:]
    else:
        data[place] ^= 1
    # In another place, because what is said in a file is read once.
    other = tmp_path / "deal-arxiv-1" / file_name(0)
    other.parent.mkdir()
    other.write_bytes(data)
    with pytest.raises(CorruptData, match=r"is not as it was written before"):
        read_all(str(other), range(2))


def test_blocks_of_neighbouring_outputs_share_a_file_only_in_small_tasks():
    assert [block_file(output, 5, 1000) for output in range(5)] == [0] * 5
    assert [block_file(output, 5, 10 << 20) for output in range(5)] == [0, 0, 1, 1, 2]
    assert [block_file(output, 5, 1 << 40) for output in range(5)] == [0, 1, 2, 3, 4]


def test_the_room_of_all_workers_and_their_bases_are_the_memory_that_was_given():
    for jobs, processes in ((1, 1), (2, 3), (8, 9)):
        room = run_room("8GiB", jobs=jobs, scheduler="process", largest_rows=1000, needed_bytes=10**9)
        assert jobs * room.sorting_bytes + processes * 152 * MIB <= 8 << 30
        assert room.dealing_bytes < room.sorting_bytes
    few = run_room("1GiB", jobs=1, scheduler="serial", largest_rows=1000, needed_bytes=10**9)
    assert few.block_bytes(10) == 256 << 10
    assert few.block_bytes(10_000) * 10_000 * 1.5 <= few.dealing_bytes


def test_small_runs_are_compiled_where_the_compiler_is_loaded_already():
    script = """
from pipelines.corpus.memory import run_room
def compiled(text_bytes, jobs=1):
    return run_room("2GiB", jobs=jobs, scheduler="process", largest_rows=1, needed_bytes=text_bytes).compiled
print(compiled(10 << 20), compiled(100 << 20), compiled(100 << 20, 2))
import numba
print(compiled(1 << 20), compiled(10 << 20), compiled(10 << 20, 2), compiled(200 << 20, 2))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False", "False", "True", "False", "True"]


def test_too_little_memory_names_what_it_takes_and_that_is_enough():
    work = {"jobs": 2, "scheduler": "process", "largest_rows": 5_000_000, "needed_bytes": 1 << 40}
    with pytest.raises(
        UsageError, match=r"100 MiB of memory are too little for 2 workers: it takes [\d,]+ MiB"
    ) as error:
        run_room("100MiB", **work)
    least = error.value.hint.split()[1].rstrip(",")
    room = run_room(least, **work)
    layout = choose_layout([FileSize(0, 0, 9, (1 << 40, 0, 0), (0, 0, 0))], 30, room.sorting_bytes)
    assert room.block_bytes(layout.buckets) * layout.buckets <= room.dealing_bytes


def test_without_a_limit_there_is_enough_for_any_number_of_workers():
    room = run_room(None, jobs=500, scheduler="process", largest_rows=1000, needed_bytes=1 << 40)
    assert room.dealing_bytes > 0
