"""What stands behind `--from` in, a component's files out: sample:, a folder, an archive, a URL or hf://owner/name.

A folder's files are pointed at, not copied, links in it are followed: it is the user's own. Those of an archive
(pipelines/archived.py: .tar, also with .gz, .bz2, .xz or .zst, and .zip) and of a URL land in `raw/`; the sample and a
Hugging Face dataset (pipelines/hub.py) are written as `00.jsonl.zst`. What a source does not have is SourceUnavailable
with the ways that remain, never something else.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from pile_toolkit.core.archives.reading import is_archive
from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.errors import SourceUnavailable, UsageError
from pile_toolkit.core.masks import mask_url
from pipelines.archived import ArchiveSource
from pipelines.catalog import component as catalog_component
from pipelines.hub import HubSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pile_toolkit.core.console import Reporter
    from pile_toolkit.core.remote import RetryPolicy
    from pipelines.catalog import Component

SUFFIX = ".jsonl.zst"
DOCUMENTS_FILE = f"00{SUFFIX}"
SUMS_FILE = "SHA256SUMS"
DEFAULT = "default"
KNOWN_FORMS = (
    "sample:, a folder, https://host/folder/ (mirrors after it, with spaces), hf://owner/name, "
    "or a .tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst or .zip of a folder"
)
# What other tools write, and the command that makes of it what is read here.
OTHER_FORMS = {
    ".jsonl": "zstd {path}",
    ".jsonl.gz": "gzip -dc {path} | zstd -o {target}",
    ".json.gz": "gzip -dc {path} | zstd -o {target}",
}
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_SUMS_LINE = re.compile(r"(?P<sha256>[0-9A-Fa-f]{64}) [ *](?:\./)?(?P<name>.+)")


class Source(Protocol):
    """Where one component comes from."""

    def parameters(self) -> dict[str, Any]:
        """What the documents depend on, fit for a manifest: no credentials."""

    def fetch(self, component: Component, folder: Path, reporter: Reporter) -> list[Path]:
        """The component's document files, in sorted name order; what has to be written goes into `folder`."""


@dataclass(frozen=True, kw_only=True)
class SampleSource:
    """Stand-in documents made on this machine."""

    def parameters(self) -> dict[str, Any]:
        """The sample depends on the Python installation, which its fingerprint names."""
        from pipelines.sample import sample_fingerprint

        return {"from": "sample:", "fingerprint": sample_fingerprint()}

    def fetch(self, component: Component, folder: Path, reporter: Reporter) -> list[Path]:
        """Writes the component's stand-ins as one file."""
        from pipelines.sample import sample_documents

        path = folder / DOCUMENTS_FILE
        with DocumentWriter(path) as writer:
            for text, meta in sample_documents(component.slug):
                writer.write(text, {"pile_set_name": component.name, **meta})
        return [path]


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """`<slug>.jsonl.zst` or `<slug>/*.jsonl.zst` of a folder, or one file that is the component."""

    path: Path
    slug: str

    def parameters(self) -> dict[str, Any]:
        """The path and the names there: a file that is added later is another source."""
        return {"from": str(self.path), "files": [path.name for path in self._files()]}

    def fetch(self, component: Component, folder: Path, reporter: Reporter) -> list[Path]:
        """Points at the files. Raises SourceUnavailable where there are none, UsageError where it is unclear which."""
        files = self._files()
        if not files:
            fact = f"{self.path} has neither {self.slug}{SUFFIX} nor {self.slug}/*{SUFFIX}"
            raise self._in_another_form(fact) or component.not_in(fact)
        return files

    def _in_another_form(self, fact: str) -> SourceUnavailable | None:
        """The error for documents that lie there, but not as zstd: with the command that mends it."""
        for suffix, command in OTHER_FORMS.items():
            one = self.path / f"{self.slug}{suffix}"
            several = sorted((self.path / self.slug).glob(f"*{suffix}"))
            for path in [one, *several] if one.is_file() else several:
                target = path.with_name(path.name.removesuffix(suffix) + SUFFIX)
                return SourceUnavailable(
                    f"{fact}, but {path.relative_to(self.path)}",
                    hint=command.format(path=shlex.quote(str(path)), target=shlex.quote(str(target))),
                )
        return None

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        one = self.path / f"{self.slug}{SUFFIX}"
        several = sorted(path for path in (self.path / self.slug).glob(f"*{SUFFIX}") if path.is_file())
        for path in several:
            _refuse_unwritable_name(path)
        if one.is_file() and several:
            raise UsageError(f"{self.path} has both {one.name} and {self.slug}/", hint="remove or rename one of them")
        return [one] if one.is_file() else several


