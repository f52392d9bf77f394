"""Epochs of targets: totals, shares and caps hold to a document's rounding, or an error says what can be reached."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pile_toolkit.core.errors import UsageError
from pipelines.catalog import components
from pipelines.mixture import TOKENS, exact_copies, mixture, mixture_rows, outcome, parse_share
from pipelines.mixture.targets import command_options

NAMES = ["a", "b", "c", "d", "e"]
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 1.1, 2.5, 7.0])


def plain_epochs(sizes, weights, total, share, temperature, cap):
    """The definition in floats; the cap by halving an interval. None where it cannot be reached."""
    given_ = {slug: weights[slug] * sizes[slug] for slug in sizes if weights[slug] * sizes[slug] > 0}
    whole = total or sum(given_.values())
    parts = {slug: (amount / sum(given_.values())) ** (1 / (temperature or 1)) for slug, amount in given_.items()}
    others = sum(part for slug, part in parts.items() if slug not in share)
    left = 1 - sum(share.values())
    amounts = {slug: whole * share.get(slug, part / (others or 1) * left) for slug, part in parts.items()}
    if cap:
        free = [slug for slug in amounts if slug not in share]
        room, rest = sum(cap * sizes[slug] for slug in free), sum(amounts[slug] for slug in free)
        if room < rest or any(amounts[slug] > cap * sizes[slug] for slug in share):
            return None
        low, high = 0.0, 1e30
        while high - low > 1e-15 * high:
            scale = (low + high) / 2 if high / (low or 1e-30) < 4 else math.sqrt((low or 1e-30) * high)
            if sum(min(cap * sizes[slug], scale * amounts[slug]) for slug in free) < rest:
                low = scale
            else:
                high = scale
            if math.nextafter(low, high) >= high:
                break
        amounts |= {slug: min(cap * sizes[slug], high * amounts[slug]) for slug in free}
    return {slug: amounts[slug] / sizes[slug] if slug in amounts else weights[slug] for slug in sizes}


@st.composite
def targets(draw):
    """(sizes, weights, targets): components with and without documents and weight, shares of those with both."""
    slugs = NAMES[: draw(st.integers(1, 5))]
    sizes = {slug: draw(st.one_of(st.just(0), st.integers(1, 10**4), st.integers(10**6, 10**12))) for slug in slugs}
    weights = {slug: draw(WEIGHTS) for slug in slugs}
    there = [slug for slug in slugs if sizes[slug] * weights[slug] > 0]
    assume(there)
    named = draw(st.lists(st.sampled_from(there), unique=True, max_size=len(there) - 1))
    share = {slug: draw(st.sampled_from([0.01, 0.1, 0.125, 0.2, 0.24])) for slug in named}
    return (
        sizes,
        weights,
        {
            "total": draw(st.one_of(st.none(), st.integers(1, 10**12))),
            "share": share,
            "temperature": draw(st.sampled_from([None, 1, 0.5, 2, 3.7, 100])),
            "max_epochs": draw(st.sampled_from([None, None, 0.5, 1, 4, 100])),
        },
    )


@given(targets())
def test_totals_shares_and_caps_hold_or_cannot(case):
    sizes, weights, asked = case
    total, share, cap = asked["total"], asked["share"], asked["max_epochs"]
    plain = plain_epochs(sizes, weights, total, share, asked["temperature"], cap)
    wanted = mixture(weights, list(sizes), **asked)
    # Within rounding of the plain floats the limit itself is reached.
    if plain is None or max(plain.values()) > 999.9 or (cap and max(plain.values()) > cap * (1 - 1e-9)):
        try:
            epochs = wanted.epochs(sizes)
        except UsageError:
            return
    epochs = wanted.epochs(sizes)
    there = {slug: Fraction(epochs[slug]) * sizes[slug] for slug in sizes if weights[slug] * sizes[slug] > 0}
    whole = total or sum(Fraction(str(weights[slug])) * sizes[slug] for slug in there)
    assert float(sum(there.values())) == pytest.approx(float(whole), rel=1e-13)
    for slug, part in share.items():
        assert float(there[slug] / sum(there.values())) == pytest.approx(part, rel=1e-13)
    assert cap is None or max(epochs[slug] for slug in there) <= cap
    assert plain is None or [epochs[slug] for slug in sizes] == pytest.approx([plain[slug] for slug in sizes], rel=1e-6)
    # The epochs as a table are the mixture itself.
    assert mixture(epochs, list(sizes)).epochs(sizes) == epochs


@given(st.lists(st.integers(1, 400), min_size=2, max_size=5), st.integers(1, 3000), st.sampled_from([None, 1.0, 3.0]))
def test_of_documents_of_one_size_copies_come_within_half_a_document_of_each_component(documents, total, cap):
    sizes = {slug: 10 * count for slug, count in zip(NAMES, documents, strict=False)}
    wanted = mixture({"default": 1.0}, list(sizes), total=10 * total, share={"a": 0.25}, max_epochs=cap)
    try:
        epochs = wanted.epochs(sizes)
    except UsageError:
        assume(False)
    copies = {slug: exact_copies(epochs[slug], np.arange(sizes[slug] // 10)) for slug in sizes}
    reached = outcome(epochs, sizes, {slug: 10 * int(mine.sum()) for slug, mine in copies.items()})
    assert abs(10 * copies["a"].sum() - 2.5 * total) <= 5
    assert abs(sum(int(mine.sum()) for mine in copies.values()) - total) <= len(sizes) / 2
    assert all(abs(row.deviation_bytes) <= 5 for row in reached.values())
    assert cap is None or all(mine.max(initial=0) <= cap for mine in copies.values())


def test_with_the_published_sizes_the_piles_weights_are_table_1(reference):
    table = json.loads((reference / "pile_components.json").read_text())
    published = {entry["slug"]: entry["paper_table"] for entry in table["components"]}
    sizes = {entry["slug"]: entry["raw_size_bytes"] for entry in table["components"]}
    assert sizes == {component.slug: component.raw_bytes for component in components()}
    rows = mixture_rows(mixture("pile", list(sizes)).epochs(sizes), sizes)
    for row in rows:
        paper = published[row.component]
        assert f"{row.bytes / 2**30:.2f}" == f"{paper['raw_size_gib']:.2f}"
        assert f"{row.effective_bytes / 2**30:.2f}" == f"{paper['effective_gib']:.2f}"
        assert f"{100 * row.share:.2f}" == f"{paper['weight_percent']:.2f}"
        assert row.epochs == paper["epochs"]
    total_gib = sum(row.effective_bytes for row in rows) / 2**30
    assert f"{total_gib:.2f}" == f"{table['totals']['table_total_effective_gib']:.2f}"
    assert sum(row.share for row in rows) == pytest.approx(1, abs=1e-12)


def test_a_temperature_of_equal_weights_is_that_of_multilingual_mixtures():
    sizes = {"a": 900, "b": 90, "c": 10}
    rows = mixture_rows(mixture({"default": 1}, list(sizes), temperature=2).epochs(sizes), sizes)
    roots = {slug: math.sqrt(size) for slug, size in sizes.items()}
    assert [row.share for row in rows] == pytest.approx([root / sum(roots.values()) for root in roots.values()])
    assert sum(row.effective_bytes for row in rows) == pytest.approx(1000, abs=1)
    # Of the weights' shares, not of sizes, where there are weights; and 1 leaves them to the last digit.
    assert mixture({"a": 1, "b": 10, "c": 90}, list(sizes), temperature=5).epochs(sizes) == {"a": 1, "b": 10, "c": 90}
    assert mixture("pile", ["arxiv"], temperature=1).epochs({"arxiv": 7}) == {"arxiv": 2.0}


def test_what_a_cap_cuts_goes_to_others_until_none_is_above_it():
    sizes = {"a": 100, "b": 100, "c": 1000}
    found = mixture({"a": 9, "b": 2.8, "c": 1}, list(sizes), max_epochs=3).epochs(sizes)
    # 900 + 280 + 1000; a stops at 300, of the other 1880 b would have 411 of its 300, and c gets 1580.
    assert found == {"a": 3.0, "b": 3.0, "c": 1.58}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"total": "1MB", "max_epochs": 2}, "all components can reach a total of 2.15 KiB, not 976.56 KiB"),
        ({"max_epochs": 0.5}, "all components can reach a total of 550 B, not 1.07 KiB"),
        ({"total": 5000, "share": {"a": 0.5}, "max_epochs": 4}, "the share 0.5 of 'a' can reach a total of 800 B"),
        ({"total": 5000, "share": {"b": 0.1}, "max_epochs": 4}, "without a share, a, can reach a total of 444 B"),
    ],
)
def test_what_cannot_be_reached_is_an_error_whose_hints_work(asked, said):
    sizes = {"a": 100, "b": 1000}
    with pytest.raises(UsageError, match=re.escape(said)) as error:
        mixture({"default": 1}, list(sizes), **asked).epochs(sizes)
    total, cap = re.fullmatch(r"--total (\d+), or --max-epochs ([\d.]+)", error.value.hint).groups()
    assert mixture({"default": 1}, list(sizes), **{**asked, "total": total}).epochs(sizes)
    assert mixture({"default": 1}, list(sizes), **{**asked, "max_epochs": float(cap)}).epochs(sizes)


@pytest.mark.parametrize(
    ("weights", "asked", "said"),
    [
        ({"a": 0, "default": 1}, {"share": {"a": 0.5}}, "'a' has the share 0.5 and the weight 0"),
        ({"default": 1}, {"share": {"empty": 0.5}}, "'empty' has the share 0.5 and no text"),
        ({"default": 1}, {"share": {"a": 0.5, "b": 0.5}}, "leave nothing for c"),
        ({"a": 1, "b": 1, "default": 0}, {"share": {"a": 0.5, "b": 0.4}}, "add up to 0.9, not 1"),
        ({"default": 0}, {"total": 10}, "no component of the mixture has text"),
        ({"default": 1}, {"total": 10**9}, "would need"),
    ],
)
def test_targets_that_these_sizes_cannot_meet_are_refused(weights, asked, said):
    sizes = {"a": 100, "b": 1000, "c": 10, "empty": 0}
    with pytest.raises(UsageError, match=said):
        mixture(weights, list(sizes), **asked).epochs(sizes)


@pytest.mark.parametrize(
    ("asked", "said", "hint"),
    [
        ({"mode": "the pile"}, "unknown mode 'the pile'", "--mode exact or the-pile"),
        ({"total": "much"}, "the total is 'much'", "--total 100GB"),
        ({"total": 0}, "the total is 0", "--total 100GB"),
        ({"total": "-5GB"}, "'-5GB', expected a size", "--total 100GB"),
        ({"share": {"arxvi": 0.1}}, "names 'arxvi'", "did you mean 'arxiv'?"),
        ({"share": {"arxiv": 0}}, "share of 'arxiv' is 0", "--share arxiv=0.2"),
        ({"share": {"arxiv": -0.1}}, "share of 'arxiv' is -0.1", "--share arxiv=0.2"),
        ({"share": {"arxiv": math.nan}}, "share of 'arxiv' is nan", "--share arxiv=0.2"),
        ({"share": {"arxiv": True}}, "share of 'arxiv' is True", "--share arxiv=0.2"),
        ({"share": {"arxiv": 0.6, "github": 0.5}}, "add up to 1.1", "parts of 1"),
        ({"share": {"arxiv": 0.6, "github": 0.3}}, "add up to 0.9, not 1", "leave one out"),
        ({"temperature": 0}, "temperature is 0", "--temperature 2"),
        ({"temperature": math.nan}, "temperature is nan", "--temperature 2"),
        ({"max_epochs": 0}, "maximum of epochs is 0", "--max-epochs 4"),
        ({"max_epochs": 1001}, "maximum of epochs is 1001", "--max-epochs 4"),
    ],
)
def test_what_no_sizes_could_meet_is_refused_at_once(asked, said, hint):
    with pytest.raises(UsageError, match=said) as error:
        mixture("pile", ["arxiv", "github"], **asked)
    assert hint in error.value.hint


def test_shares_as_written_add_up_in_decimals():
    # 0.1 + 0.2 + 0.7 of binary fractions is less than 1.
    wanted = mixture("pile", NAMES[:3], share={"a": 0.1, "b": 0.2, "c": 0.7}, total=1000)
    assert wanted.epochs(dict.fromkeys(NAMES[:3], 100)) == {"a": 1.0, "b": 2.0, "c": 7.0}


def test_totals_are_read_as_bytes_or_as_tokens():
    def total(text, **unit):
        return mixture("pile", ["arxiv"], total=text, **unit).targets.total

    assert [total(text) for text in ("100GB", "1.5 TB", "2KiB", "77")] == [10**11, 1_500_000_000_000, 2048, 77]
    tokens = [total(text, unit=TOKENS) for text in ("300B", "1.5M", "2k", "1_000", "7 tokens")]
    assert tokens == [300 * 10**9, 1_500_000, 2000, 1000, 7]
    with pytest.raises(UsageError, match="expected a number of tokens"):
        total("100GB", unit=TOKENS)


def test_shares_are_read_as_parts_or_percents():
    assert [parse_share(text) for text in ("arxiv=0.2", "arxiv=20%", "a=1e-3")] == [
        ("arxiv", 0.2),
        ("arxiv", 0.2),
        ("a", 0.001),
    ]
    for text in ("arxiv", "arxiv=", "=0.2", "arxiv=much", "arxiv=nan", "arxiv=%"):
        with pytest.raises(UsageError, match="expected a component and its share"):
            parse_share(text)


def test_targets_are_typed_again_as_they_were():
    asked = {"total": "100GB", "share": {"github": 0.125, "arxiv": 0.2}, "temperature": 2, "max_epochs": 4.5}
    words = command_options(mixture("pile", ["arxiv", "github", "europarl"], **asked).parameters())
    assert " ".join(words) == (
        "--share arxiv=0.2 --share github=0.125 --total 100000000000 --temperature 2.0 --max-epochs 4.5"
    )
