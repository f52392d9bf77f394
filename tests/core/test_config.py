"""A configuration error names the file, the key, what was expected and what was probably meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from pile_toolkit.core import config
from pile_toolkit.core.config import convert, nearest, read_toml
from pile_toolkit.core.errors import UsageError


class Inner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"source": "from"}):
    source: str = "sample:"
    threshold: float = 0.8


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    inner: Inner = Inner()
    method: Literal["none", "exact"] = "none"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    seed: int
    table: Table | None = None
    several: list[Inner] | None = None
    by_name: dict[str, Inner] = {}


def converted(text, tmp_path):
    path = tmp_path / "pile.toml"
    path.write_text(text)
    return convert(read_toml(path), Config, where="pile.toml")


def test_a_right_file_becomes_its_struct(tmp_path):
    text = 'seed = 1\n[table]\nmethod = "exact"\n[table.inner]\nfrom = "x"\n[[several]]\nthreshold = 1\n[by_name.a]\n'
    assert converted(text, tmp_path) == Config(
        seed=1,
        table=Table(inner=Inner(source="x"), method="exact"),
        several=[Inner(threshold=1.0)],
        by_name={"a": Inner()},
    )


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("seeed = 1", "unknown key 'seeed'", "did you mean 'seed'?"),
        ("seed = 1\nxyz = 2", "unknown key 'xyz'", "known names: seed, table, several, by_name"),
        ("seed = 1\n[table]\nmetod = 1", "unknown key 'table.metod'", "did you mean 'method'?"),
        ("seed = 1\n[table.inner]\nfro = 1", "unknown key 'table.inner.fro'", "did you mean 'from'?"),
        ("seed = 1\n[table.inner]\nsource = 1", "unknown key 'table.inner.source'", "known names: from, threshold"),
        ("seed = 1\n[[several]]\n[[several]]\nfrmo = 1", "unknown key 'several[1].frmo'", "did you mean 'from'?"),
        ("seed = 1\n[by_name.a]\nfrmo = 1", "unknown key 'by_name[...].frmo'", "did you mean 'from'?"),
        ('seed = "1"', "key 'seed': expected `int`, got `str`", None),
        ("seed = 1.5", "key 'seed': expected `int`, got `float`", None),
        ("seed = true", "key 'seed': expected `int`, got `bool`", None),
        ("seed = 1\ntable = 3", "key 'table': expected `object | null`, got `int`", None),
        ("seed = 1\n[table]\nmethod = 'fuzzy'", "key 'table.method': invalid enum value 'fuzzy'", "one of none, exact"),
        ("seed = 1\n[table.inner]\nthreshold = 'x'", "key 'table.inner.threshold': expected `float`, got `str`", None),
        ("", "key 'seed' is missing", None),
    ],
)
def test_a_wrong_key_or_type_is_named_with_its_path(tmp_path, text, message, hint):
    with pytest.raises(UsageError) as error:
        converted(text, tmp_path)
    assert error.value.message == f"pile.toml: {message}"
    assert error.value.hint == hint


@pytest.mark.parametrize("text", ["seed =", "seed = 1\nseed = 2", "[a\n", "seed = 1 2", "a = " + "[" * 100_000])
def test_what_is_no_toml_is_named(tmp_path, text):
    with pytest.raises(UsageError, match=r"pile\.toml is not valid TOML: "):
        converted(text, tmp_path)


def test_what_is_no_text_absent_or_a_folder_is_named(tmp_path):
    (tmp_path / "bytes.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(UsageError, match=r"bytes\.toml is not valid TOML: .*utf-8"):
        read_toml(tmp_path / "bytes.toml")
    with pytest.raises(UsageError, match=r"there is no file .*absent\.toml"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * config.LIMIT_BYTES)
    assert read_toml(path) == {}
    path.write_bytes(b"#" * (config.LIMIT_BYTES + 1))
    with pytest.raises(UsageError, match="4,194,305 bytes or more, a configuration has at most 4,194,304"):
        read_toml(path)
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="4,194,305 bytes or more"):
        read_toml(tmp_path / "zero.toml")


def test_a_pipe_is_read_as_a_shell_hands_it_over(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"seed = 1")
    os.close(writing)
    assert read_toml(Path(f"/dev/fd/{reading}")) == {"seed": 1}
    os.close(reading)


def test_the_nearest_name_is_suggested_and_otherwise_all_of_them():
    assert nearest("enron-email", ["enron-emails", "github"]) == "did you mean 'enron-emails'?"
    assert nearest("xyz", ["enron-emails", "github"]) == "known names: enron-emails, github"
    assert nearest("xyz", []) is None
