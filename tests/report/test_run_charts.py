"""What a run has logged is on its page: losses of all kinds, schedule, gradients, overflows, epochs, and the clock."""

from __future__ import annotations

import json
import math
import statistics
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import msgspec
import pytest

from pile_toolkit.report import run_charts
from pile_toolkit.report.render import write_report
from pile_toolkit.report.run_data import Run
from tests.report.roots import IMAGE, RUN, STEPS, write_run
from tests.report.test_render import Page

if TYPE_CHECKING:
    from pathlib import Path

    from pile_toolkit.report.figures import Figure
    from tests.report.roots import Made

SMALL_STEPS = 120


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one short run, every step a point, and its report."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder, "short", steps=SMALL_STEPS)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    report = json.loads((root / "reports" / "report.json").read_bytes())
    return msgspec.convert(report["runs"][0], Run)


@pytest.fixture(scope="module")
def drawn(run: Run) -> dict[str, Figure]:
    return {figure.title: figure for figure in run_charts.charts(run, 700)}


def tooltips(figure: Figure) -> list[str]:
    titles = ElementTree.fromstring(figure.svg).iter("title")
    return [line for title in titles for line in (title.text or "").splitlines()]


def rows(root: Path, file: str) -> list[dict]:
    return [json.loads(line) for line in (root / "runs" / "short" / file).read_text().splitlines()]


def test_every_figure_is_that_of_the_logs(root: Path, run: Run):
    steps = [row for row in rows(root, "metrics.jsonl") if "loss" in row]
    assert [(one.loss, one.learning_rate, one.grad_norm, one.loss_scale, one.skipped) for one in run.losses] == [
        (row["loss"], row["learning_rate"], row["grad_norm"], row["loss_scale"], row.get("skipped", 0)) for row in steps
    ]
    assert [one.last_step for one in run.losses if one.grad_norm is None] == [40, 80, 120]
    timings = rows(root, "timings.jsonl")
    assert [(one.tokens_per_s, one.mfu, one.hardware_utilisation, one.memory_bytes) for one in run.timings] == [
        (row["tokens_per_s"], row["mfu"], row["hardware_utilisation"], row["memory_bytes"]) for row in timings
    ]
    validated = [row for row in rows(root, "metrics.jsonl") if "validation_loss" in row]
    assert [point.mixture_loss for point in run.validations] == [row["mixture_loss"] for row in validated]
    assert [msgspec.to_builtins(point.components) for point in run.validations] == [
        {name: {"bits_per_byte": None} | found for name, found in row["components"].items()} for row in validated
    ]
    assert [(one.step, one.epochs) for one in run.epochs] == [(60, 1), (120, 2)]


def test_of_a_long_run_norms_are_means_overflows_sums_and_clocks_medians(hostile: Made):
    (run,) = hostile.report["runs"]
    covered = [step for point in run["timings"] for step in range(point["first_step"], point["last_step"] + 1)]
    assert covered == list(range(1, STEPS + 1))
    assert sum(point["skipped"] for point in run["losses"]) == STEPS // 40
    logged = (hostile.root / "runs" / RUN / "timings.jsonl").read_text().splitlines()
    speeds = [json.loads(line)["tokens_per_s"] for line in logged]
    for point in run["timings"]:
        some = speeds[point["first_step"] - 1 : point["last_step"]]
        assert point["tokens_per_s"] == statistics.median(some)
        assert point["memory_bytes"] == (point["last_step"] + 1) << 20
    for point in run["losses"]:
        steps = range(point["first_step"], point["last_step"] + 1)
        norms = [1.0 + step / 100 for step in steps if step % 40]
        assert point["grad_norm"] == (pytest.approx(statistics.fmean(norms)) if norms else None)


