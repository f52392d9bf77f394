"""What the sample computes, computed a second way: every answer of DM Mathematics, every equation of the papers."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest

from pipelines.sample import sample_documents

NUMBER = r"-?\d+(?:\.\d+|/\d+)?"
UNITS = {
    ("millimeters", "centimeters"): 10, ("centimeters", "meters"): 100, ("meters", "kilometers"): 1000,
    ("minutes", "hours"): 60, ("seconds", "minutes"): 60, ("hours", "days"): 24, ("days", "weeks"): 7,
    ("grams", "kilograms"): 1000, ("milliliters", "liters"): 1000, ("months", "years"): 12,
}  # fmt: skip
PLACES = ["units", "tens", "hundreds", "thousands", "ten thousands", "hundred thousands", "millions"]
TWO_NUMBERS = {
    "Total of": lambda a, b: a + b, "Sum": lambda a, b: a + b, "Product of": lambda a, b: a * b,
    "What is the distance between": lambda a, b: abs(a - b),
}  # fmt: skip
JOINED = {"less than": lambda a, b: b - a, "times": lambda a, b: a * b, "divided by": lambda a, b: a / b}
ORDER = {
    "greater than": lambda a, b: a > b, "less than": lambda a, b: a < b, "at least": lambda a, b: a >= b,
    "at most": lambda a, b: a <= b,
}  # fmt: skip


def value(expression: str, **names: int) -> Fraction:
    """An expression by Python's own arithmetic, over fractions."""
    assert re.fullmatch(r"[\d\w+\-*/(). ]+", expression), expression
    exact = re.sub(r"(?<![\w.])\d+(?:\.\d+)?", lambda match: f"Fraction('{match[0]}')", expression)
    return eval(exact, {"Fraction": Fraction}, names)


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def answer_arithmetic(question: str) -> str | None:
    for opening, compute in TWO_NUMBERS.items():
        if found := re.fullmatch(rf"{opening} ({NUMBER}) and ({NUMBER})[?.]", question):
            return compute(Fraction(found[1]), Fraction(found[2]))
    if found := re.fullmatch(rf"(?:What is|Calculate) ({NUMBER}) ({'|'.join(JOINED)}) ({NUMBER})[?.]", question):
        return JOINED[found[2]](Fraction(found[1]), Fraction(found[3]))
    if found := re.fullmatch(rf"Divide ({NUMBER}) by ({NUMBER})\.", question):
        return Fraction(found[1]) / Fraction(found[2])
    found = re.fullmatch(r"(?:(?:What is|Calculate|Evaluate) )?([-+*/(). \d]+?)[?.]?", question)
    return value(found[1]) if found else None


def answer_whole_numbers(question: str) -> object:
    if found := re.search(r"(?:greatest common divisor|highest common factor) of (\d+) and (\d+)", question):
        left, right = int(found[1]), int(found[2])
        while right:
            left, right = right, left % right
        return left
    if found := re.search(r"(?:least|smallest) common multiple of (\d+) and (\d+)", question):
        return next(m for m in range(int(found[1]), 10**7, int(found[1])) if m % int(found[2]) == 0)
    if found := re.search(r"common denominator of -?\d+/?(\d*) and -?\d+/?(\d*)\?", question):
        left, right = (int(part or 1) for part in found.groups())
        return next(m for m in range(left, 10**7, left) if m % right == 0)
    if found := re.search(r"What is the ([a-z ]+) digit of (\d+)\?", question):
        return found[2][-1 - PLACES.index(found[1])]
    if found := re.search(r"remainder when (\d+) is divided by (\d+)", question):
        return int(found[1]) - int(found[2]) * int(Decimal(found[1]) / Decimal(found[2]))
    if found := re.search(r"Is (\d+) a factor of (\d+)\?", question):
        return Fraction(int(found[2]), int(found[1])).denominator == 1
    if found := re.search(r"Does (\d+) divide (\d+)\?", question):
        return Fraction(int(found[2]), int(found[1])).denominator == 1
    if found := re.search(r"Is (\d+) a prime number\?", question):
        return is_prime(int(found[1]))
    return None


def is_right_list(question: str, answer: str) -> bool | None:
    """Questions whose answer is checked rather than computed."""
    if found := re.search(r"List the prime factors of (\d+)\.", question):
        factors, rest = [int(part) for part in answer.split(", ")], int(found[1])
        for factor in factors:
            while rest % factor == 0:
                rest //= factor
        return rest == 1 and all(map(is_prime, factors)) and factors == sorted(set(factors))
    if found := re.fullmatch(r"(?:Put|Sort) (.+) in (\w+) order\.", question):
        numbers = [Fraction(part) for part in answer.split(", ")]
        steps = list(itertools.pairwise(numbers))
        rising = found[2] in ("increasing", "ascending")
        ordered = all(a < b for a, b in steps) if rising else all(a > b for a, b in steps)
        return ordered and Counter(found[1].split(", ")) == Counter(answer.split(", "))
    if found := re.fullmatch(r"Expand (\(.+\)\*\(.+\))\.", question):
        name = next(filter(str.isalpha, found[1]))
        return "(" not in answer and all(
            value(found[1], **{name: x}) == value(answer, **{name: x}) for x in range(-4, 5)
        )
    return None


