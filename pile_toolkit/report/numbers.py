"""Numbers in, text for people out, the same on every page."""

from __future__ import annotations


def compact(count: int) -> str:
    """A count for people, in full below ten million: `38.8 M`. The tables have all digits."""
    for unit, letter in ((10**9, "G"), (10**6, "M")):
        if count >= 10 * unit or (letter == "G" and count >= unit):
            return f"{count / unit:,.1f} {letter}"
    return f"{count:,}"


def percent(part: float, whole: float) -> str:
    """A share for people."""
    return f"{100 * part / whole:.2f}%" if whole else "–"


def quantile(share: float | str) -> str:
    """Which quantile it is: `least`, `median` and `most`, others as `95%`, what so many are at most."""
    names = {0.0: "least", 0.5: "median", 1.0: "most"}
    return names.get(float(share), f"{100 * float(share):g}%")


def duration(seconds: float) -> str:
    """A time for people: `4.1 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
