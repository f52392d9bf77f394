"""`pile run | plan | report | verify | doctor`: the whole root folder."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pile_toolkit.cli.options import (
    RootPath,
    config_option,
    dry_run_option,
    jobs_option,
    json_option,
    percent,
    print_dry_run,
    print_result,
    root_option,
    scheduler_option,
    writing,
)
from pile_toolkit.core.console import duration, print_table, reporter, size
from pile_toolkit.core.errors import UsageError

if TYPE_CHECKING:
    from pile_toolkit.chain.calibration import Calibrate

CONFIG = click.argument("config", type=click.Path(path_type=Path, dir_okay=False), default="pile.toml")

_CALIBRATE: dict[bool | None, Calibrate] = {None: "once", True: "again", False: "never"}

FILES_ROOT = click.option(
    "--root", envvar="PILE_ROOT", show_envvar=True, type=RootPath(file_okay=False), help="Instead of the file's root."
)


def _overrides(**values: Any) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in values.items() if value is not None}


@click.command()
@CONFIG
@click.option(
    "--locked",
    type=click.Path(dir_okay=False),
    help="In place of CONFIG a file of `pile lock`: the same bytes, or why not.",
)
@FILES_ROOT
@click.option("--seed", type=int, help="Instead of the file's seed.")
@click.option("--from", "source", help="Instead of download.from.")
@click.option("--against", help="Instead of dedup.against.")
@click.option("--steps", type=click.IntRange(min=1), help="Instead of train.steps.")
@click.option("--name", help="Instead of train.name: the folder under runs/.")
@click.option("--take-over", is_flag=True, help="Displace a run of another host that is gone.")
@jobs_option
@scheduler_option
@dry_run_option
@json_option
@click.pass_context
def run(
    context: click.Context,
    config: Path,
    locked: str | None,
    root: str | None,
    seed: int | None,
    source: str | None,
    against: str | None,
    steps: int | None,
    name: str | None,
    take_over: bool,
    jobs: int,
    scheduler: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """All stages of CONFIG (default pile.toml), in order; what is up to date is passed over.

    With --locked, what `pile lock` wrote: versions and inputs are compared before anything runs, every file of a stage
    after it. Exit code 4 where one differs.

    \b
    pile run                                          pile.toml of this folder; once more, it continues
    pile run mine.toml --from ./my-pile --steps 1000  typed values replace those of the file
    pile run mine.toml --dry-run                      what it would make and take
    pile run --locked pile.lock --root again --from ./my-pile
    """
    from pile_toolkit.chain.run import run as library

    overrides = _overrides(root=root, seed=seed, download__from=source, train__steps=steps, train__name=name)
    overrides |= _overrides(dedup__against=against)
    if locked is not None and context.get_parameter_source("config") is not click.core.ParameterSource.DEFAULT:
        raise UsageError(f"{locked} has its own configuration, and {config} was given", hint="one of them")
    if dry_run and locked is not None:
        return _check_lock(locked, overrides, as_json=as_json)
    if dry_run:
        return _plan(config, overrides, jobs=jobs, as_json=as_json)
    options: dict[str, Any] = {"jobs": jobs, "scheduler": scheduler, "take_over": take_over, "reporter": reporter()}
    result = library(None if locked else config, locked=locked, overrides=overrides, **options)
    return print_result(result, as_json=as_json, show=_show_run)


def _check_lock(locked: str, overrides: dict[str, Any], *, as_json: bool) -> None:
    from pile_toolkit.chain.locked import LockedRun

    def show(found: Any) -> None:
        for warning in found.warnings:
            click.echo(f"warning: {warning}")
        click.echo(f"would make {len(found.stages)} stages of {found.lock} in {found.root}, and compare every file")

    print_result(LockedRun(locked, overrides).check(), as_json=as_json, show=show)


def _show_run(result: Any) -> None:
    click.echo()
    print_table(
        ["stage", "state", ">seconds", "result"],
        [
            (row.stage, "up to date" if row.up_to_date else "done", f"{row.elapsed_s:.1f}", row.facts)
            for row in result.stages
        ],
    )
    click.echo()
    if result.up_to_date:
        click.echo(f"all {len(result.stages)} stages are up to date")
    for warning in result.warnings:
        click.echo(f"warning: {warning}")
    if result.last_loss is not None:
        click.echo(f"loss {result.first_loss:.3f} -> {result.last_loss:.3f}")
    click.echo(f"report: {result.report}")


@click.command()
@CONFIG
@FILES_ROOT
@click.option(
    "--calibrate/--no-calibrate",
    default=None,
    help="Measure again how fast this machine is, in half a minute, or never. By default once.",
)
@jobs_option
@json_option
def plan(config: Path, root: str | None, calibrate: bool | None, jobs: int, as_json: bool) -> None:
    """What a run of CONFIG would make and take: documents, bytes, epochs and tokens per component; disk, memory and
    hours per stage.

    Counts are measured where components are on this disk, and estimated or the published ones elsewhere. Hours come
    from a measurement of this machine, made once and kept, those of the training from steps of its model, cut small.
    Exit code 5 where something will not fit; shares that only estimates say to be out of reach are a warning.
    """
    _plan(config, _overrides(root=root), jobs=jobs, as_json=as_json, calibrate=_CALIBRATE[calibrate])


def _plan(config: Path, overrides: dict[str, Any], *, jobs: int, as_json: bool, calibrate: Calibrate = "never") -> None:
    from pile_toolkit.chain.forecast import plan as library
    from pile_toolkit.chain.forecast import refuse_what_does_not_fit

    forecast = library(config, overrides=overrides, jobs=jobs, calibrate=calibrate, reporter=reporter())
    print_result(forecast, as_json=as_json, show=_show_plan)
    refuse_what_does_not_fit(forecast)


def _show_plan(result: Any) -> None:
    rows = [
        (
            row.slug,
            f"{row.documents:,}",
            size(row.bytes),
            f"{row.epochs:g}",
            size(row.effective_bytes),
            percent(row.effective_bytes, result.effective_bytes),
            f"{row.tokens:,}",
        )
        for row in result.components
    ]
    print_table(["component", ">documents", ">text", ">epochs", ">in corpus", "?>share", ">tokens"], rows)
    click.echo()
    measured = [">time"] if result.processor else []
    print_table(
        ["stage", "state", ">disk", ">memory", *measured],
        [
            (
                row.stage,
                "present" if row.present else "to do",
                size(row.disk_bytes),
                size(row.memory_bytes),
                *["unknown" if row.hours is None else duration(row.hours * 3600) for _ in measured],
            )
            for row in result.stages
        ],
    )
    click.echo()
    if measured:
        taken = duration(result.hours * 3600) + ("" if _all_known(result) else " without the training")
        click.echo(f"what is to do takes about {taken} on this machine ({result.processor}), the network aside")
    else:
        click.echo("hours: pile plan, which measures this machine once")
    if result.training is not None:
        click.echo(_training_line(result.training))
    for counted in dict.fromkeys(row.counted for row in result.components):
        slugs = [row.slug for row in result.components if row.counted == counted]
        every = len(slugs) == len(result.components)
        click.echo(f"counts {counted}: {'all components' if every else ', '.join(slugs)}")
    free = f"{size(result.free_disk_bytes)} of disk and {size(result.free_memory_bytes)} of memory are free"
    click.echo(f"{result.tokens:,} tokens expected; {free}")
    click.echo(f"shards written with --materialize take {size(result.materialized_disk_bytes)} of disk")
    for warning in result.warnings:
        click.echo(f"warning: {warning}")


def _all_known(result: Any) -> bool:
    return all(row.present or row.hours is not None for row in result.stages)


def _training_line(training: Any) -> str:
    what = f"train: {training.tokens:,} tokens in {training.steps:,} steps, {training.parameters:,} parameters"
    if training.unknown is not None:
        return f"{what}, time unknown, {training.unknown}"
    rate = f"{training.tokens_per_s:,.3g}" if training.tokens_per_s < 10 else f"{training.tokens_per_s:,.0f}"
    shared = f"; torchrun shares it among {training.gpus} GPUs" if training.gpus > 1 else ""
    work = f"{training.flops_per_token / 1e6:,.1f} MFLOP each, 6 (N - Vh) + 12 L h T"
    taken = f"{rate} tokens/s on one {training.device}: {duration(training.hours * 3600)}"
    return f"{what}, {taken}, by steps of {training.measured}, {work}{shared}"


@click.command()
@root_option
@dry_run_option
@json_option
@config_option
def report(root: Path, dry_run: bool, as_json: bool) -> None:
    """One self-contained HTML page about everything in the root: tables, mixture, lengths, loss.

    It lies in reports/index.html of the root, and its figures in report.json beside it.
    """
    from pile_toolkit.report.render import write_report

    if dry_run:
        return print_dry_run("report", root / "reports", {}, as_json=as_json)
    with writing(root):
        result = write_report(root, reporter=reporter())
    return print_result(result, as_json=as_json, show=lambda made: click.echo(made.path))


@click.command()
@root_option
@click.option("--repair", is_flag=True, help="Remove what is damaged and run the commands that make it again.")
@jobs_option
@dry_run_option
@json_option
@config_option
def verify(root: Path, repair: bool, jobs: int, dry_run: bool, as_json: bool) -> None:
    """Read every finished output again; what changed is named with the command that repairs it.

    With --repair those commands are run, in order, and everything is read once more; files outside the root are
    never touched. With --dry-run it only says what --repair would do. Exit code 4 where damage is left.

    \b
    pile verify
    pile verify --repair --dry-run     the commands that would make good what is damaged
    pile verify --repair               runs them
    """
    from pile_toolkit.chain.verify import refuse_faults
    from pile_toolkit.chain.verify import verify as library

    result = library(root, repair=repair and not dry_run, jobs=jobs, reporter=reporter())
    print_result(result, as_json=as_json, show=functools.partial(_show_verified, dry_run=dry_run))
    refuse_faults(result)


def _show_verified(result: Any, *, dry_run: bool) -> None:
    for command in result.repaired:
        click.echo(f"ran: {command}")
    for fault in (*result.faults, *result.stale):
        click.echo(f"{fault.stage}: {fault.path} {fault.fact}\n  repair: {fault.repair}")
    for leftover in result.leftovers:
        click.echo(f"left over: {leftover.path}, {size(leftover.bytes)} that no manifest names")
    if dry_run:
        _show_steps(result)
    damaged = f"{len(result.faults)} damaged" if result.faults else "all as their manifests say"
    stale = f", {len(result.stale)} stages stale" if result.stale else ""
    click.echo(f"{result.files:,} files of {result.stages} outputs, {size(result.bytes)}: {damaged}{stale}")


def _show_steps(result: Any) -> None:
    from pile_toolkit.chain.repair import steps

    for leftover in result.leftovers:
        click.echo(f"would remove {leftover.path}")
    for step in steps(result):
        click.echo(f"would run: {step.text()}")


@click.command()
@root_option
@json_option
@config_option
@click.pass_context
def doctor(context: click.Context, root: Path, as_json: bool) -> None:
    """Look for what stands in the way of a run; exit code 2 where something does."""
    from pile_toolkit.chain.doctor import examine

    result = examine(root)
    print_result(result, as_json=as_json, show=_show_checks)
    if not result.healthy:
        context.exit(2)


def _show_checks(result: Any) -> None:
    colours = {"ok": "green", "warning": "yellow", "failed": "red"}
    for check in result.checks:
        click.echo(f"{click.style(f'{check.state:<8}', fg=colours[check.state])}{check.name:<12}{check.fact}")
        if check.hint:
            click.echo(f"{'':<20}try: {check.hint}")
