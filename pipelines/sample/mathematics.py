"""A question's number in, DM Mathematics out: questions of school mathematics with their exact answers.

In the manner of the data set of Saxton et al. (2019): a question on one line, its answer on the next, and each
document from one kind of question. All numbers are whole, fractions or finite decimals, so that no answer is rounded.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from pipelines.sample.draw import Draw
from pipelines.sample.polynomials import Polynomial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Question = Callable[[Draw], tuple[str, str]]

_DOCUMENTS = 175
_LIMIT_CHARS = 8192
_DIGITS = "0123456789abcdef"
_PLACES = ("units", "tens", "hundreds", "thousands", "ten thousands", "hundred thousands", "millions")
_ORDINALS = ("first", "second", "third")


def questions(slug: str) -> Iterator[tuple[str, str]]:
    """(text, "") of each page: about 8 KB of questions of one kind with their answers."""
    for number in range(_DOCUMENTS):
        draw, ask = Draw(slug, number), _KINDS[number % len(_KINDS)]
        lines: list[str] = []
        chars = 0
        while chars < _LIMIT_CHARS - 200:
            pair = ask(draw)
            lines.extend(pair)
            chars += len(pair[0]) + len(pair[1]) + 2
        yield "\n".join(lines) + "\n", ""


def decimal(value: Fraction) -> str:
    """A fraction whose denominator divides a power of ten, written out: Fraction(-7, 4) -> "-1.75"."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def in_base(number: int, base: int) -> str:
    digits = ""
    rest = abs(number)
    while rest or not digits:
        rest, digit = divmod(rest, base)
        digits = _DIGITS[digit] + digits
    return f"-{digits}" if number < 0 else digits


def _some_decimal(draw: Draw) -> Fraction:
    return Fraction(draw.nonzero(10 ** draw.between(2, 7)), 10 ** draw.between(0, 4))


def _add_or_subtract(draw: Draw) -> tuple[str, str]:
    left, right = _some_decimal(draw), _some_decimal(draw)
    form, result = draw.choice(
        (
            ("What is {0} + {1}?", left + right),
            ("What is {0} - {1}?", left - right),
            ("Calculate {0} + {1}.", left + right),
            ("Calculate {0} - {1}.", left - right),
            ("Total of {0} and {1}.", left + right),
            ("Sum {0} and {1}.", left + right),
            ("What is {1} less than {0}?", left - right),
            ("What is the distance between {0} and {1}?", abs(left - right)),
        )
    )
    return form.format(decimal(left), decimal(right)), decimal(result)


def _multiply(draw: Draw) -> tuple[str, str]:
    left, right = _some_decimal(draw), _some_decimal(draw)
    form = draw.choice(("What is {} times {}?", "Calculate {}*{}.", "Product of {} and {}.", "{} * {}"))
    return form.format(decimal(left), decimal(right)), decimal(left * right)


def _divide(draw: Draw) -> tuple[str, str]:
    divisor, quotient = draw.nonzero(400), draw.nonzero(4000)
    if draw.chance(30):
        top, bottom = draw.nonzero(300), draw.nonzero(300)
        return f"What is {top} divided by {bottom}?", str(Fraction(top, bottom))
    form = draw.choice(("Divide {} by {}.", "What is {} divided by {}?", "Calculate {} divided by {}."))
    return form.format(divisor * quotient, divisor), str(quotient)


def _mixed(draw: Draw) -> tuple[str, str]:
    a, b, c, d = (draw.nonzero(30) for _ in range(4))
    text, value = draw.choice(
        (
            (f"{a} + ({b} - {c})*{d}", Fraction(a + (b - c) * d)),
            (f"({a} - {b}) + {c} - {d}", Fraction(a - b + c - d)),
            (f"({a}/{b})/({c}/{d})", Fraction(a, b) / Fraction(c, d)),
            (f"{a}*{b} - {c}*{d}", Fraction(a * b - c * d)),
            (f"({a} + {b})*({c} + {d})", Fraction((a + b) * (c + d))),
            (f"{a}/{b} - {c}/{d}", Fraction(a, b) - Fraction(c, d)),
        )
    )
    return draw.choice(("What is {}?", "Evaluate {}.", "Calculate {}.")).format(text), str(value)


def _linear_equation(draw: Draw) -> tuple[str, str]:
    name = draw.choice("abcdfghjklmnpqrstuvwxyz")
    root, left, right = draw.between(-60, 60), draw.nonzero(400), draw.nonzero(400)
    constant = draw.nonzero(900)
    if left == right:
        right += 1 if right != -1 else 2
    # left*x + constant = right*x + (left - right)*root + constant
    sides = (Polynomial((constant, left)), Polynomial(((left - right) * root + constant, right)))
    return f"Solve {sides[0].text(name)} = {sides[1].text(name)} for {name}.", str(root)


