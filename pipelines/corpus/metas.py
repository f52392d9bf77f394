"""A document's meta in, the same with the name of its component out."""

from __future__ import annotations

import json

import msgspec

from pile_toolkit.core.documents import decode_line, decode_meta

# Most documents of a component have one and the same short meta; those that have not are forgotten again.
_REMEMBERED = 1 << 10
_SHORT_BYTES = 256


class _Named(msgspec.Struct):
    pile_set_name: str | msgspec.UnsetType = msgspec.UNSET


_DECODER = msgspec.json.Decoder(_Named)


class Namer:
    """`with_set_name` for the documents of one component, which have few different metas."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: dict[bytes, bytes] = {}

    def __call__(self, meta: bytes) -> bytes:
        """The meta of a document with the name."""
        named = self._known.get(meta)
        return self._remember(meta) if named is None else named

    def of_line(self, meta: bytes) -> bytes | None:
        """The same of what stands in a line where its meta should; None where that is no meta as it is."""
        named = self._known.get(meta)
        if named is not None:
            return named
        try:
            sound = decode_line(b'{"text":"","meta":' + meta + b"}") == ("", meta)
        except ValueError:
            return None
        return self._remember(meta) if sound else None

    def _remember(self, meta: bytes) -> bytes:
        named = with_set_name(meta, self._name)
        if len(meta) <= _SHORT_BYTES:
            if len(self._known) == _REMEMBERED:
                self._known.clear()
            self._known[meta] = named
        return named


def with_set_name(meta: bytes, name: str) -> bytes:
    """A meta object that says its component; one that already does is returned as it came, byte for byte."""
    try:
        present = _DECODER.decode(meta).pile_set_name
    except msgspec.DecodeError:
        # A name that is no string, or NaN somewhere, which only Python's own library reads.
        values = decode_meta(meta)
        present = values.get("pile_set_name", msgspec.UNSET)
        if not isinstance(present, str | msgspec.UnsetType):
            # The one case in which something has to give way.
            return json.dumps({**values, "pile_set_name": name}, ensure_ascii=False).encode()
    if isinstance(present, str):
        return meta
    rest = meta.lstrip()[1:]
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return b'{"pile_set_name":' + msgspec.json.encode(name) + comma + rest
