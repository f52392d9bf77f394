"""E-mail addresses, public IPv4 addresses and telephone numbers in a text replaced by one that is nobody's.

In time proportional to the text, whatever stands in it: no expression here looks at a character more than a few times.
Addresses of e-mail are those of datatrove's PIIFormatter; of IPv4, what its validator calls public, but only where the
whole run of digits and dots is one; telephone numbers are stricter than dolma's, which takes any ten digits.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import msgspec

from pipelines.filters.registry import Edited, document_edit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.filters.document import Text

# Reserved for documentation and fiction: RFC 2606, RFC 5737, the North American Numbering Plan.
REPLACEMENTS = {"email": "email@example.com", "ip": "192.0.2.1", "phone": "202-555-0100"}

_LOCAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~-.")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}|\[(?:{_OCTET}\.){{3}}(?:{_OCTET}|[A-Za-z0-9-]*[A-Za-z0-9]:)]")
_WORD_EDGE = re.compile(r"\b(?!\.)")
# The look behind stands after the first digit: an expression that begins with a set of characters is found faster.
_ADDRESS = re.compile(
    r"[0-9](?<![0-9.][0-9])[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9])(?!\.[0-9])", re.ASCII
)
# What every address has in it; it begins with one character, and so is passed over text at the speed of memory.
_MAY_BE_ADDRESS = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
# Every digit as 0, every separator as a dash: then all national numbers have one piece in common.
_SHAPES = bytes.maketrans(b"0123456789. ", b"0000000000--")
_NATIONAL_SHAPE = b"000-0000"
_NATIONAL = re.compile(
    r"[(2-9](?<![\w.+-].)(?<![0-9][ )].)(?:(?<=\()[2-9][0-9]{2}\) ?|(?<=[0-9])[0-9]{2}[-. ])"
    r"[2-9][0-9]{2}[-. ][0-9]{4}(?![\w])(?![-. ][0-9])"
)
_INTERNATIONAL = re.compile(r"\+(?<![\w+]\+)[1-9](?:[ ().-]{0,2}[0-9]){7,14}(?![0-9])(?![ .-][0-9])")


class Mask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which kinds are masked: true, or the text to put in their place. `private_ips`: those of no one network too."""

    email: bool | str = False
    ip: bool | str = False
    phone: bool | str = False
    private_ips: bool = False

    def __post_init__(self) -> None:
        if not any(getattr(self, kind) is not False for kind in REPLACEMENTS):
            raise ValueError(f"nothing is masked: {', '.join(REPLACEMENTS)}")


@document_edit(Mask, version=1, source="datatrove PIIFormatter; dolma's pii taggers; RFC 2606, RFC 5737")
def mask(document: Text, options: Mask) -> Edited | None:
    """E-mail addresses, public IPv4 addresses and telephone numbers are replaced."""
    text, counts = document.text, {}
    for kind in REPLACEMENTS:
        wanted = getattr(options, kind)
        if wanted is False:
            continue
        replacement = REPLACEMENTS[kind] if wanted is True else wanted
        text, counts[kind] = _replaced(text, _SPANS[kind](text, options), replacement)
    return Edited(text, counts) if any(counts.values()) else None


def _replaced(text: str, spans: Iterator[tuple[int, int]], replacement: str) -> tuple[str, int]:
    """A text with other spans; those that read so already do not count."""
    parts, at = [], 0
    for start, end in spans:
        if text[start:end] != replacement:
            parts += [text[at:start], replacement]
            at = end
    return ("".join([*parts, text[at:]]), len(parts) // 2) if parts else (text, 0)


def email_spans(text: str, options: Mask) -> Iterator[tuple[int, int]]:
    """Where datatrove's expression matches, found from each `@` to both sides."""
    end, at = 0, text.find("@")
    while at >= 0:
        if (start := _local_start(text, end, at)) is not None and (domain := _DOMAIN.match(text, at + 1)):
            end = domain.end()
            yield start, end
        at = text.find("@", max(end, at + 1))


def _local_start(text: str, first: int, at: int) -> int | None:
    """Where the longest name before an `@` begins: at the edge of a word, without a dot at an end or two in a row."""
    if at == first or text[at - 1] not in _LOCAL or text[at - 1] == ".":
        return None
    start = at - 1
    while start > first and (char := text[start - 1]) in _LOCAL and not (char == "." == text[start]):
        start -= 1
    # At the second of two dots, or at a single one that nothing stands before: neither begins a name.
    edge = _WORD_EDGE.search(text, start, at)
    return edge.start() if edge and edge.start() < at else None


def ip_spans(text: str, options: Mask) -> Iterator[tuple[int, int]]:
    """Runs of digits and dots that are an address, and a public one if no others are asked for."""
    for found in _ADDRESS.finditer(text) if _MAY_BE_ADDRESS.search(text) else ():
        try:
            address = ipaddress.IPv4Address(found[0])
        except ValueError:
            continue
        if options.private_ips or address.is_global:
            yield found.span()


def phone_spans(text: str, options: Mask) -> Iterator[tuple[int, int]]:
    """`+` and 8 to 15 digits (E.164), or ten of North America with a blank, dot, dash or brackets between."""
    found = [match.span() for match in _INTERNATIONAL.finditer(text)] if "+" in text else []
    if _NATIONAL_SHAPE in text.encode("utf-8", "surrogatepass").translate(_SHAPES):
        found += [match.span() for match in _NATIONAL.finditer(text)]
    end = 0
    for span in sorted(found):
        if span[0] >= end:
            yield span
            end = span[1]


_SPANS = {"email": email_spans, "ip": ip_spans, "phone": phone_spans}