def _linear_system(draw: Draw) -> tuple[str, str]:
    first, second = draw.shuffled("bcdfghjklmnpqrstuvwxyz")[:2]
    a, b, c, d = (draw.nonzero(20) for _ in range(4))
    if a * d == b * c:
        d += 1 if d != -1 else 2
    x, y = draw.between(-12, 12), draw.between(-12, 12)
    left = f"{_linear(a, first, b, second)} = {a * x + b * y}"
    right = f"{_linear(c, first, d, second)} = {c * x + d * y}"
    return f"Solve {left}, {right} for {first}.", str(x)


def _linear(a: int, first: str, b: int, second: str) -> str:
    parts = (Polynomial((0, a)).text(first), Polynomial((0, abs(b))).text(second))
    return f"{parts[0]} {'-' if b < 0 else '+'} {parts[1]}"


def _roots(draw: Draw) -> tuple[str, str]:
    name = draw.choice("abcdfghjklmnpqrstuvwxyz")
    roots = [draw.between(-15, 15) for _ in range(draw.between(2, 3))]
    polynomial = Polynomial((draw.nonzero(6),))
    for root in roots:
        polynomial = polynomial * Polynomial((-root, 1))
    return f"Solve {polynomial.text(name)} = 0 for {name}.", ", ".join(map(str, sorted(set(roots))))


def _derivative(draw: Draw) -> tuple[str, str]:
    name, order = draw.choice("abcdfghjklmnpqrstuvwxyz"), draw.between(1, 3)
    polynomial = Polynomial.drawn(draw, degree=draw.between(order, 5), size=900)
    form = draw.choice(("What is the {} derivative of {} wrt {}?", "Find the {} derivative of {} wrt {}."))
    result = polynomial
    for _ in range(order):
        result = result.derivative()
    return form.format(_ORDINALS[order - 1], polynomial.text(name), name), result.text(name)


def _evaluate(draw: Draw) -> tuple[str, str]:
    function, name = draw.choice("fghkpq"), draw.choice("bcdjlmnorstuvwxyz")
    polynomial, at = Polynomial.drawn(draw, degree=draw.between(1, 3), size=60), draw.between(-12, 12)
    form = draw.choice(("Let {0}({1}) = {2}. What is {0}({3})?", "Let {0}({1}) = {2}. Calculate {0}({3})."))
    return form.format(function, name, polynomial.text(name), at), str(polynomial.at(at))


def _expand(draw: Draw) -> tuple[str, str]:
    name = draw.choice("abcdfghjklmnpqrstuvwxyz")
    left = Polynomial.drawn(draw, degree=draw.between(1, 2), size=12)
    right = Polynomial.drawn(draw, degree=draw.between(1, 2), size=12)
    return f"Expand ({left.text(name)})*({right.text(name)}).", (left * right).text(name)


def _common_divisor(draw: Draw) -> tuple[str, str]:
    shared = draw.between(1, 99)
    left, right = shared * draw.between(2, 200), shared * draw.between(2, 200)
    form = draw.choice(
        ("What is the greatest common divisor of {} and {}?", "Calculate the highest common factor of {} and {}.")
    )
    return form.format(left, right), str(math.gcd(left, right))


def _common_multiple(draw: Draw) -> tuple[str, str]:
    left, right = draw.between(2, 999), draw.between(2, 999)
    form = draw.choice(
        ("What is the least common multiple of {} and {}?", "Calculate the smallest common multiple of {} and {}.")
    )
    return form.format(left, right), str(math.lcm(left, right))


def _common_denominator(draw: Draw) -> tuple[str, str]:
    left, right = Fraction(draw.nonzero(200), draw.between(2, 300)), Fraction(draw.nonzero(200), draw.between(2, 300))
    return f"What is the common denominator of {left} and {right}?", str(math.lcm(left.denominator, right.denominator))


