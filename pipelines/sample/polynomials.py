"""Whole-number polynomials: computed with exactly, written as DM Mathematics or as LaTeX writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.sample.draw import Draw


@dataclass(frozen=True, slots=True)
class Polynomial:
    """`coefficients[i]` belongs to the i-th power; trailing zeros are allowed."""

    coefficients: tuple[int, ...]

    @classmethod
    def drawn(cls, draw: Draw, *, degree: int, size: int) -> Polynomial:
        """A polynomial of exactly this degree with coefficients from -size to size; some of the lower ones are 0."""
        lower = [0 if draw.chance(20) else draw.nonzero(size) for _ in range(degree)]
        return cls((*lower, draw.nonzero(size)))

    @property
    def degree(self) -> int:
        return max((power for power, factor in enumerate(self.coefficients) if factor), default=0)

    def __mul__(self, other: Polynomial) -> Polynomial:
        product = [0] * (len(self.coefficients) + len(other.coefficients) - 1)
        for i, left in enumerate(self.coefficients):
            for j, right in enumerate(other.coefficients):
                product[i + j] += left * right
        return Polynomial(tuple(product))

    def at(self, value: int) -> int:
        result = 0
        for factor in reversed(self.coefficients):
            result = result * value + factor
        return result

    def derivative(self) -> Polynomial:
        return Polynomial(tuple(power * factor for power, factor in enumerate(self.coefficients))[1:] or (0,))

    def text(self, name: str) -> str:
        """ "-2*x**3 + x - 7"."""
        return self._joined(lambda power: "" if power == 0 else name if power == 1 else f"{name}**{power}", "*")

    def latex(self, name: str) -> str:
        """ "-2x^{3} + x - 7"."""
        return self._joined(lambda power: "" if power == 0 else name if power == 1 else f"{name}^{{{power}}}", "")

    def _joined(self, power_text: Callable[[int], str], times: str) -> str:
        written = ""
        for power in range(len(self.coefficients) - 1, -1, -1):
            factor = self.coefficients[power]
            if not factor:
                continue
            term = power_text(power)
            size = str(abs(factor)) if abs(factor) != 1 or not term else ""
            sign = ("-" if factor < 0 else "") if not written else (" - " if factor < 0 else " + ")
            written += sign + size + (times if size and term else "") + term
        return written or "0"
