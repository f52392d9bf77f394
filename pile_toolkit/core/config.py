"""TOML in, frozen typed structs out; an unknown key or a wrong type names file, key path and nearest name."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import msgspec

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

T = TypeVar("T")

LIMIT_BYTES = 4 << 20
_AT_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises UsageError where it is absent, too large or no TOML."""
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise UsageError(f"{path} has {path.stat().st_size:,} bytes, a configuration has at most {LIMIT_BYTES:,}")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def convert(tables: Mapping[str, Any], kind: type[T], *, where: str) -> T:
    """The tables as a `kind` (a msgspec struct with forbid_unknown_fields); `where` names their file in errors."""
    try:
        return msgspec.convert(tables, kind, strict=True)
    except msgspec.ValidationError as error:
        raise _explained(str(error), kind, where) from error


def _explained(message: str, kind: Any, where: str) -> UsageError:
    at = _AT_PATH.search(message)
    path = at["path"] if at else ""
    fact = message[: at.start()] if at else message
    if unknown := _UNKNOWN.search(message):
        key = f"{path}.{unknown['name']}".lstrip(".")
        return UsageError(f"{where}: unknown key '{key}'", hint=nearest(unknown["name"], _field_names(kind, path)))
    return UsageError(f"{where}: key '{path}': {fact[:1].lower() + fact[1:]}")


def _field_names(kind: Any, path: str) -> list[str]:
    for name in filter(None, path.split(".")):
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == name), None)
        # Of an optional or a union of tables only the struct has names.
        kind = next((option for option in (kind, *get_args(kind)) if _is_struct(option)), None)
        if kind is None:
            return []
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint that names what was probably meant, or all there is."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known names: {', '.join(names)}" if names else None
