"""What a mixture shall come to in, checked targets out: a total, shares, a temperature, a maximum of epochs.

Sizes are bytes of text of the train split, or its tokens where shards are mixed: `Unit` says how they are typed and
shown. Whether the targets can be met depends on sizes, and is found by pipelines/mixture/epochs.py.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pile_toolkit.core.config import nearest
from pile_toolkit.core.console import size
from pile_toolkit.core.errors import UsageError
from pipelines.dedup.settings import parse_memory
from pipelines.mixture.copies import as_written
from pipelines.mixture.weights import MOST_EPOCHS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Further out every mixture is the equal one, or the largest component alone.
TEMPERATURES = (0.1, 1000.0)
_TOKENS = re.compile(r"(?P<number>\d[\d_]*(?:\.\d+)?) ?(?P<unit>[KMBGT]?) ?(?:tokens)?", re.IGNORECASE)
_TOKEN_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}


class Unit(NamedTuple):
    """What a mixture is measured in: `parse` reads a total as typed, `show` is for people."""

    name: str
    parse: Callable[[str], int]
    show: Callable[[float], str]
    example: str


class Targets(NamedTuple):
    """All are of the train split, over all copies; None and an empty `share` leave to the weights what they say."""

    total: int | None = None
    share: dict[str, float] = {}  # noqa: RUF012
    temperature: float | None = None
    max_epochs: float | None = None

    def parameters(self) -> dict[str, Any]:
        """Those that are set: for a stage's key, and for `command_options`."""
        return {name: value for name, value in self._asdict().items() if value not in (None, {})}


def _parse_bytes(text: str) -> int:
    try:
        return parse_memory(text)
    except UsageError:
        raise UsageError(f"the total is {text!r}, expected a size", hint=f"--total {BYTES.example}") from None


def _parse_tokens(text: str) -> int:
    found = _TOKENS.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"the total is {text!r}, expected a number of tokens", hint=f"--total {TOKENS.example}")
    return math.floor(as_written(float(found["number"])) * _TOKEN_UNITS[found["unit"].upper()])


BYTES = Unit("bytes", _parse_bytes, size, "100GB")
TOKENS = Unit("tokens", _parse_tokens, lambda value: f"{value:,.0f} tokens", "300B")


def check_targets(
    slugs: Sequence[str],
    *,
    total: str | int | None = None,
    share: Mapping[str, float] | None = None,
    temperature: float | None = None,
    max_epochs: float | None = None,
    unit: Unit = BYTES,
) -> Targets:
    """The targets for components `slugs`. Raises UsageError for what no sizes could meet."""
    share = dict(share or {})
    if isinstance(total, str):
        total = unit.parse(total)
    total = None if total is None else int(total)
    if total is not None and total < 1:
        raise UsageError(f"the total is {total:,}, nothing would be in it", hint=f"--total {unit.example}")
    lowest, highest = TEMPERATURES
    if temperature is not None and not lowest <= temperature <= highest:
        raise UsageError(
            f"the temperature is {temperature:g}, it lies between {lowest:g} and {highest:g}",
            hint="--temperature 2; 1 is the mixture of the weights, more makes components more equal",
        )
    if max_epochs is not None and not 0.0 < max_epochs <= MOST_EPOCHS:
        raise UsageError(
            f"the maximum of epochs is {max_epochs:g}, it lies above 0 and up to {MOST_EPOCHS:g}",
            hint="--max-epochs 4",
        )
    _check_share(share, slugs)
    share = {slug: float(part) for slug, part in sorted(share.items())}
    return Targets(
        total=total,
        share=share,
        temperature=None if temperature is None else float(temperature),
        max_epochs=None if max_epochs is None else float(max_epochs),
    )


def _check_share(share: Mapping[str, float], slugs: Sequence[str]) -> None:
    for slug, part in share.items():
        if slug not in slugs:
            raise UsageError(f"a share names '{slug}', which is none of the components", hint=nearest(slug, slugs))
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0.0 < part <= 1.0:
            raise UsageError(
                f"the share of '{slug}' is {part!r}, it lies above 0 and up to 1", hint=f"--share {slug}=0.2"
            )
    named = sum(map(as_written, share.values()))
    if named > 1:
        raise UsageError(
            f"the shares of {', '.join(share)} add up to {float(named):g}, more than 1", hint="shares are parts of 1"
        )
    others = [slug for slug in slugs if slug not in share]
    if share and not others and named < 1:
        raise UsageError(
            f"the shares of all components add up to {float(named):g}, not 1", hint="leave one out, it gets the rest"
        )


def parse_share(text: str) -> tuple[str, float]:
    """Slug and share of "arxiv=0.2" or "arxiv=20%". Raises UsageError."""
    slug, found, number = text.partition("=")
    try:
        part = float(as_written(float(number[:-1])) / 100) if number.endswith("%") else float(number)
    except (ValueError, ZeroDivisionError, OverflowError):
        part = math.nan
    if not found or not slug or math.isnan(part):
        raise UsageError(f"--share is {text!r}, expected a component and its share", hint="--share arxiv=0.2")
    return slug, part


def command_options(parameters: Mapping[str, Any]) -> list[str]:
    """The words that set these targets again; `parameters` may hold others."""
    words = [word for slug, part in parameters.get("share", {}).items() for word in ("--share", f"{slug}={part!r}")]
    for name in ("total", "temperature", "max_epochs"):
        if parameters.get(name) is not None:
            words += [f"--{name.replace('_', '-')}", repr(parameters[name])]
    return words