def _place_value(draw: Draw) -> tuple[str, str]:
    digits = draw.between(1, 7)
    number = draw.between(10 ** (digits - 1), 10**digits - 1)
    place = draw.below(digits)
    return f"What is the {_PLACES[place]} digit of {number}?", str(number // 10**place % 10)


def _convert_base(draw: Draw) -> tuple[str, str]:
    number, old, new = draw.nonzero(99_999), draw.between(2, 16), draw.between(2, 16)
    return f"What is {in_base(number, old)} (base {old}) in base {new}?", in_base(number, new)


def _add_in_base(draw: Draw) -> tuple[str, str]:
    left, right, base = draw.nonzero(40_000), draw.nonzero(900), draw.between(2, 16)
    sign, result = draw.choice((("+", left + right), ("-", left - right)))
    return f"In base {base}, what is {in_base(left, base)} {sign} {in_base(right, base)}?", in_base(result, base)


def _some_number(draw: Draw) -> tuple[str, Fraction]:
    kind = draw.below(3)
    if kind == 0:
        value = Fraction(draw.between(-60, 60))
        return str(value), value
    value = Fraction(draw.nonzero(99), 10) if kind == 1 else Fraction(draw.nonzero(9), draw.between(2, 19))
    return (decimal(value) if kind == 1 else str(value)), value


def _sort(draw: Draw) -> tuple[str, str]:
    found = {value: text for text, value in (_some_number(draw) for _ in range(draw.between(3, 7)))}
    falling = draw.chance(40)
    form = f"Put {{}} in {'decreasing' if falling else 'increasing'} order."
    if draw.chance(50):
        form = f"Sort {{}} in {'descending' if falling else 'ascending'} order."
    answer = ", ".join(found[value] for value in sorted(found, reverse=falling))
    return form.format(", ".join(found.values())), answer


def _compare(draw: Draw) -> tuple[str, str]:
    (left_text, left), (right_text, right) = _some_number(draw), _some_number(draw)
    kind = draw.below(3)
    if kind == 0 and left != right:
        return f"Which is bigger: {left_text} or {right_text}?", left_text if left > right else right_text
    if kind == 1 and left != right:
        return f"Which is smaller: {left_text} or {right_text}?", left_text if left < right else right_text
    word, holds = draw.choice(
        (
            ("greater than", left > right),
            ("less than", left < right),
            ("at least", left >= right),
            ("at most", left <= right),
        )
    )
    return f"Is {left_text} {word} {right_text}?", str(holds)


def _remainder(draw: Draw) -> tuple[str, str]:
    number, divisor = draw.between(2, 99_999), draw.between(2, 999)
    opening, end = draw.choice((("What is", "?"), ("Calculate", ".")))
    return f"{opening} the remainder when {number} is divided by {divisor}{end}", str(number % divisor)


def _is_factor(draw: Draw) -> tuple[str, str]:
    factor = draw.between(2, 99)
    number = factor * draw.between(2, 999) + (draw.below(factor) if draw.chance(50) else 0)
    if draw.chance(50):
        return f"Is {factor} a factor of {number}?", str(number % factor == 0)
    return f"Does {factor} divide {number}?", str(number % factor == 0)


def _prime_factors(draw: Draw) -> tuple[str, str]:
    number = draw.between(4, 99_999)
    factors, rest = [], number
    for candidate in range(2, math.isqrt(number) + 1):
        if rest % candidate == 0:
            factors.append(candidate)
        while rest % candidate == 0:
            rest //= candidate
    factors.extend([rest] if rest > 1 else [])
    if draw.chance(40):
        return f"Is {number} a prime number?", str(factors == [number])
    return f"List the prime factors of {number}.", ", ".join(map(str, factors))


def _next_term(draw: Draw) -> tuple[str, str]:
    polynomial = Polynomial.drawn(draw, degree=draw.between(1, 3), size=30)
    count = polynomial.degree + draw.between(3, 5)
    terms = ", ".join(str(polynomial.at(position)) for position in range(1, count))
    return f"What is next in {terms}?", str(polynomial.at(count))


def _round(draw: Draw) -> tuple[str, str]:
    places = draw.between(1, 5)
    value = Fraction(draw.nonzero(10 ** draw.between(3, 8)), 10 ** (places + draw.between(1, 3)))
    scaled = abs(value) * 10**places
    # Halves away from zero, as in school; Python's round() goes to the even neighbour.
    whole = math.floor(scaled + Fraction(1, 2))
    result = Fraction(whole if value > 0 else -whole, 10**places)
    name = "one decimal place" if places == 1 else f"{places} decimal places"
    return f"Round {decimal(value)} to {name}.", decimal(result)


def _minutes_between(draw: Draw) -> tuple[str, str]:
    start = draw.below(1400)
    end = draw.between(start + 1, 1439)
    return f"How many minutes are there between {_clock(start)} and {_clock(end)}?", str(end - start)


def _clock(minute: int) -> str:
    return f"{(minute // 60 - 1) % 12 + 1}:{minute % 60:02d} {'AM' if minute < 720 else 'PM'}"


_UNITS = (
    ("millimeters", "centimeters", 10), ("centimeters", "meters", 100), ("meters", "kilometers", 1000),
    ("minutes", "hours", 60), ("seconds", "minutes", 60), ("hours", "days", 24), ("days", "weeks", 7),
    ("grams", "kilograms", 1000), ("milliliters", "liters", 1000), ("months", "years", 12),
)  # fmt: skip


def _convert_units(draw: Draw) -> tuple[str, str]:
    small, large, factor = draw.choice(_UNITS)
    if draw.chance(50):
        amount = Fraction(draw.between(1, 9999), draw.choice((1, 2, 4, 5, 10, 100)))
        return f"How many {small} are there in {decimal(amount)} {large}?", decimal(amount * factor)
    amount = Fraction(draw.between(1, 9999) * factor, draw.choice((1, 2, 4, 5, 10)))
    return f"What is {decimal(amount)} {small} in {large}?", decimal(amount / factor)


_KINDS: tuple[Question, ...] = (
    _add_or_subtract, _multiply, _divide, _mixed, _linear_equation, _linear_system, _roots, _derivative, _evaluate,
    _expand, _common_divisor, _common_multiple, _common_denominator, _place_value, _convert_base, _add_in_base, _sort,
    _compare, _remainder, _is_factor, _prime_factors, _next_term, _round, _minutes_between, _convert_units,
)  # fmt: skip