def answer_algebra(question: str) -> object:
    if found := re.fullmatch(r"Solve ([^,]+) = ([^,]+) for (\w)\.", question):
        difference = compile(f"({found[1]}) - ({found[2]})", "question", "eval")
        return ", ".join(str(x) for x in range(-100, 101) if eval(difference, {}, {found[3]: x}) == 0)
    if found := re.fullmatch(r"Solve (.+) = (.+), (.+) = (.+) for (\w)\.", question):
        (other,) = set(re.findall("[a-z]", found[1])) - {found[5]}
        both = compile(f"({found[1]}) == ({found[2]}) and ({found[3]}) == ({found[4]})", "question", "eval")
        pairs = [(x, y) for x in range(-12, 13) for y in range(-12, 13) if eval(both, {}, {found[5]: x, other: y})]
        return pairs[0][0] if len(pairs) == 1 else pairs
    if found := re.fullmatch(r"Let (\w)\((\w)\) = (.+)\. (?:What is|Calculate) \1\((-?\d+)\)[?.]", question):
        return value(found[3], **{found[2]: int(found[4])})
    if found := re.fullmatch(r"What is next in (.+)\?", question):
        row = [int(part) for part in found[1].split(", ")]
        last = 0
        while any(row):  # the table of differences: for a polynomial its rows end in zeros
            last += row[-1]
            row = [b - a for a, b in itertools.pairwise(row)]
            assert row, question
        return last
    return None


def derivative_holds(question: str, answer: str) -> bool | None:
    found = re.fullmatch(r"(?:What is|Find) the (\w+) derivative of (.+) wrt (\w)[?.]", question)
    if not found:
        return None
    coefficients = terms(found[2])
    for _ in range(["first", "second", "third"].index(found[1]) + 1):
        coefficients = differentiated(coefficients)
    return coefficients == {power: factor for power, factor in terms(answer).items() if factor}


def terms(text: str) -> dict[int, int]:
    """ "-2*x**3 + x" as {3: -2, 1: 1}."""
    found = {}
    for term in text.replace(" - ", " + -").split(" + "):
        match = re.fullmatch(r"(-?)(\d*)\*?([a-z]?)(?:\*\*(\d+))?", term)
        assert match, text
        power = int(match[4] or 1) if match[3] else 0
        assert power not in found, text
        found[power] = int(f"{match[1]}{match[2] or 1}")
    return found


def answer_measures(question: str) -> object:
    if found := re.fullmatch(rf"Which is (bigger|smaller): ({NUMBER}) or ({NUMBER})\?", question):
        return (max if found[1] == "bigger" else min)(Fraction(found[2]), Fraction(found[3]))
    if found := re.fullmatch(rf"Is ({NUMBER}) ({'|'.join(ORDER)}) ({NUMBER})\?", question):
        return ORDER[found[2]](Fraction(found[1]), Fraction(found[3]))
    if found := re.fullmatch(r"What is (-?\w+) \(base (\d+)\) in base (\d+)\?", question):
        return ("base", int(found[3]), int(found[1], int(found[2])))
    if found := re.fullmatch(r"In base (\d+), what is (-?\w+) ([+-]) (-?\w+)\?", question):
        left, right = int(found[2], int(found[1])), int(found[4], int(found[1]))
        return ("base", int(found[1]), left + right if found[3] == "+" else left - right)
    if found := re.fullmatch(rf"Round ({NUMBER}) to (one|\d) decimal places?\.", question):
        step = Decimal(1).scaleb(-(1 if found[2] == "one" else int(found[2])))
        return Fraction(Decimal(found[1]).quantize(step, rounding=ROUND_HALF_UP))
    if found := re.fullmatch(r"How many minutes are there between (\S+) (AM|PM) and (\S+) (AM|PM)\?", question):
        return minute(found[3], found[4]) - minute(found[1], found[2])
    if found := re.fullmatch(rf"How many (\w+) are there in ({NUMBER}) (\w+)\?", question):
        return Fraction(found[2]) * UNITS[found[1], found[3]]
    if found := re.fullmatch(rf"What is ({NUMBER}) (\w+) in (\w+)\?", question):
        return Fraction(found[1]) / UNITS[found[2], found[3]]
    return None


def minute(clock: str, half: str) -> int:
    hour, rest = map(int, clock.split(":"))
    return (hour % 12 + (12 if half == "PM" else 0)) * 60 + rest


