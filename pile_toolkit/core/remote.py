"""URLs of one file in, that file on the disk out: resumed across processes, checked by sha256, whole or not there.

Mirrors are tried in order, each with bounded retries. Bytes are joined only where the server vouches that they belong
together (If-Range with its ETag or date), or where a known sha256 decides in the end.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pile_toolkit.core.errors import CorruptData, SourceUnavailable, UsageError
from pile_toolkit.core.files import HASH_BLOCK_BYTES
from pile_toolkit.core.frames import BOMB_RATIO, BOMB_SLACK_BYTES
from pile_toolkit.core.masks import mask_url
from pile_toolkit.core.part import Origin, PartFile, open_part
from pile_toolkit.core.web import (
    CODINGS_READ,
    MirrorFailed,
    Retryable,
    RetryPolicy,
    answer_of,
    new_client,
    persistently,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import httpx2

    Progress = Callable[[int, int | None], None]

__all__ = ["Downloaded", "RetryPolicy", "download_file", "mask_url", "read_url"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>\d+)-\d+|\*)/(?P<total>\d+|\*)")
# Some servers say of a stored archive that it is a coding of something else. Then the bytes as sent are the file.
_SUFFIXES_OF_CODING = {"gzip": (".gz", ".tgz"), "x-gzip": (".gz", ".tgz"), "zstd": (".zst",), "br": (".br",)}
MISSING_STATUSES = (403, 404, 410)


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """A whole file; `url` is the masked address it came from, None where it was there already with the right sha256."""

    path: Path
    bytes: int
    sha256: str
    url: str | None


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    sha256: str | None
    size: int | None


def download_file(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    on_progress: Progress | None = None,
    policy: RetryPolicy | None = None,
) -> Downloaded:
    """Fetches one file from the first of `urls` that gives it; `on_progress` is told (done bytes, all bytes or None).

    A target that is there already is kept where its sha256 is the wanted one, and replaced otherwise. An interrupted
    transfer leaves `<name>.part`, which the next call continues.
    Raises SourceUnavailable where no URL gives the file, CorruptData where one gave other content than `sha256` (kept
    as `<name>.bad`), OutOfSpace before the first byte where there is no room, TryAgain where another process fetches
    the same target.
    """
    wanted = _Wanted(sha256=_checked_sha256(sha256), size=size)
    if (kept := _already_there(target, wanted)) is not None:
        return kept
    policy = policy or RetryPolicy()
    failures: list[str] = []
    corrupt = False
    with open_part(target) as part, new_client(policy) as client:
        transfer = _Transfer(client=client, part=part, wanted=wanted, policy=policy, on_progress=on_progress)
        for url in urls:
            try:
                transfer.run(url)
            except _WrongContent as failure:
                corrupt = True
                failures.append(f"{mask_url(url)} {failure}")
            except MirrorFailed as failure:
                failures.append(f"{mask_url(url)} {failure}")
            else:
                part.publish()
                return Downloaded(path=target, bytes=part.length, sha256=part.digest, url=mask_url(url))
    raise _none_left(target, failures, corrupt=corrupt)


def read_url(url: str, *, limit_bytes: int = 1 << 20, policy: RetryPolicy | None = None) -> bytes | None:
    """A small file's content, None where the server says that there is none.

    Raises SourceUnavailable where the server cannot be asked, or the file is larger than `limit_bytes`.
    """
    policy = policy or RetryPolicy()

    def attempt() -> bytes:
        content = b""
        with answer_of(client, url, headers={}) as answer:
            if answer.status_code != 200:
                raise MirrorFailed(f"answers {answer.status_code} to a plain request", status=answer.status_code)
            if (coding := _coding(answer)) is not None and coding not in CODINGS_READ:
                raise MirrorFailed(f"sends content coding {coding} although none was asked for")
            for block in answer.iter_bytes():
                content += block
                if len(content) > limit_bytes:
                    raise MirrorFailed(f"sends more than {limit_bytes:,} bytes")
        return content

    with new_client(policy) as client:
        try:
            return persistently(attempt, policy=policy, length=lambda: 0)
        except MirrorFailed as failure:
            if failure.status in MISSING_STATUSES:
                return None
            raise SourceUnavailable(f"{mask_url(url)} {failure}") from failure


class _WrongContent(MirrorFailed):
    """All bytes came, and they are not those of the wanted file."""


@dataclass(frozen=True, kw_only=True)
class _Transfer:
    """One file being fetched: the part that grows, and what is known of the whole."""

    client: httpx2.Client
    part: PartFile
    wanted: _Wanted
    policy: RetryPolicy
    on_progress: Progress | None

    def run(self, url: str) -> None:
        """Completes the part from one URL. Raises MirrorFailed or _WrongContent."""
        for once_more in (True, False):
            persistently(lambda: self._attempt(url), policy=self.policy, length=lambda: self.part.length)
            digest, joined = self.part.digest, self.part.joined
            if self.wanted.sha256 in (None, digest):
                return
            bad = self.part.set_aside()
            # Where bytes of several answers were joined the joint may be at fault: once more, from the first byte.
            if not (joined and once_more):
                raise _WrongContent(f"has sha256 {digest} where {self.wanted.sha256} is wanted (kept as {bad})")

    def _attempt(self, url: str) -> None:
        headers = self._range_headers(url)
        with answer_of(self.client, url, headers=headers) as answer:
            if answer.status_code == 416:
                self._judge_end(answer, asked=bool(headers))
                return
            blocks = self._continue(answer, url) if answer.status_code == 206 else self._begin(answer, url)
            total_bytes = self.part.origin.total_bytes if self.part.origin else None
            total_bytes = self.wanted.size if total_bytes is None else total_bytes
            self.part.require_space(total_bytes)
            self._report(total_bytes)
            for block in blocks:
                self.part.append(block)
                self._report(total_bytes)
                self._refuse_flood(answer, total_bytes)
        if total_bytes is not None and self.part.length != total_bytes:
            got_bytes = self.part.length
            if got_bytes > total_bytes:
                self.part.clear()
            raise Retryable(f"sends {got_bytes:,} bytes of {total_bytes:,}")

    def _refuse_flood(self, answer: httpx2.Response, total_bytes: int | None) -> None:
        """More than the file has, or more than what came can lawfully unpack to, would fill the disk."""
        if total_bytes is not None and self.part.length > total_bytes:
            self.part.clear()
            raise Retryable(f"sends more than the {total_bytes:,} bytes of the file")
        if _coding(answer) is None:
            return
        came_bytes = answer.num_bytes_downloaded
        if self.part.length > BOMB_SLACK_BYTES + BOMB_RATIO * came_bytes:
            self.part.clear()
            raise MirrorFailed(f"sends {came_bytes:,} bytes that unpack to more than {BOMB_RATIO:,} times as many")

    def _report(self, total_bytes: int | None) -> None:
        if self.on_progress is not None:
            self.on_progress(self.part.length, total_bytes)

    def _range_headers(self, url: str) -> dict[str, str]:
        origin = self.part.origin
        if origin is None or self.part.length == 0:
            return {}
        if None not in (origin.sha256, self.wanted.sha256) and origin.sha256 != self.wanted.sha256:
            return {}
        span = {"Range": f"bytes={self.part.length}-"}
        if origin.url == mask_url(url) and origin.validator is not None:
            return {**span, "If-Range": origin.validator}
        # From another mirror, or without a validator, only the hash can tell whether the halves fit.
        return span if self.wanted.sha256 is not None else {}

    def _begin(self, answer: httpx2.Response, url: str) -> Iterator[bytes]:
        coding = _coding(answer)
        stored = coding is None or self.part.target.name.endswith(_SUFFIXES_OF_CODING.get(coding, ()))
        if not stored and coding not in CODINGS_READ:
            raise MirrorFailed(f"sends content coding {coding} although none was asked for")
        # The length of a coded answer is not the file's, and a part of the file is no range of it.
        total_bytes = _content_length(answer) if stored else None
        if None not in (total_bytes, self.wanted.size) and total_bytes != self.wanted.size:
            raise MirrorFailed(f"offers {total_bytes:,} bytes where {self.wanted.size:,} are wanted")
        validator = _validator(answer) if stored else None
        self.part.begin(
            Origin(url=mask_url(url), validator=validator, total_bytes=total_bytes, sha256=self.wanted.sha256)
        )
        return answer.iter_raw() if stored else answer.iter_bytes()

    def _continue(self, answer: httpx2.Response, url: str) -> Iterator[bytes]:
        origin, span = self.part.origin, _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if "Range" not in answer.request.headers or origin is None:
            raise MirrorFailed("sends a range that was not asked for")
        total_bytes = int(span["total"]) if span and span["total"] != "*" else None
        if _coding(answer) is not None:
            self._start_over(f"sends a range in content coding {_coding(answer)}")
        if span is None or span["start"] != str(self.part.length):
            self._start_over("sends another range than was asked for")
        if None not in (total_bytes, origin.total_bytes) and total_bytes != origin.total_bytes:
            self._start_over(f"has {total_bytes:,} bytes now, it had {origin.total_bytes:,}")
        same_url = origin.url == mask_url(url)
        if same_url and _has_changed(answer, origin.validator):
            self._start_over("has changed since the transfer began")
        self.part.continue_from(
            Origin(
                url=mask_url(url),
                validator=origin.validator if same_url else _validator(answer),
                total_bytes=origin.total_bytes if total_bytes is None else total_bytes,
                sha256=self.wanted.sha256,
            )
        )
        return answer.iter_raw()

    def _judge_end(self, answer: httpx2.Response, *, asked: bool) -> None:
        """After 416: there is nothing beyond our bytes, which is right if they are all there are."""
        if not asked:
            raise MirrorFailed("refuses a range that was not asked for", status=416)
        span = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        known_bytes = self.part.origin.total_bytes if self.part.origin else None
        total_bytes = int(span["total"]) if span and span["total"] != "*" else known_bytes
        # With a hash to decide, the server's word of now counts more than its Content-Length of before.
        agreed = self.wanted.sha256 is not None or known_bytes in (None, total_bytes)
        if total_bytes != self.part.length or not agreed or self.wanted.size not in (None, total_bytes):
            self._start_over(f"has no byte {self.part.length:,}")

    def _start_over(self, reason: str) -> None:
        self.part.clear()
        raise Retryable(reason)


def _coding(answer: httpx2.Response) -> str | None:
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    return None if coding in ("", "identity") else coding


def _content_length(answer: httpx2.Response) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _validator(answer: httpx2.Response) -> str | None:
    """What If-Range may carry: a strong ETag, or else the date of the last change."""
    etag = answer.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    return answer.headers.get("Last-Modified")


def _has_changed(answer: httpx2.Response, validator: str | None) -> bool:
    """True for a server that does not understand If-Range and sends a range of a newer file."""
    current = answer.headers.get("ETag" if validator is not None and validator.startswith('"') else "Last-Modified")
    return None not in (current, validator) and current != validator


def _checked_sha256(text: str | None) -> str | None:
    if text is not None and not _SHA256.fullmatch(text.lower()):
        raise UsageError(f"'{text}' is no sha256: it has 64 hexadecimal digits")
    return None if text is None else text.lower()


def _already_there(target: Path, wanted: _Wanted) -> Downloaded | None:
    if wanted.sha256 is None or not target.is_file():
        return None
    length_bytes = target.stat().st_size
    if wanted.size not in (None, length_bytes):
        return None
    hasher = hashlib.sha256()
    with target.open("rb", buffering=0) as file:
        while block := file.read(HASH_BLOCK_BYTES):
            hasher.update(block)
    if hasher.hexdigest() != wanted.sha256:
        return None
    return Downloaded(path=target, bytes=length_bytes, sha256=wanted.sha256, url=None)


def _none_left(target: Path, failures: list[str], *, corrupt: bool) -> CorruptData | SourceUnavailable:
    reasons = "; ".join(failures) or "no URL is known"
    if corrupt:
        return CorruptData(
            f"{target.name} could not be had with the right content: {reasons}",
            hint="check the expected sha256, or name another source with --from",
        )
    return SourceUnavailable(f"{target.name} could not be had: {reasons}", hint="name another source with --from")
