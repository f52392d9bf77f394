"""One file from a server that misbehaves: the right bytes under the final name, or none and the right error."""

from __future__ import annotations

import gzip
import hashlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, SourceUnavailable, UsageError

CONTENT = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


def left(target) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def flipped(content=CONTENT, at=HALF):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_file_arrives_whole_with_its_hash_and_nothing_beside_it(server, fetch, target):
    seen = []
    got = fetch(server.url("/a"), target, on_progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert (got.path, got.bytes, got.sha256, got.url) == (target, len(CONTENT), SHA256, server.url("/a"))
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert left(target) == ["file.jsonl.zst"]
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_an_empty_file_arrives(server, fetch, target):
    fetch(server.url("/a", server.serve(b"")), target, sha256=hashlib.sha256().hexdigest())
    assert target.read_bytes() == b""
    assert left(target) == ["file.jsonl.zst"]


def test_a_file_that_is_there_with_the_right_hash_is_not_fetched_again(server, fetch, target):
    fetch(server.url("/a"), target)
    again = fetch(server.url("/a"), target, sha256=SHA256.upper(), size=len(CONTENT))
    assert (again.url, again.bytes, len(server.requests)) == (None, len(CONTENT), 1)


def test_a_file_that_is_there_with_other_content_is_replaced(server, fetch, target):
    target.parent.mkdir()
    target.write_bytes(b"older")
    fetch(server.url("/a"), target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_connection_dropped_in_mid_body_is_continued_where_it_broke(server, fetch, target, sha256):
    fetch(server.url("/a", server.serve(sent=HALF)), target, sha256=sha256)
    assert target.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={HALF}-"]
    assert server.requests[1][1]["If-Range"] == '"1"'


def test_without_etag_and_hash_the_halves_are_not_joined(server, fetch, target):
    fetch(server.url("/a", server.serve(sent=HALF, etag='W/"1"')), target)
    assert target.read_bytes() == CONTENT
    assert server.ranges() == [None, None]


def test_the_date_of_the_last_change_serves_as_validator(server, fetch, target):
    dated = {"ETag": None, "Last-Modified": "Fri, 20 Nov 2026 12:00:00 GMT"}
    fetch(server.url("/a", server.serve(sent=HALF, headers=dated), server.serve(if_range=False, headers=dated)), target)
    assert target.read_bytes() == CONTENT
    assert server.requests[1][1]["If-Range"] == dated["Last-Modified"]
    assert server.ranges() == [None, f"bytes={HALF}-"]


def test_a_server_without_ranges_is_asked_for_the_whole_again(server, fetch, target):
    fetch(server.url("/a", server.serve(sent=HALF, ranges=False), server.serve(ranges=False)), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("understands", [True, False])
def test_a_file_that_changed_between_attempts_is_fetched_from_its_beginning(server, fetch, target, understands):
    newer = server.serve(CONTENT[::-1], etag='"2"', if_range=understands)
    fetch(server.url("/a", server.serve(sent=HALF), newer, newer), target)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_file_that_grew_between_attempts_is_fetched_from_its_beginning(server, fetch, target):
    longer = CONTENT + b"more"
    new = server.serve(longer, if_range=False)
    fetch(server.url("/a", server.serve(sent=HALF), new, new), target, sha256=hashlib.sha256(longer).hexdigest())
    assert target.read_bytes() == longer


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_missing_file_is_asked_for_once_and_then_at_the_next_mirror(server, fetch, target, status):
    got = fetch([server.url("/a", server.fail(status)), server.url("/b")], target)
    assert got.url == server.url("/b")
    assert [path for path, _ in server.requests] == ["/a", "/b"]


def test_another_mirror_continues_what_the_first_one_left_if_a_hash_can_decide(server, fetch, target):
    script = [server.serve(sent=HALF), *[server.fail(500)] * 6]
    fetch([server.url("/a", *script), server.url("/b", server.serve(etag='"of b"'))], target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests[-1][0] == "/b"
    assert server.ranges()[-1] == f"bytes={HALF}-"


def test_without_a_hash_another_mirror_starts_from_the_beginning(server, fetch, target):
    script = [server.serve(sent=HALF), *[server.fail(500)] * 6]
    fetch([server.url("/a", *script), server.url("/b", server.serve(CONTENT[::-1]))], target)
    assert target.read_bytes() == CONTENT[::-1]


def test_one_flipped_byte_is_set_aside_and_the_next_mirror_asked(server, fetch, target):
    got = fetch([server.url("/a", server.serve(flipped())), server.url("/b")], target, sha256=SHA256)
    assert (target.read_bytes(), got.url) == (CONTENT, server.url("/b"))
    assert target.with_name("file.jsonl.zst.bad").read_bytes() == flipped()


def test_wrong_content_everywhere_is_corrupt_data_and_no_file(server, fetch, target):
    urls = [server.url("/a", server.serve(flipped())), server.url("/b", server.fail(404))]
    with pytest.raises(CorruptData, match=f"where {SHA256} is wanted .kept as .*; .*answers 404"):
        fetch(urls, target, sha256=SHA256)
    assert left(target) == ["file.jsonl.zst.bad"]


def test_halves_that_do_not_fit_are_fetched_once_more_in_one_piece(server, fetch, target):
    # The second half comes from another file under the same name, length and ETag.
    joint = [server.serve(sent=HALF), server.serve(CONTENT[::-1])]
    fetch(server.url("/a", *joint), target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={HALF}-", None]


def test_wrong_content_in_pieces_ends_too(server, fetch, target):
    wrong = flipped()
    script = [server.serve(wrong, sent=HALF), server.serve(wrong)] * 4
    with pytest.raises(CorruptData):
        fetch(server.url("/a", *script), target, sha256=SHA256)
    assert len(server.requests) == 4


def test_a_body_cut_short_under_a_good_status_is_caught_by_the_size(server, fetch, target):
    close = {"Content-Length": None, "Connection": "close"}

    def cut(handler):
        handler.answer(200, {"ETag": '"1"', **close}, CONTENT[:HALF])
        handler.hang_up()

    fetch(server.url("/a", cut), target, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={HALF}-"]


def test_a_content_length_that_promises_too_much_ends_in_the_right_bytes(server, fetch, target):
    def boastful(handler):
        handler.answer(200, {"Content-Length": str(len(CONTENT) + 10), "ETag": '"1"'}, CONTENT)
        handler.hang_up()

    fetch(server.url("/a", boastful), target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={len(CONTENT)}-"]


def test_a_content_length_that_promises_too_little_is_found_by_the_hash(server, fetch, target):
    def modest(handler):
        handler.answer(200, {"Content-Length": str(HALF), "ETag": '"1"'}, CONTENT[:HALF])
        handler.hang_up()

    with pytest.raises(CorruptData):
        fetch(server.url("/a", modest), target, sha256=SHA256)
    assert not target.exists()


def test_an_offer_of_another_size_is_refused_before_its_first_byte(server, fetch, target):
    with pytest.raises(SourceUnavailable, match=r"offers 300,000 bytes where 12 are wanted"):
        fetch(server.url("/a"), target, size=12)


def test_a_range_that_is_not_satisfiable_starts_over(server, fetch, target):
    shrunk = server.serve(CONTENT[: HALF // 2], etag='"1"')
    fetch(server.url("/a", server.serve(sent=HALF), shrunk, shrunk), target)
    assert target.read_bytes() == CONTENT[: HALF // 2]


def test_a_refused_range_nobody_asked_for_is_a_failure(server, fetch, target):
    with pytest.raises(SourceUnavailable, match="refuses a range that was not asked for"):
        fetch(server.url("/a", server.fail(416)), target)


def test_a_range_in_gzip_coding_is_never_joined(server, fetch, target):
    def zipped(handler):
        body = gzip.compress(CONTENT[HALF:])
        span = f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.answer(206, {"ETag": '"1"', "Content-Range": span, "Content-Encoding": "gzip"}, body)

    fetch(server.url("/a", server.serve(sent=HALF), zipped), target)
    assert target.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={HALF}-", None]


def test_another_range_than_asked_for_is_never_joined(server, fetch, target):
    def elsewhere(handler):
        span = f"bytes {HALF + 5}-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.answer(206, {"ETag": '"1"', "Content-Range": span}, CONTENT[HALF + 5 :])

    fetch(server.url("/a", server.serve(sent=HALF), elsewhere), target)
    assert target.read_bytes() == CONTENT


def test_a_whole_answer_in_gzip_coding_is_decoded_although_none_was_asked_for(server, fetch, target):
    coded = server.serve(gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})
    fetch(server.url("/a", coded), target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_an_archive_whose_suffix_is_called_a_coding_is_stored_as_it_is(server, fetch, tmp_path):
    archive = gzip.compress(CONTENT)
    target = tmp_path / "archive.tar.gz"
    coded = server.serve(archive, headers={"Content-Encoding": "x-gzip"})
    fetch(server.url("/archive.tar.gz", coded), target, sha256=hashlib.sha256(archive).hexdigest())
    assert target.read_bytes() == archive


def test_a_coding_that_cannot_be_read_is_refused(server, fetch, target):
    with pytest.raises(SourceUnavailable, match="sends content coding br although none was asked for"):
        fetch(server.url("/a", server.serve(headers={"Content-Encoding": "br"})), target)


def test_a_hash_that_is_none_is_refused(server, fetch, target):
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        fetch(server.url("/a"), target, sha256="abc")


FAULTS = {
    "fine": lambda server: server.serve(),
    "drops": lambda server: server.serve(sent=100_000),
    "drops at once": lambda server: server.serve(sent=0),
    "fails": lambda server: server.fail(503, Retry_After="1"),
    "missing": lambda server: server.fail(404),
    "no ranges": lambda server: server.serve(ranges=False, sent=200_000),
    "changed": lambda server: server.serve(CONTENT[::-1], etag='"2"'),
    "changed under the same name": lambda server: server.serve(CONTENT[::-1]),
    "flipped": lambda server: server.serve(flipped()),
    "short": lambda server: server.serve(CONTENT[:HALF], etag='"3"'),
    "deaf to If-Range": lambda server: server.serve(CONTENT[::-1], etag='"2"', if_range=False, sent=50_000),
    "coded": lambda server: server.serve(gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"}),
    "redirects": lambda server: server.fail(302, Location="/elsewhere"),
    "refuses": lambda server: server.fail(416, Content_Range="bytes */7"),
}

# One such answer can be the end of a mirror.
FINAL = {"missing", "flipped", "changed", "changed under the same name", "short", "refuses", "deaf to If-Range"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts=st.lists(st.lists(st.sampled_from(list(FAULTS)), max_size=9), min_size=1, max_size=3))
def test_any_schedule_of_faults_ends_in_the_right_bytes_or_the_right_error(server, fetch, tmp_path_factory, scripts):
    server.scripts.clear()
    urls = [server.url(f"/{number}", *(FAULTS[name](server) for name in names)) for number, names in enumerate(scripts)]
    target = tmp_path_factory.mktemp("schedule") / "file"
    failure = None
    try:
        fetch(urls, target, sha256=SHA256)
    except (SourceUnavailable, CorruptData) as error:
        failure = error
    if failure is None:
        assert target.read_bytes() == CONTENT
        assert not target.with_name("file.part").exists()
    else:
        # Six fruitless answers are needed to be given up, or one that is final.
        assert all(len(names) >= 6 or FINAL & set(names) for names in scripts)
        assert not target.exists()
        assert isinstance(failure, CorruptData) == ("is wanted" in failure.message)