@dataclass(frozen=True, kw_only=True)
class UrlSource:
    """`<base>/<slug>.jsonl.zst` of a server, or one address that is the component; further `urls` are mirrors of it."""

    urls: tuple[str, ...]
    slug: str
    policy: RetryPolicy | None = None

    def parameters(self) -> dict[str, Any]:
        """The addresses without what is secret in them."""
        return {"from": " ".join(map(mask_url, self.addresses()))}

    def fetch(self, component: Component, folder: Path, reporter: Reporter) -> list[Path]:
        """Downloads into `raw/`, mirrors in order, checked against a SHA256SUMS where one of them has it.

        Raises SourceUnavailable, CorruptData or OutOfSpace as `download_file` does.
        """
        from pile_toolkit.core.remote import download_file

        target = folder / "raw" / f"{self.slug}{SUFFIX}"
        try:
            with contextlib.ExitStack() as stack:
                download_file(
                    self.addresses(),
                    target,
                    sha256=self._published_sha256(),
                    on_progress=_progress(reporter, self.slug, stack),
                    policy=self.policy,
                )
        except SourceUnavailable as error:
            raise component.not_in(error.message) from error
        return [target]

    def addresses(self) -> list[str]:
        """The addresses of the component's file; a query, such as a token, stays behind the path."""
        return [self._address(url) for url in self.urls]

    def _address(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.path.endswith(SUFFIX):
            return url
        return parts._replace(path=f"{parts.path.rstrip('/')}/{self.slug}{SUFFIX}").geturl()

    def _published_sha256(self) -> str | None:
        failures = []
        for address in self.addresses():
            try:
                if sha256 := self._sha256_beside(address):
                    return sha256
            except SourceUnavailable as error:
                failures.append(error)
        if len(failures) == len(self.urls):
            # An outage must not be why a file goes unchecked.
            raise failures[0]
        return None

    def _sha256_beside(self, address: str) -> str | None:
        from pile_toolkit.core.remote import read_url

        parts = urlsplit(address)
        folder, _, name = parts.path.rpartition("/")
        sums = read_url(parts._replace(path=f"{folder}/{SUMS_FILE}").geturl(), policy=self.policy)
        lines = map(_SUMS_LINE.fullmatch, (sums or b"").decode(errors="replace").splitlines())
        return next((line["sha256"].lower() for line in lines if line and line["name"] == name), None)


def _progress(reporter: Reporter, label: str, stack: contextlib.ExitStack) -> Callable[[int, int | None], None]:
    # How much there is to come is known only when the first answer is there.
    advance: Callable[[int], None] | None = None
    last_bytes = 0

    def on_progress(done_bytes: int, total_bytes: int | None) -> None:
        nonlocal advance, last_bytes
        if advance is None:
            advance = stack.enter_context(reporter.progress(label, total=total_bytes or 0, unit="bytes"))
        advance(done_bytes - last_bytes)
        last_bytes = done_bytes

    return on_progress


def parse_source(text: str, *, slug: str) -> Source:
    """One way in for one component. Raises UsageError for a form that is not known and a folder that is not there."""
    if text == "sample:":
        return SampleSource()
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _local_source(text, slug)
    if scheme in ("http", "https"):
        return _url_source(text, slug)
    if scheme == "hf":
        return _hub_source(text, rest)
    raise UsageError(f"'{mask_url(text).partition('://')[0]}://' is no way in", hint=f"known are: {KNOWN_FORMS}")


def _url_source(text: str, slug: str) -> UrlSource:
    urls = tuple(text.split())
    if strange := [url for url in urls if not url.startswith(("http://", "https://"))]:
        fact = f"'{mask_url(strange[0])}' is no mirror of {mask_url(urls[0])}"
        raise UsageError(fact, hint='"https://first/ https://second/"')
    for url in urls:
        _refuse_unusable(url)
    return UrlSource(urls=urls, slug=slug)


def _refuse_unusable(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False  # Its words quote the address, password and all.
    if not usable:
        hint = "a password with / ? # @ or : in it is percent-encoded: %2F %3F %23 %40 %3A" if "@" in url else None
        raise UsageError(f"'{mask_url(url)}' is no usable address", hint=hint)


def _local_source(text: str, slug: str) -> Source:
    path = Path(text).expanduser().absolute()
    _refuse_unwritable_name(path)
    if not path.exists():
        hint = "did you mean 'sample:'?" if text.lower() == "sample" else f"known forms: {KNOWN_FORMS}"
        raise UsageError(f"there is no folder {path}", hint=hint)
    if path.is_file() and is_archive(path.name):
        return ArchiveSource(path=path, slug=slug)
    if path.is_file() and not path.name.endswith(SUFFIX):
        raise UsageError(f"{path} is neither a {SUFFIX} file nor an archive", hint=f"known forms: {KNOWN_FORMS}")
    return FolderSource(path=path, slug=slug)


def _refuse_unwritable_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        # Manifests and document ids are text.
        raise UsageError(f"the file name {str(path)!r} is no UTF-8", hint="rename it") from None
    # Messages, rejects and document ids are lines.
    if not path.name.isprintable() and any(unicodedata.category(char) == "Cc" for char in path.name):
        raise UsageError(f"the file name {str(path)!r} has control characters", hint="rename it")


def _hub_source(text: str, rest: str) -> HubSource:
    name, _, query = rest.partition("?")
    options = parse_qs(query, keep_blank_values=True)
    match = _HUB_NAME.fullmatch(name)
    if match is None or not options.keys() <= {"split"}:
        raise UsageError(
            f"'{mask_url(text)}' names no dataset", hint="hf://owner/name, hf://owner/name@revision?split=train"
        )
    return HubSource(name=match["name"], revision=match["revision"], split=options.get("split", ["train"])[-1])


def parse_sources(setting: str | Mapping[str, str]) -> Callable[[str], Source]:
    """From the `from` of a configuration, the source of each slug: one for all, or a table of slugs with a `default`.

    All of it is parsed here, so that an error is found before anything runs. The function raises UsageError for a slug
    that has no source, and where a single file would have to be two components.
    """
    table = {DEFAULT: setting} if isinstance(setting, str) else dict(setting)
    for slug, text in table.items():
        parse_source(text, slug=slug if slug == DEFAULT else catalog_component(slug).slug)
    owner: dict[str, str] = {}

    def source_of(slug: str) -> Source:
        text = table.get(slug, table.get(DEFAULT))
        if text is None:
            raise UsageError(f"no source is named for '{slug}'", hint='from = { default = "sample:" }')
        if _is_one_file(text) and owner.setdefault(text, slug) != slug:
            raise UsageError(
                f"{mask_setting(text)} is one file and cannot be both '{owner[text]}' and '{slug}'",
                hint="name one component, or a folder that has a file for each",
            )
        return parse_source(text, slug=slug)

    return source_of


def mask_setting(setting: str | Mapping[str, str]) -> Any:
    """A `from` as it may be shown and stored: the addresses in it without passwords and keys."""
    if isinstance(setting, str):
        # Only addresses hold blanks that do not count; of a folder they are part of the name.
        return " ".join(map(mask_url, setting.split())) if "://" in setting else setting
    return {slug: mask_setting(text) for slug, text in setting.items()}


def _is_one_file(text: str) -> bool:
    return any(urlsplit(part).path.endswith(SUFFIX) for part in text.split())