def is_right(question: str, answer: str) -> bool:
    for check in (is_right_list, derivative_holds):
        verdict = check(question, answer)
        if verdict is not None:
            return verdict
    for solve in (answer_whole_numbers, answer_measures, answer_algebra, answer_arithmetic):
        expected = solve(question)
        if isinstance(expected, tuple):
            return int(answer, expected[1]) == expected[2]
        if isinstance(expected, Fraction):
            return Fraction(answer) == expected
        if expected is not None:
            return answer == str(expected)
    raise AssertionError(f"no second way to answer {question!r}")


@pytest.fixture(scope="module")
def papers() -> list[str]:
    return [text for text, _ in sample_documents("arxiv")]


@pytest.fixture(scope="module")
def pages() -> list[str]:
    return [text for text, _ in sample_documents("dm-mathematics")]


def test_every_answer_is_right(pages):
    for text in pages:
        lines = text.removesuffix("\n").split("\n")
        assert len(lines) % 2 == 0
        for question, answer in zip(lines[::2], lines[1::2], strict=True):
            assert is_right(question, answer), (question, answer)


def test_pages_are_about_8_kb_and_each_of_one_kind(pages):
    for text in pages:
        assert 7_500 < len(text) <= 8_192
    equations = [all(line.startswith("Solve ") for line in text.split("\n")[:-1:2]) for text in pages]
    assert sum(equations) == 3 * len(pages) // 25  # linear equations, systems and roots, of 25 kinds


@pytest.mark.parametrize(
    ("question", "wrong"),
    [
        ("What is 2 + 3?", "6"),
        ("Solve 2*x + 4 = 0 for x.", "2"),
        ("Solve x + y = 3, x - y = 1 for x.", "1"),
        ("What is the first derivative of 3*x**2 - x wrt x?", "6*x + 1"),
        ("Expand (x + 1)*(x - 1).", "x**2 + 1"),
        ("Sort 3, 1/2, -1 in ascending order.", "1/2, -1, 3"),
        ("What is 11 (base 2) in base 10?", "4"),
        ("List the prime factors of 12.", "2, 3, 4"),
        ("What is next in 1, 4, 9, 16?", "24"),
        ("Round -0.25 to one decimal place.", "-0.2"),
        ("How many minutes are there between 11:59 AM and 12:01 PM?", "722"),
    ],
)
def test_the_second_way_sees_a_wrong_answer(question, wrong):
    assert not is_right(question, wrong)


def test_every_equation_of_the_papers_holds(papers):
    product = re.compile(r"&= \\left\((.+?)\\right\)\\left\((.+?)\\right\) \\\\\n +&= (.+)\.\n")
    derivative = re.compile(r"\\frac\{d\}\{d(\w)\}\\left\((.+?)\\right\) = (.+)\.\n")
    integral = re.compile(r"\\int_\{(.+?)\}\^\{(.+?)\} \\left\((.+?)\\right\) \\, d(\w) = (.+)\.\n")
    theorem = re.compile(r"Then \$\w = (.+?)\$, and \$\w\$ vanishes exactly at \$(\w) = (.+?)\$")
    checked = Counter()
    for text in papers:
        for left, right, expanded in product.findall(text):
            checked["product"] += 1
            assert multiplied(from_latex(left), from_latex(right)) == from_latex(expanded)
        for _, body, result in derivative.findall(text):
            checked["derivative"] += 1
            assert differentiated(from_latex(body)) == from_latex(result)
        for low, high, body, _, area in integral.findall(text):
            checked["integral"] += 1
            primitive = {p + 1: Fraction(c, p + 1) for p, c in from_latex(body).items()}
            assert sum(c * (int(high) ** p - int(low) ** p) for p, c in primitive.items()) == int(area)
        for expanded, _, roots in theorem.findall(text):
            checked["theorem"] += 1
            polynomial = from_latex(expanded)
            zeros = [x for x in range(-50, 51) if sum(c * x**p for p, c in polynomial.items()) == 0]
            assert zeros == [int(root) for root in roots.split(", ")]
        assert text.count("\\begin{") == text.count("\\end{") > 5
    assert min(checked[kind] for kind in ("product", "derivative", "integral", "theorem")) > 20


def from_latex(text: str) -> dict[int, int]:
    plain = re.sub(r"(\d)([a-z])", r"\1*\2", text.replace("^", "**").replace("{", "").replace("}", ""))
    return {power: factor for power, factor in terms(plain).items() if factor}


def multiplied(left: dict[int, int], right: dict[int, int]) -> dict[int, int]:
    product: Counter = Counter()
    for (i, a), (j, b) in itertools.product(left.items(), right.items()):
        product[i + j] += a * b
    return {power: factor for power, factor in product.items() if factor}


def differentiated(polynomial: dict[int, int]) -> dict[int, int]:
    return {power - 1: power * factor for power, factor in polynomial.items() if power}
