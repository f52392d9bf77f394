"""`slurm:partition=main,mem=8G` in, what sbatch is asked for out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from pile_toolkit.core.errors import UsageError

SLURM = "slurm"
# By sbatch's own long names; whatever else a site needs has its place in jobqueue.yaml.
SBATCH_NAMES = ("partition", "account", "qos", "constraint", "reservation", "time", "mem")
WAIT = "wait"
DEFAULT_WAIT_S = 600
# Without blanks, which would end a directive of the job's script.
_VALUE = re.compile(r"[^\s,'\"]+")


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """`sbatch` holds options of sbatch by their long names; `wait_s` is how long to wait for the first worker."""

    sbatch: dict[str, str]
    wait_s: int = DEFAULT_WAIT_S

    @classmethod
    def parse(cls, scheduler: str) -> SlurmOptions:
        """From the value of `--scheduler`. Raises UsageError for what is no option or has no value."""
        name, colon, listed = scheduler.partition(":")
        if name != SLURM or (colon and not listed):
            raise UsageError(f"unknown scheduler {scheduler!r}", hint="--scheduler slurm:partition=main,mem=8G")
        values: dict[str, str] = {}
        for text in listed.split(",") if listed else ():
            key, _, value = text.partition("=")
            _refuse_bad(key, value, taken=values)
            values[key] = value
        wait = values.pop(WAIT, str(DEFAULT_WAIT_S))
        if not wait.isdecimal() or int(wait) < 1:
            raise UsageError(f"wait={wait} is no number of seconds", hint="--scheduler slurm:wait=600")
        return cls(sbatch=values, wait_s=int(wait))


def _refuse_bad(key: str, value: str, *, taken: dict[str, str]) -> None:
    known = (*SBATCH_NAMES, WAIT)
    if key not in known:
        near = get_close_matches(key, known, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"{key!r} is not among the options of --scheduler slurm: {', '.join(known)}",
            hint=f"{meant}further directives of sbatch belong into jobqueue.yaml (docs/clusters.md)",
        )
    if key in taken:
        raise UsageError(f"{key} is given twice to --scheduler slurm", hint=f"slurm:{key}={value} alone")
    if not _VALUE.fullmatch(value):
        raise UsageError(f"{key}={value} of --scheduler slurm is no value", hint=f"for example slurm:{key}=...")
