"""What differs between two lists of documents and two plans, in plain Python."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pile_toolkit.core.plan import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def documents(left: Mapping[str, Sequence[str]], right: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Texts by file: added, removed, and changed on the same line of the same file; of equal ones the last go."""
    sides = [
        [(name, line, text) for name in sorted(files) for line, text in enumerate(files[name], 1)]
        for files in (left, right)
    ]
    over = []
    for side, other in (sides, sides[::-1]):
        there, seen, mine = Counter(text for _, _, text in other), Counter(), set()
        for name, line, text in side:
            if seen[text] >= there[text]:
                mine.add((name, line))
            seen[text] += 1
        over.append(mine)
    changed = len(over[0] & over[1])
    return {"added": len(over[1]) - changed, "removed": len(over[0]) - changed, "changed": changed}


def plans(left: Sequence[tuple[str, int, int]], right: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """Rows (text, split, copies): texts that one plan has, sides that changed, texts with other copies."""
    splits = [{text: split for text, split, _ in rows} for rows in (left, right)]
    copies = [Counter() for _ in splits]
    for total, rows in zip(copies, (left, right), strict=True):
        for text, _, count in rows:
            total[text] += count
    both = splits[0].keys() & splits[1].keys()
    moved = Counter(
        f"{SPLITS[splits[0][text]]} to {SPLITS[splits[1][text]]}" for text in both if splits[0][text] != splits[1][text]
    )
    return {
        "planned_left": len(splits[0].keys() - both),
        "planned_right": len(splits[1].keys() - both),
        "moved": dict(moved),
        "copies_differ": sum(copies[0][text] != copies[1][text] for text in both),
        "left_copies": sum(copies[0].values()),
        "right_copies": sum(copies[1].values()),
    }
