"""Options that are spelled the same everywhere, and how results are printed."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pile_toolkit.core.console import speaks
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.runners import available_jobs, check_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


_TAKE_OVER = "pile_toolkit.take_over"


def _take_defaults(context: click.Context, option: click.Parameter, path: str | None) -> None:
    """`--config`: seed, root and the command's own table become its defaults; what is typed still wins."""
    if path is None:
        return
    from pile_toolkit.chain.config import load_run_config

    config = msgspec.to_builtins(load_run_config(path))
    table = config.get(context.command_path.split()[1]) or {}
    values = {key: value for key, value in config.items() if not isinstance(value, dict)} | table
    context.default_map = {"source" if key == "from" else key: value for key, value in values.items()}


def _known_scheduler(context: click.Context, option: click.Parameter, name: str) -> str:
    # Where nothing is left to do no stage would look at it.
    check_scheduler(name)
    return name


class OrderedGroup(click.Group):
    """A group whose help lists the commands as data flows, not by the alphabet."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names in the order of their definition."""
        return list(self.commands)


class TextOrTable(click.ParamType):
    """Text as typed; a table of the file of `--config` goes through as it is."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, whatever it is."""
        return value


class RootPath(click.Path):
    """A folder; an empty one, of a script's unset variable, would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if value == "":
            raise UsageError("--root is empty, and would be the working folder", hint="--root pile-data, or --root .")
        path = Path(value)
        if path.is_symlink() and not path.exists():
            raise UsageError(f"{path} is a link to {path.readlink()}, which is not there", hint="another --root")
        if path.is_file():
            raise UsageError(f"{path} is a file, not a folder", hint="another --root")
        return super().convert(value, param, ctx)


root_option = click.option(
    "--root",
    envvar="PILE_ROOT",
    default="pile-data",
    show_default=True,
    show_envvar=True,
    type=RootPath(path_type=Path, file_okay=False),
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
    "--scheduler",
    default="process",
    show_default=True,
    callback=_known_scheduler,
    help="serial, process, dask, tcp://host:port of a Dask scheduler, or slurm, with sbatch's options if need be: "
    "slurm:partition=main,time=04:00:00,mem=8G.",
)


def _remember(context: click.Context, option: click.Parameter, value: bool) -> None:
    context.meta[_TAKE_OVER] = value


take_over_option = click.option(
    "--take-over",
    is_flag=True,
    expose_value=False,
    callback=_remember,
    help="Displace a run of another host that is gone.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, write nothing.")
config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_take_defaults,
    help="Take the defaults from a file of `pile run`.",
)


def stage_options(command: Callable) -> Callable:
    """The options of every command that writes."""
    options = (
        root_option,
        jobs_option,
        scheduler_option,
        take_over_option,
        dry_run_option,
        json_option,
        config_option,
    )
    return functools.reduce(lambda function, option: option(function), reversed(options), command)


def print_result(result: Any, *, as_json: bool, show: Callable[[Any], None]) -> None:
    """The result as one JSON object, or through `show` for people."""
    if not speaks():
        return
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
        return
    show(result)
    # On stderr, as all that is said about the work and not of its result.
    if getattr(result, "up_to_date", False) and hasattr(result, "folder"):
        click.echo("up to date: there was nothing to do", err=True)


@contextlib.contextmanager
def writing(root: Path) -> Iterator[None]:
    """Holds the root for this command, with `--take-over` of a run that is gone; a second one gets exit code 75."""
    from pile_toolkit.core.lease import hold_root

    with hold_root(root, take_over=click.get_current_context().meta.get(_TAKE_OVER, False)):
        yield


def print_dry_run(
    stage: str,
    folder: Path,
    parameters: Mapping[str, Any],
    *,
    as_json: bool,
    standing: str | None = None,
    more: Mapping[str, Any] | None = None,
    show_more: Callable[[], None] | None = None,
) -> None:
    """What a stage would do: where it writes, with which parameters, and what stands there now.

    `more` joins the JSON object; for people `show_more` prints it.
    """
    from pile_toolkit.core.manifest import read_manifest

    manifest = read_manifest(folder)
    present = manifest.key.parameters if manifest else None
    report = {"stage": stage, "folder": str(folder), "parameters": dict(parameters), "present": present, **(more or {})}

    def show(report: dict[str, Any]) -> None:
        click.echo(f"would run {stage}" + (f" with {_inline(parameters)}" if parameters else ""))
        nothing = "nothing finished is there" if folder.exists() else "nothing is there yet"
        click.echo(f"would write {folder}: {standing or _standing(present, parameters) or nothing}")
        if show_more:
            show_more()

    print_result(report, as_json=as_json, show=show)


def _standing(present: Mapping[str, Any] | None, parameters: Mapping[str, Any]) -> str | None:
    if present is None:
        return None
    # A name such as "pile" stands for a table in the manifest: only what can be compared is.
    others = {
        key: value
        for key, value in present.items()
        if key in parameters and type(value) is type(parameters[key]) and value != parameters[key]
    }
    return f"what is there was made with {_inline(others)}" if others else "there already, kept if nothing changed"


def _inline(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_shown(value)}" for key, value in parameters.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_inline(value)})"
    return (" ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def percent(part: float, whole: float) -> str:
    """A share for people."""
    return f"{100 * part / whole:.2f}%" if whole else "-"
