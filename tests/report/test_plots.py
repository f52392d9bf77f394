"""Marks are as long as their numbers say, and no text leaves its place."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.report.figures import power_of_two
from pile_toolkit.report.plots import Bar, Bin, bars, element, histogram, log_histogram, nice_ticks

numbers = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)
HOSTILE = "</text></svg><script>alert(1)</script>\"'&"


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def percent(text: str | None) -> float:
    assert text is not None
    return float(text.removesuffix("%"))


@given(low=numbers, high=numbers, most=st.integers(1, 8))
def test_ticks_enclose_the_range_in_even_steps(low, high, most):
    low, high = sorted((low, high))
    ticks = nice_ticks(low, high, most=most)
    slack = 2e-9 + 1e-8 * max(abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= most + 3
    steps = [after - before for before, after in itertools.pairwise(ticks)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-3) for step in steps)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0, [0, 0.2]),
        (0, 18.1, [0, 5, 10, 15, 20]),
        (0, 0.57, [0, 0.2, 0.4, 0.6]),
        (6.3, 9.2, [6, 7, 8, 9, 10]),
        (5, 5, [5, 6]),
        (0, 3e-6, [0, 1e-6, 2e-6, 3e-6]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert nice_ticks(low, high, most=5) == expected


def test_bars_are_as_wide_as_their_values():
    rows = [Bar("a", (5.0, 20.0), ("a ours", "a theirs"), "5%"), Bar("b", (10.0, 0.0), ("b ours", "b theirs"), "10%")]
    svg = parse(bars(rows, unit="%", name="x"))
    found = {rect.findtext("title"): percent(rect.get("width")) for rect in svg.iter("rect")}
    assert found == {"a ours": 25, "a theirs": 100, "b ours": 50, "b theirs": 0}


def test_stacked_bars_follow_each_other():
    svg = parse(bars([Bar("a", (5.0, 15.0), ("first", "second"), "20%")], unit="%", name="x", stacked=True))
    first, second = svg.iter("rect")
    assert (percent(first.get("x")), percent(first.get("width"))) == (0, 25)
    assert (percent(second.get("x")), percent(second.get("width"))) == (25, 75)


def test_columns_stand_on_each_other_and_on_the_axis():
    svg = parse(histogram([Bin((60, 40), "both"), Bin((0, 0), "none")], x_unit="x", y_unit="y", name="x", height=100))
    kept, removed = (rect for rect in svg.iter("rect") if rect.get("class", "").startswith("series"))
    assert (float(kept.get("y", 0)), float(kept.get("height", 0))) == (40, 60)
    assert (float(removed.get("y", 0)), float(removed.get("height", 0))) == (0, 40)


def test_columns_on_powers_of_ten_are_as_tall_as_their_logarithms():
    bins = [Bin((1,), "one"), Bin((100,), "many"), Bin((0,), "none")]
    svg = parse(log_histogram(bins, x_unit="x", y_unit="y", name="x", height=100))
    one, many = (rect for rect in svg.iter("rect") if rect.get("class", "").startswith("series"))
    assert float(many.get("height", 0)) == 100
    assert float(one.get("height", 0)) == pytest.approx(100 * math.log10(2) / math.log10(200), abs=0.01)
    ticks = {text.text: float(text.get("y", 0)) for text in svg.iter("text")}
    assert (ticks["100"], ticks["1"]) == (0, pytest.approx(100 - float(one.get("height", 0)), abs=0.01))


def test_charts_of_nothing_are_drawn():
    assert parse(bars([], unit="%", name="x")) is not None
    assert parse(histogram([], x_unit="x", y_unit="y", name="x")) is not None
    assert parse(log_histogram([], x_unit="x", y_unit="y", name="x")) is not None
    assert parse(histogram([Bin((0,), "none")], x_unit="", y_unit="", name="x", grid=False)) is not None


def test_no_text_becomes_markup():
    charts = [
        bars([Bar(HOSTILE, (1.0,), (HOSTILE,), HOSTILE)], unit=HOSTILE, name=HOSTILE),
        histogram([Bin((1.0,), HOSTILE, HOSTILE)], x_unit=HOSTILE, y_unit=HOSTILE, name=HOSTILE),
        log_histogram([Bin((1.0,), HOSTILE, HOSTILE)], x_unit=HOSTILE, y_unit=HOSTILE, name=HOSTILE),
    ]
    for chart in charts:
        assert "<script" not in chart
        svg = parse(chart)
        assert svg.get("aria-label") == HOSTILE
        assert HOSTILE in [title.text for title in svg.iter("title")]
        assert HOSTILE in [text.text for text in svg.iter("text")]


@given(content=st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")))
def test_an_element_gives_back_what_was_put_in(content):
    found = parse(element("text", content, class_=content, data_x=1.5))
    assert (found.text or "", found.get("class"), found.get("data-x")) == (content, content, "1.5")


def test_powers_of_two_are_named_shortly():
    assert [power_of_two(1 << bits) for bits in (0, 4, 9, 10, 16, 20, 33, 50)] == [
        "1 B", "16 B", "512 B", "1 KiB", "64 KiB", "1 MiB", "8 GiB", "2^50 B",
    ]  # fmt: skip
    assert [power_of_two(value, "") for value in (0, 1, 512, 1 << 16, 1 << 50)] == ["0", "1", "512", "64 Ki", "2^50"]
