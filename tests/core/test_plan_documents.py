"""Documents that the plan names: cut into pieces, found in today's files, refused where those are others."""

from __future__ import annotations

import numpy as np
import pytest

from pile_toolkit.core.components import read_component
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import withdraw
from pile_toolkit.core.plan import (
    Plan,
    PlannedText,
    iter_documents,
    iter_texts,
    read_file_rows,
)
from tests.making import make_plan, plan_rows, put_plan, write_component


def test_documents_come_with_their_ids_and_meta(tmp_path):
    files = {"a.jsonl.zst": [("x", b'{"n":NaN,"big":123456789012345678901234567890}'), "y"], "b.jsonl.zst": ["z"]}
    write_component(tmp_path, "arxiv", files)
    make_plan(tmp_path, ["arxiv"], change=lambda row: row.update(copies=row["line"]))
    first, second, third = iter_documents(tmp_path)
    assert (first.id, first.text, first.copies) == ("arxiv/a.jsonl.zst:1", "x", 1)
    assert str(first.meta) == "{'n': nan, 'big': 123456789012345678901234567890}"
    assert second == ("arxiv/a.jsonl.zst:2", "y", {"pile_set_name": "arxiv"}, 2)
    assert third.id == "arxiv/b.jsonl.zst:1"
    assert list(iter_documents(str(tmp_path), split="val")) == []
    with pytest.raises(UsageError, match="no split 'validation'"):
        next(iter_documents(tmp_path, split="validation"))


def test_pieces_are_cut_in_code_points_and_one_line_may_have_several(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["a\U0001f600é\u0301z", "whole"]})
    component = read_component(tmp_path, "arxiv")
    whole, last = plan_rows(component)
    pieces = [{**whole, "piece_start": start, "piece_end": end} for start, end in ((0, 2), (2, 2), (3, 5))]
    plan = put_plan(tmp_path, [component], [*pieces, last])
    meta = b'{"pile_set_name":"arxiv"}'
    assert list(read_file_rows(plan, 0, 0, plan.rows_of(0, 0))) == [
        PlannedText(0, 1, "a\U0001f600", meta),
        PlannedText(1, 1, "", meta),
        PlannedText(2, 1, "\u0301z", meta),
        PlannedText(3, 2, "whole", meta),
    ]
    assert [planned.row for planned in read_file_rows(plan, 0, 0, np.array([2, 3]))] == [2, 3]
    assert list(read_file_rows(plan, 0, 0, np.array([], dtype=np.int64))) == []


def test_rejected_lines_count_in_the_numbering(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": b'{"text":"one"}\n\nno\n{"text":"four"}\n'})
    plan = make_plan(tmp_path, ["arxiv"])
    assert [(planned.line, planned.text) for planned in read_file_rows(plan, 0, 0, plan.rows_of(0, 0))] == [
        (1, "one"),
        (4, "four"),
    ]


@pytest.mark.parametrize("now", [b'{"text":"one"}\n', b'{"text":"one"}\nno\n{"text":"three"}\n', b""])
def test_a_planned_line_that_is_gone_is_corrupt_data(tmp_path, now):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one", "two"]})
    plan = make_plan(tmp_path, ["arxiv"])
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": now})
    line = 2 if now else 1
    with pytest.raises(CorruptData, match=rf"a\.jsonl\.zst has no document on line {line}, which") as error:
        list(iter_texts(plan, "train"))
    assert f"pile build --root {tmp_path}" in error.value.hint


def test_a_planned_line_with_another_text_is_corrupt_data(tmp_path):
    # Of the same length and count, so that only its content tells; in another split it might be held out.
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one", "two", "six"]})
    plan = make_plan(tmp_path, ["arxiv"], change=lambda row: row.update(copies=row["line"] % 2))
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one", "TWO", "SIX"]})
    texts = iter_texts(plan, "train")
    assert next(texts) == ("one", 1)
    with pytest.raises(CorruptData, match=r"a\.jsonl\.zst has another text on line 3 than the one the plan") as error:
        next(texts)
    assert f"pile build --root {tmp_path}" in error.value.hint


def test_a_file_of_which_nothing_is_wanted_is_not_opened(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one"], "b.jsonl.zst": ["two"]})
    plan = make_plan(tmp_path, ["arxiv"], change=lambda row: row.update(copies=row["file"]))
    (tmp_path / "components" / "arxiv" / "a.jsonl.zst").unlink()
    assert list(iter_texts(plan, "train")) == [("two", 1)]
    assert [document.text for document in iter_documents(tmp_path)] == ["two"]


def test_a_component_that_went_is_named(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one"], "b.jsonl.zst": ["two"]})
    make_plan(tmp_path, ["arxiv"])
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["one"]})
    with pytest.raises(UsageError, match=r"names b\.jsonl\.zst of component 'arxiv', which is no longer there"):
        list(iter_texts(Plan.read(tmp_path), "train"))
    withdraw(tmp_path / "components" / "arxiv")
    with pytest.raises(UsageError, match="component 'arxiv' is not in"):
        list(iter_texts(Plan.read(tmp_path), "train"))
