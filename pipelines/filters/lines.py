"""Lines that a component's own builder cut out of its texts.

Source: EleutherAI/the-pile, the_pile/utils.py: `re.sub(r'^:::.*?\\n', '', x, flags=re.MULTILINE)` and the like.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from pipelines.filters.registry import Edited, document_edit

if TYPE_CHECKING:
    from pipelines.filters.document import Text

# What must stand in a text before the expression is tried, and the expression.
_KINDS = {
    "markdown-colons": (":::", re.compile(r"^:::.*?\n", re.MULTILINE)),
    "advertisement": ("Advertisement\n", re.compile(r"^Advertisement\n", re.MULTILINE)),
}


class CutLines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`kind`: lines that begin with `:::` (pandoc's fences), or lines that are the word Advertisement."""

    kind: Literal["markdown-colons", "advertisement"]


@document_edit(CutLines, version=1, source="the Pile's the_pile/utils.py: strip_markdown_colons, remove_advertisement")
def cut_lines(document: Text, options: CutLines) -> Edited | None:
    """Lines that the original builder cut out."""
    first, expression = _KINDS[options.kind]
    if first not in document.text:
        return None
    text, cut = expression.subn("", document.text)
    return Edited(text, {"lines_cut": cut}) if cut else None