def test_all_that_was_logged_is_drawn_and_says_its_number(drawn: dict[str, Figure], run: Run):
    assert list(drawn) == [
        "Loss", "Bits per byte", "Learning rate", "Gradient norm", "Loss scale", "Throughput", "Utilisation", "Memory",
    ]  # fmt: skip
    said = {title: tooltips(figure) for title, figure in drawn.items()}
    for point in run.losses:
        assert f"step {point.last_step}: loss {point.loss:.4f}" in said["Loss"]
        assert f"step {point.last_step}: {point.learning_rate:.4g}" in said["Learning rate"]
        norm = f"step {point.last_step}: {point.grad_norm:.4g}" if point.grad_norm else f"step {point.last_step}:"
        assert any(text.startswith(norm) for text in said["Gradient norm"]) == (point.grad_norm is not None)
    assert {"step 60: validation loss 2.2500, 1.500 bits per byte", "step 60: weighted by the mixture 2.7500"} <= {
        *said["Loss"]
    }
    assert {"step 120, validation: 1.5000", "step 120, weighted by the mixture: 1.7500"} <= {*said["Bits per byte"]}
    assert drawn["Loss"].legend == ["training", "validation", "weighted by the mixture"]
    assert "87.5% of the training is of components with held-out text" in drawn["Loss"].note
    assert f"guessing evenly among 700 tokens: {math.log(700):.2f}" in str(drawn["Loss"].svg)
    assert "step 1: 2.00" not in said["Memory"]
    assert "step 1: 0.00 GiB" in said["Memory"]
    assert {"step 7: MFU 30.0%", "hardware utilisation 40.0%"} <= {*said["Utilisation"]}


def test_overflows_are_dots_on_the_loss_scale(drawn: dict[str, Figure]):
    dots = [dot.findtext("title") for dot in ElementTree.fromstring(drawn["Loss scale"].svg).iter("circle")]
    assert dots == [f"step {step}: 1 skipped at {2 ** (12 - step // 40):,}" for step in (40, 80, 120)]
    assert drawn["Loss scale"].note == "3 of 120 steps overflowed and changed no weight."


def test_epochs_are_marked_where_they_end(drawn: dict[str, Figure]):
    for title in ("Loss", "Learning rate", "Gradient norm"):
        lines = [
            line for line in ElementTree.fromstring(drawn[title].svg).iter("line") if line.find("title") is not None
        ]
        assert [(line.get("x1"), line.findtext("title")) for line in lines] == [
            (f"{100 * 59 / 119:.3f}%", "epoch 1"),
            ("100.000%", "epoch 2"),
        ]


def test_of_many_epochs_only_some_are_marked(run: Run):
    many = [msgspec.structs.replace(run.epochs[0], step=number, epochs=number) for number in range(1, 101)]
    svg = str(run_charts.charts(msgspec.structs.replace(run, epochs=many), None)[0].svg)
    found = [int(part.split("<")[0]) for part in svg.split("<title>epoch ")[1:]]
    assert found == [17, 34, 51, 68, 85]


def test_each_component_has_its_own_small_chart_the_worst_first(run: Run):
    figures = run_charts.by_component(run)
    assert [figure.title for figure in figures] == ["arxiv", IMAGE]
    assert figures[0].note == "2.880 nats per token\n1.250 bits per byte"
    assert figures[1].note == "1.500 nats per token"
    line = ElementTree.fromstring(figures[0].svg).find(".//polyline")
    assert line is not None
    # Between 1.5 and 2.94, the least and the most of all: the highest at the top.
    assert line.get("points") == f"0.000,0.00 100.000,{64 * 0.06 / 1.44:.2f}"
    assert "step 60: 2.9400, 1.250 bits per byte" in tooltips(figures[0])


def test_what_was_not_logged_is_not_drawn(run: Run):
    plain = [msgspec.structs.replace(point, loss_scale=None, skipped=0) for point in run.losses]
    clock = [msgspec.structs.replace(p, mfu=None, hardware_utilisation=None, memory_bytes=None) for p in run.timings]
    bare = msgspec.structs.replace(run, losses=plain, validations=[], epochs=[], timings=clock)
    assert [figure.title for figure in run_charts.charts(bare, None)] == [
        "Loss", "Learning rate", "Gradient norm", "Throughput",
    ]  # fmt: skip
    assert run_charts.charts(bare, None)[0].legend == ["training"]
    assert run_charts.by_component(bare) == []
    assert run_charts.charts(msgspec.structs.replace(bare, losses=[], timings=[]), None) == []


def test_tables_say_the_losses_of_the_mixture_and_of_components(root: Path):
    page = Page((root / "reports" / "index.html").read_text())
    shown = page.row("Validations of short", "120")
    assert shown["weighted by the mixture, nats per token"] == "2.7500"
    assert shown["bits per byte of the mixture"] == "1.7500"
    assert page.row("Components at step 120 of short", IMAGE) == {
        "component": IMAGE,
        "held-out tokens": "140",
        "loss, nats per token": "1.5000",
        "bits per byte": "–",
    }
