"""A document's name in, its made-up details out: numbers, dates, people. The same on every machine and Python.

Every number is keyed by (document, how many were drawn before it), so that documents do not depend on each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pile_toolkit.core.seeds import keyed

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEED = 22
_T = TypeVar("_T")


def words(text: str) -> tuple[str, ...]:
    """A list of single words, written as one string."""
    return tuple(text.split())


MONTHS = words("January February March April May June July August September October November December")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_GIVEN = words(
    "Ada Alonzo Anna Barbara Carl Chiara Claude Dana Dmitri Edith Elif Emmy Euan Fatima Grace Haruki Ines Ivan "
    "José Karen Kofi Lena Li Maria Miguel Nadia Noor Olga Omar Paul Priya Rafael Rosa Søren Sofia Tomás Uma "
    "Wei Yusuf Zoë"
)
_FAMILY = words(
    "Abbott Almeida Bauer Bell Castro Chen Dubois Eriksson Fischer García Haddad Hughes Ito Jansen Kaya Keller Kim "
    "Kowalski Larsen Lopez Marin Meyer Moreau Müller Nakamura Ng Novak Okafor Olsen Papadopoulos Patel Petrov Quinn "
    "Rossi Sato Schmidt Silva Singh Tanaka Varga Walker Weber Young Zhang"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A made-up day and time between 1999 and 2018."""

    year: int
    month: int
    day: int
    second: int  # since midnight

    @property
    def weekday(self) -> str:
        # Sakamoto's method; the calendar module would do, this needs no import of what the sample quotes.
        shift = (0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4)[self.month - 1]
        year = self.year - (self.month < 3)
        return WEEKDAYS[(year + year // 4 - year // 100 + year // 400 + shift + self.day + 6) % 7]

    @property
    def iso(self) -> str:
        return f"{self.year:04d}-{self.month:02d}-{self.day:02d}"

    @property
    def long(self) -> str:
        return f"{MONTHS[self.month - 1]} {self.day}, {self.year}"

    @property
    def clock(self) -> str:
        return f"{self.second // 3600:02d}:{self.second // 60 % 60:02d}"


class Draw:
    """Numbers, choices, people and dates for one document."""

    def __init__(self, slug: str, document: int) -> None:
        self._purpose = f"sample {slug}"
        self._document = document
        self._drawn = 0

    def below(self, limit: int) -> int:
        """A whole number from 0 to limit - 1."""
        self._drawn += 1
        # Multiply and shift: as fair as a modulus, and it uses the high bits.
        return keyed(_SEED, self._purpose, self._document, self._drawn) * limit >> 64

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both possible."""
        return low + self.below(high - low + 1)

    def nonzero(self, size: int) -> int:
        """A whole number from -size to size, but not 0."""
        number = self.between(1, 2 * size)
        return number if number <= size else size - number

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def choice(self, items: Sequence[_T]) -> _T:
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(len(items))]

    def person(self) -> str:
        return f"{self.choice(_GIVEN)} {self.choice(_FAMILY)}"

    def family_name(self) -> str:
        return self.choice(_FAMILY)

    def nick(self) -> str:
        """A user name: a given name with what people add to it."""
        name = self.choice(_GIVEN).lower()
        number = self.between(2, 99)
        return self.choice((name, f"{name}{number}", f"{name}_", f"{name}|away", f"x{name}", f"{name}-{number}"))

    def moment(self) -> Moment:
        return Moment(
            year=self.between(1999, 2018),
            month=self.between(1, 12),
            day=self.between(1, 28),
            second=self.below(86_400),
        )
