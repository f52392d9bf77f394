"""Options that are spelled the same everywhere, and how results are printed."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pile_toolkit.core.console import speaks
from pile_toolkit.core.runners import available_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def _take_defaults(context: click.Context, option: click.Parameter, path: str | None) -> None:
    """`--config`: its tables become the defaults of this command's options; what is typed still wins."""
    if path is None:
        return
    from pile_toolkit.chain.config import load_run_config

    config = msgspec.to_builtins(load_run_config(path))
    tables = [config, *(table for table in config.values() if isinstance(table, dict))]
    context.default_map = {
        **(context.default_map or {}),
        **{"source" if key == "from" else key: value for table in tables for key, value in table.items()},
    }


root_option = click.option(
    "--root",
    envvar="PILE_ROOT",
    default="pile-data",
    show_default=True,
    show_envvar=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that holds everything.",
)
seed_option = click.option("--seed", default=1234, show_default=True, help="Of every random decision.")
jobs_option = click.option(
    "--jobs",
    default=available_jobs,
    show_default="all processors",
    type=click.IntRange(min=1),
    help="Worker processes.",
)
scheduler_option = click.option(
    "--scheduler", default="process", show_default=True, help="serial, process, dask, or tcp://host:port of Dask."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, write nothing.")
config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_take_defaults,
    help="Take defaults from a TOML file.",
)


def stage_options(command: Callable) -> Callable:
    """The options of every command that writes."""
    options = (root_option, jobs_option, scheduler_option, dry_run_option, json_option, config_option)
    return functools.reduce(lambda function, option: option(function), reversed(options), command)


def print_result(result: Any, *, as_json: bool, show: Callable[[Any], None]) -> None:
    """The result as one JSON object, or through `show` for people."""
    if not speaks():
        return
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        show(result)


@contextlib.contextmanager
def writing(root: Path) -> Iterator[None]:
    """Holds the root for this command; a second one gets exit code 75."""
    from pile_toolkit.core.lease import hold_root

    with hold_root(root):
        yield


def print_dry_run(stage: str, folder: Path, parameters: Mapping[str, Any], *, as_json: bool) -> None:
    """What a stage would do: where it writes, with which parameters, and what stands there now."""
    from pile_toolkit.core.manifest import read_manifest

    manifest = read_manifest(folder)
    present = manifest.key.parameters if manifest else None
    report = {"stage": stage, "folder": str(folder), "parameters": dict(parameters), "present": present}

    def show(report: dict[str, Any]) -> None:
        options = ", ".join(f"{key}={value}" for key, value in report["parameters"].items()) or "no options"
        state = "nothing there yet" if present is None else f"there is an output made with {present or 'no options'}"
        click.echo(f"would run {stage} with {options}\nwould write {folder}: {state}")

    print_result(report, as_json=as_json, show=show)


def percent(part: float, whole: float) -> str:
    """A share for people."""
    return f"{100 * part / whole:.2f}%" if whole else "-"
