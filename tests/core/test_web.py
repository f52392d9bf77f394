"""Patience with servers, redirects, and what may be shown of an address."""

from __future__ import annotations

import email.utils
import hashlib
import random
import threading
import time

import pytest

from pile_toolkit.core.errors import SourceUnavailable
from pile_toolkit.core.remote import RetryPolicy, download_file, read_url
from pile_toolkit.core.web import mask_url

CONTENT = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


def test_server_errors_are_waited_out_longer_each_time(server, fetch, target):
    waits = []
    fetch(server.url("/a", *[server.fail(status) for status in (500, 502, 503, 504, 408)]), target, waits=waits)
    assert target.read_bytes() == CONTENT
    assert len(waits) == 5
    assert all(0 <= wait_s <= 2**number for number, wait_s in enumerate(waits))


def test_the_waits_a_server_asks_for_are_kept_up_to_a_limit(server, fetch, target):
    soon = email.utils.formatdate(time.time() + 40, usegmt=True)
    script = [server.fail(429, Retry_After=text) for text in ("0", "17", "86400", soon)]
    waits = []
    fetch(server.url("/a", *script), target, waits=waits)
    assert waits[:3] == [0.0, 17.0, RetryPolicy().longest_retry_after_s]
    assert 0 < waits[3] <= 40


def test_patience_ends(server, fetch, target):
    waits = []
    with pytest.raises(SourceUnavailable, match=r"/a answers 500 Internal Server Error \(6 attempts\)"):
        fetch(server.url("/a", *[server.fail(500)] * 10), target, waits=waits)
    assert (len(server.requests), len(waits), list(target.parent.iterdir())) == (6, 5, [])


def test_patience_starts_anew_after_each_mebibyte(server, fetch, target):
    content = random.Random(8).randbytes(8 << 20)
    drops = [server.serve(content, sent=1 << 20)] * 7
    waits = []
    fetch(
        server.url("/a", *drops, server.serve(content)), target, waits=waits, sha256=hashlib.sha256(content).hexdigest()
    )
    assert target.read_bytes() == content
    assert all(wait_s <= 1.0 for wait_s in waits)


def test_redirects_are_followed_and_a_password_does_not_go_with_them(server, fetch, target):
    elsewhere = server.url("/b").replace("127.0.0.1", "localhost")
    url = server.url("/a", server.fail(302, Location=elsewhere)).replace("http://", "http://me:pw@")
    fetch(url, target, sha256=SHA256)
    assert [path for path, _ in server.requests] == ["/a", "/b"]
    assert ["Authorization" in headers for _, headers in server.requests] == [True, False]


def test_a_redirect_loop_ends(server, fetch, target):
    with pytest.raises(SourceUnavailable, match="redirects more than 10 times"):
        fetch(server.url("/a", *[server.fail(301, Location="/a")] * 50), target)
    assert len(server.requests) == 11


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_a_redirect_out_of_http_is_refused(server, fetch, target, location):
    scheme = location.partition(":")[0]
    with pytest.raises(SourceUnavailable, match=f"redirects from http to {scheme}, which is refused"):
        fetch(server.url("/a", server.fail(302, Location=location)), target)


def test_a_server_that_stalls_is_left_and_asked_again(server, target):
    released = threading.Event()

    def stall(handler):
        handler.answer(200, {"Content-Length": str(len(CONTENT)), "ETag": '"1"'}, CONTENT[:HALF])
        released.wait(30)
        handler.hang_up()

    policy = RetryPolicy(sleep=lambda seconds: None, read_timeout_s=0.2)
    download_file([server.url("/a", stall)], target, policy=policy)
    released.set()
    assert target.read_bytes() == CONTENT


def test_when_all_mirrors_fail_each_is_named_with_its_reason_and_without_its_password(server, fetch, target):
    secret = server.url("/a", server.fail(404)).replace("http://", "http://me:pw@") + "?token=t0p"
    server.scripts["/a?token=t0p"] = server.scripts["/a"]
    urls = [secret, "http://no-such-host.invalid/x", "gs://bucket/file", "http://[broken/"]
    with pytest.raises(SourceUnavailable) as error:
        fetch(urls, target)
    text = str(error.value)
    assert f"http://***@127.0.0.1:{server.server_port}/a?token=*** answers 404 Not Found" in text
    assert "http://no-such-host.invalid/x has a host name that is not known here" in text
    assert "gs://bucket/file cannot be fetched over HTTP" in text
    assert "http://[broken/ is not a usable address" in text
    assert not {"pw", "t0p"} & set(text.replace("*", " ").replace("=", " ").split())
    assert "Authorization" in server.requests[0][1]


def test_a_small_file_is_read_and_a_missing_one_is_none(server):
    policy = RetryPolicy(sleep=lambda seconds: None)
    assert read_url(server.url("/a", server.fail(500), server.serve(b"sums")), policy=policy) == b"sums"
    assert read_url(server.url("/b", server.fail(404)), policy=policy) is None


def test_a_small_file_that_cannot_be_asked_for_or_is_large_is_an_error(server):
    policy = RetryPolicy(sleep=lambda seconds: None)
    with pytest.raises(SourceUnavailable, match=r"answers 500 .* \(6 attempts\)"):
        read_url(server.url("/a", *[server.fail(500)] * 6), policy=policy)
    with pytest.raises(SourceUnavailable, match="sends more than 1,000 bytes"):
        read_url(server.url("/b"), limit_bytes=1000, policy=policy)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://host/a?b=c#d", "https://host/a?b=c#d"),
        ("https://user:p%40ss@host:8080/a", "https://***@host:8080/a"),
        ("https://token@host", "https://***@host"),
        ("http://a:b@c@host/x@y", "http://***@host/x@y"),
        ("https://h/f?x=1&X-Amz-Signature=abc&API_KEY=d&y=2", "https://h/f?x=1&X-Amz-Signature=***&API_KEY=***&y=2"),
        ("https://h?password=x", "https://h?password=***"),
        ("hf://owner/name", "hf://owner/name"),
        ("a/folder@home", "a/folder@home"),
    ],
)
def test_credentials_in_addresses_are_masked(url, masked):
    assert mask_url(url) == masked
