"""The log of a resumed run is that of an undisturbed one: later rows and a torn last line are gone."""

from __future__ import annotations

import pytest

from trainer.metrics import (
    METRICS,
    MetricsLog,
    StepMetrics,
    ValidationMetrics,
    last_step,
    median_tokens_per_s,
    metrics_hash,
    read_rows,
)


def row(step: int, loss: float = 0.1) -> StepMetrics:
    return StepMetrics(step=step, loss=loss, learning_rate=1e-3, grad_norm=1.0, tokens=step * 10)


def write(run, steps, *, after: int, loss: float = 0.1) -> None:
    log = MetricsLog(run, step=after)
    for step in steps:
        log.write(row(step, loss))
        log.write_timing(step, tokens=10)
    log.close()


def test_a_resumed_log_keeps_the_rows_up_to_its_checkpoint_byte_for_byte(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for run in (whole, cut):
        run.mkdir()
    write(whole, range(1, 9), after=0, loss=1 / 3)
    write(cut, range(1, 7), after=0, loss=1 / 3)
    with (cut / METRICS).open("ab") as file:
        file.write(b'{"step":7,"lo')
    write(cut, range(5, 9), after=4, loss=1 / 3)
    assert (cut / METRICS).read_bytes() == (whole / METRICS).read_bytes()
    assert [line["step"] for line in read_rows(cut / "timings.jsonl")] == list(range(1, 9))
    assert median_tokens_per_s(cut) > 0


def test_a_fresh_log_drops_what_an_earlier_attempt_left(tmp_path):
    write(tmp_path, range(1, 4), after=0)
    write(tmp_path, range(1, 3), after=0, loss=0.7)
    assert [(line["step"], line["loss"]) for line in read_rows(tmp_path / METRICS)] == [(1, 0.7), (2, 0.7)]


def test_an_unknown_byte_count_leaves_bits_per_byte_out(tmp_path):
    log = MetricsLog(tmp_path, step=0)
    log.write(ValidationMetrics(step=1, validation_loss=2.5, validation_tokens=64))
    log.close()
    assert read_rows(tmp_path / METRICS) == [{"step": 1, "validation_loss": 2.5, "validation_tokens": 64}]
    assert median_tokens_per_s(tmp_path) == 0.0


@pytest.mark.parametrize(
    "torn", [b'{"step":4,"lo', b"\0\0\0\0\n", b'{"step":4\n', b"[4]\n", b'{"stop":4}\n', b'{"step":"\xff"}\n', b"\n"]
)
def test_what_a_power_cut_leaves_of_the_last_lines_is_no_row(tmp_path, torn):
    write(tmp_path, range(1, 4), after=0)
    whole = (tmp_path / METRICS).read_bytes()
    (tmp_path / METRICS).write_bytes(whole + torn + whole)
    assert [line["step"] for line in read_rows(tmp_path / METRICS)] == [1, 2, 3]
    MetricsLog(tmp_path, step=3).close()
    assert (tmp_path / METRICS).read_bytes() == whole


def test_the_hash_of_the_rows_so_far_is_found_again_in_a_longer_log(tmp_path):
    assert (metrics_hash(tmp_path, step=0), last_step(tmp_path)) == (metrics_hash(tmp_path, step=9), 0)
    hashes = []
    log = MetricsLog(tmp_path, step=0)
    for step in (1, 2):
        log.write(row(step))
        hashes.append(log.sync())
    log.close()
    log = MetricsLog(tmp_path, step=2)
    assert log.sync() == hashes[-1]
    log.write(row(3))
    log.write(ValidationMetrics(step=3, validation_loss=2.5, validation_tokens=64))
    hashes.append(log.sync())
    log.close()
    assert [metrics_hash(tmp_path, step=step) for step in (1, 2, 3)] == hashes
    assert len(set(hashes)) == last_step(tmp_path) == 3


def test_a_step_is_one_short_line_for_people():
    assert row(3, 7.25).line() == "loss 7.2500, grad norm 1"
    overflow = StepMetrics(step=3, loss=7.25, learning_rate=0.1, grad_norm=float("nan"), tokens=30, skipped=True)
    assert overflow.line() == "loss 7.2500, overflow, skipped"
