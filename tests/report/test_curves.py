"""Curves go through their points, say at every place what all lines are there, and stand in files of their own."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.report.curves import Point, curve, small_curve, standalone

HOSTILE = "</text></svg><script>alert(1)</script>\"'&"
SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def percent(text: str | None) -> float:
    assert text is not None
    return float(text.removesuffix("%"))


def strips(svg: ElementTree.Element) -> list[tuple[float, float, str | None]]:
    """Left edge, width and text of each."""
    found = []
    for group in svg.iter("g"):
        strip = group.find("rect")
        assert strip is not None
        found.append((percent(strip.get("x")), percent(strip.get("width")), group.findtext("title")))
    return found


def drawn(**options) -> ElementTree.Element:
    lines = {"x_unit": "step", "y_unit": "loss", "name": "x", "height": 100} | options
    return parse(curve(**lines))


def test_a_curve_goes_through_its_points():
    points = [Point(1, 4.0, "a"), Point(2, 2.0, "b"), Point(3, 3.0, "c")]
    svg = drawn(line=points, dots=[Point(3, 2.0, "dot")])
    line = svg.find(".//polyline")
    assert line is not None
    assert line.get("points") == "0.000,0.00 50.000,100.00 100.000,50.00"
    dot = svg.find("circle")
    assert dot is not None
    assert (percent(dot.get("cx")), float(dot.get("cy", -1))) == (100, 100)


def test_several_lines_share_their_axes_and_each_has_its_class():
    first, second = [Point(0, 1.0, "a"), Point(4, 2.0, "b")], [Point(2, 5.0, "c"), Point(4, 0.0, "d")]
    svg = drawn(line=first, others=[second])
    found = {line.get("class"): line.get("points") for line in svg.iter("polyline")}
    assert found == {"line-0": "0.000,80.00 100.000,60.00", "line-1": "50.000,0.00 100.000,100.00"}
    only_second = drawn(line=[], others=[second])
    assert [line.get("class") for line in only_second.iter("polyline")] == ["line-1"]


def test_at_every_place_all_lines_are_told_and_the_places_fill_the_width():
    svg = drawn(line=[Point(0, 1, "a"), Point(1, 1, "b"), Point(10, 1, "c")], others=[[Point(10, 2, "d")]])
    assert strips(svg) == [(0, 5, "a"), (5, 50, "b"), (55, 45, "c\nd")]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40, unique=True))
def test_strips_lie_side_by_side_around_their_points(places):
    places.sort()
    found = strips(drawn(line=[Point(place, 1.0, str(place)) for place in places]))
    assert [text for _, _, text in found] == [str(place) for place in places]
    edge = 0.0
    for (left, width, _), place in zip(found, places, strict=True):
        assert left == pytest.approx(edge, abs=0.01)
        edge = left + width
        across = 100 * (place - places[0]) / ((places[-1] - places[0]) or 1)
        assert left - 0.01 <= across <= edge + 0.01
    assert edge == pytest.approx(100, abs=0.01)


def test_marks_stand_at_their_place_and_ticks_may_lie_between_whole_numbers():
    points, marks = [Point(0, 0, "a"), Point(1, 1, "b")], [Point(0.75, 0, "here"), Point(0.05, 0, "in the corner")]
    svg = drawn(line=points, marks=marks, whole=False)
    texts = {text.text: text.get("x") for text in svg.iter("text")}
    assert (texts["here"], texts["0.4"]) == ("75.000%", "40.000%")
    # Its name would stand on that of the axis; pointed at, the line says it.
    assert "in the corner" not in texts
    dashed = [line for line in svg.iter("line") if line.get("class") == "level"]
    assert [(line.get("x1"), line.findtext("title")) for line in dashed] == [
        ("75.000%", "here"),
        ("5.000%", "in the corner"),
    ]


def test_a_curve_of_one_point_and_of_equal_values_is_drawn():
    for values in ([5.0], [5.0, 5.0], [0.0]):
        points = [Point(step, value, "p") for step, value in enumerate(values)]
        assert "NaN" not in curve(points, x_unit="step", y_unit="loss", name="x")
        assert "NaN" not in small_curve(points, low=min(values), high=max(values), name="x")


def test_small_curves_are_drawn_between_the_given_values():
    svg = parse(small_curve([Point(0, 3.0, "a"), Point(10, 2.0, "b")], low=1.0, high=5.0, name="x", height=40))
    line, last = svg.find(".//polyline"), svg.find("circle")
    assert line is not None
    assert last is not None
    assert line.get("points") == "0.000,20.00 100.000,30.00"
    assert (last.get("cx"), last.get("cy")) == ("100.000%", "30")


def test_a_chart_can_be_a_file_of_its_own_with_its_colours_and_names():
    chart = curve([Point(0, 1, "a"), Point(1, 2, "b")], x_unit="step", y_unit="loss", name="x")
    alone = standalone(chart, legend=("this", HOSTILE))
    svg = parse(alone)
    assert svg.tag == f"{SVG}svg"
    style = svg.findtext(f"{SVG}style")
    assert style is not None
    assert ".line-0 { stroke" in style
    assert "prefers-color-scheme: dark" in style
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert texts[:2] == ["this", HOSTILE]
    assert "<script" not in alone
    assert len(list(svg.iter(f"{SVG}polyline"))) == 1


def test_no_text_becomes_markup():
    point = Point(0, 1, HOSTILE)
    charts = [
        curve([point], [point], x_unit=HOSTILE, y_unit=HOSTILE, name=HOSTILE, level=point, marks=[point]),
        small_curve([point], low=0, high=1, name=HOSTILE),
    ]
    for chart in charts:
        assert "<script" not in chart
        svg = parse(chart)
        assert svg.get("aria-label") == HOSTILE
        assert HOSTILE in [title.text for title in svg.iter("title")]
