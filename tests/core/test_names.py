"""Names from outside: what is let in stays in its folder on every disk, and two names are never one file."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pile_toolkit.core.names import NameTree, UnsafeName, folded, safe_name

PARTS = ["a", "..", ".", "", "C:", "\\", "\0", "b c", "é"]


@given(st.text() | st.lists(st.sampled_from(PARTS), max_size=6).map("/".join))
@example("./A:")
def test_a_name_that_is_let_in_stays_in_its_folder(name):
    try:
        safe = safe_name(name)
    except UnsafeName:
        return
    assert os.path.normpath("/folder/" + safe) == "/folder/" + safe
    assert os.path.normpath("/folder/" + name) == "/folder/" + safe
    for path in (PurePosixPath(safe), PureWindowsPath(safe)):
        assert not path.is_absolute()
        assert not path.drive
        assert ".." not in path.parts
    assert safe_name(safe) == safe
    assert len(safe.splitlines()) == 1


@pytest.mark.parametrize("name", ["a/b.txt", "..a", "a..b/c", "...", " ", "ä/日本", "ab:c", "-rf", "~", "CON"])
def test_unusual_names_are_let_in_as_they_are(name):
    assert safe_name(name) == name


@given(st.lists(st.text("aAbB/ßSé\u0301e", min_size=1, max_size=5).map(lambda name: name.strip("/")).filter(bool)))
def test_names_that_were_taken_in_are_apart_after_folding(names):
    tree, taken = NameTree(), []
    for name in names:
        try:
            safe = safe_name(name)
            tree.add_file(safe)
        except UnsafeName:
            continue
        taken.append(safe)
    files = [folded(name) for name in taken]
    assert len(set(files)) == len(files)
    spellings = {}
    for name in taken:
        for parent in PurePosixPath(name).parents[:-1] if "/" in name else ():
            assert folded(str(parent)) not in files
            assert spellings.setdefault(folded(str(parent)), str(parent)) == str(parent)
