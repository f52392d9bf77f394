"""TOML in, frozen typed structs out; an unknown key or a wrong type names file, key path and nearest name."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

T = TypeVar("T")

LIMIT_BYTES = 4 << 20
_AT_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_ELEMENT = re.compile(r"\[[^\]]*\]")
_FIELD = re.compile(r"Object (contains )?(?P<fault>unknown|missing required) field `(?P<name>[^`]*)`")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises UsageError where it cannot be read, is too large or no TOML."""
    try:
        # By what is read: of a pipe, which a shell may hand over, the size is not known before.
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
            size_bytes = max(len(data), os.fstat(file.fileno()).st_size)
        if size_bytes > LIMIT_BYTES:
            raise UsageError(f"{path} has {size_bytes:,} bytes or more, a configuration has at most {LIMIT_BYTES:,}")
        return tomllib.loads(data.decode())
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
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
    if field := _FIELD.search(message):
        key = f"{path}.{field['name']}".lstrip(".")
        if field["fault"] == "missing required":
            return UsageError(f"{where}: key '{key}' is missing")
        return UsageError(f"{where}: unknown key '{key}'", hint=nearest(field["name"], _field_names(kind, path)))
    choices = _choices(_type_at(kind, path)) if fact.startswith("Invalid enum value") else []
    hint = f"one of {', '.join(choices)}" if choices else None
    # What several keys contradict together has no path of its own.
    key = f"key '{path}': " if path else ""
    return UsageError(f"{where}: {key}{fact[:1].lower() + fact[1:]}", hint=hint)


def _field_names(kind: Any, path: str) -> list[str]:
    kind = _struct_in(_type_at(kind, path))
    return [field.encode_name for field in msgspec.structs.fields(kind)] if kind else []


def _type_at(kind: Any, path: str) -> Any:
    # `tables[2]` and `tables[...]` are elements of a list and of a table of tables.
    for name in filter(None, _ELEMENT.sub("", path).split(".")):
        kind = _struct_in(kind)
        if kind is None:
            return None
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == name), None)
    return kind


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    return [choice for option in get_args(kind) for choice in _choices(option)]


def _struct_in(kind: Any) -> Any:
    # Of an optional, a union or a list of tables only the struct has names.
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next(filter(None, map(_struct_in, get_args(kind))), None)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint that names what was probably meant, or all there is."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known names: {', '.join(names)}" if names else None
