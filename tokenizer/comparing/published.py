"""What the paper on GPT-NeoX-20B found, to be printed beside what is found here.

Source: Black et al., "GPT-NeoX-20B: An Open-Source Autoregressive Language Model", 2022, arXiv 2204.06745, Tables 14 to
16. Its Pile is the whole one, and its splits are not those of any plan made here: figures are comparable, not equal.
"""

from __future__ import annotations

import msgspec

REFERENCE = "Black et al., 2022, GPT-NeoX-20B, arXiv 2204.06745, Tables 14-16"
GPT2 = "GPT-2"
NEOX_20B = "GPT-NeoX-20B"


class PublishedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of totals; `ratio` is GPT-NeoX-20B's tokens over GPT-2's, as `--data` with GPT-2's file first has it."""

    data: str
    white_space: bool
    tokens: dict[str, int]
    ratio: float
    reference: str = REFERENCE


def _row(data: str, neox_20b: int, gpt2: int, *, white_space: bool = True) -> PublishedRow:
    tokens = {GPT2: gpt2, NEOX_20B: neox_20b}
    return PublishedRow(data=data, white_space=white_space, tokens=tokens, ratio=neox_20b / gpt2)


IN_THE_PAPER = (
    _row("the Pile, validation", 342_887_807, 383_111_734),
    _row("the Pile, validation", 322_074_249, 337_787_550, white_space=False),
    _row("C4, validation", 173_768_876, 173_669_294),
)
