"""Sizes, weights and targets in, epochs per component out: plain numbers, in exact fractions until the last step.

Let b be the size of a component's train documents and w its weight. The weights alone give it w * b, a share of
w * b / sum(w * b). Then, in this order:

- a temperature T makes shares proportional to share^(1/T) (Devlin et al., multilingual BERT, 2018; Conneau et al.,
  XLM-R, 2019; Raffel et al., T5, 2020, section 3.5.2): 1 changes nothing, more makes them more equal;
- named shares stand; all others keep their proportions in what is left;
- shares are parts of the total, which without `total` is what the weights give, sum(w * b);
- with a maximum of epochs what a component would have beyond it goes to those others that no share names, in
  proportion, again and again until none is beyond (Chung et al., UniMax, 2023, cap repeats like this).

Epochs are amount / b. Components of weight 0 or without documents in train take no part.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from pile_toolkit.core.errors import UsageError
from pipelines.mixture.copies import as_written
from pipelines.mixture.targets import BYTES
from pipelines.mixture.weights import MOST_EPOCHS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.mixture.targets import Targets, Unit

# Far more than a float keeps: powers are the same on every machine, whatever its mathematics library.
_DECIMALS = Context(prec=60, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999)


def resolve_epochs(
    sizes: Mapping[str, int],
    weights: Mapping[str, float],
    targets: Targets,
    *,
    unit: Unit = BYTES,
    unmet: list[UsageError] | None = None,
) -> dict[str, float]:
    """Epochs of each component, from the sizes of its train documents and its weight; without targets the weights.

    The same epochs given as weights come to the same. Raises UsageError where the targets cannot be met, with what
    can be reached; of sizes that are estimates such errors go to `unmet` instead, and total and shares come out as
    wished, whatever epochs they take.
    """
    if not targets.parameters():
        return {slug: weights[slug] for slug in sizes}
    amounts = {slug: as_written(weights[slug]) * sizes[slug] for slug in sizes if weights[slug] > 0 and sizes[slug]}
    if not amounts:
        raise UsageError(
            "no component of the mixture has text in the train split", hint="larger weights, or less of it held out"
        )
    given = sum(amounts.values(), Fraction())
    total = Fraction(targets.total) if targets.total is not None else given
    shares = {slug: amount / given for slug, amount in amounts.items()}
    if targets.temperature is not None:
        shares = tempered(shares, targets.temperature)
    if targets.share:
        _refuse_absent(targets.share, sizes, weights)
        shares = with_shares(shares, {slug: as_written(part) for slug, part in targets.share.items()})
    amounts = {slug: share * total for slug, share in shares.items()}
    if targets.max_epochs is not None:
        most = as_written(targets.max_epochs)
        limits = {slug: most * sizes[slug] for slug in amounts}
        error = _out_of_reach(shares, limits, total, targets, unit)
        if error is None:
            amounts = capped(amounts, limits, fixed=targets.share)
        else:
            _tell(error, unmet)
    epochs = {slug: float(amounts[slug] / sizes[slug]) if slug in amounts else weights[slug] for slug in sizes}
    if not unmet and (error := _too_many(epochs, unit, sizes)) is not None:
        _tell(error, unmet)
    return epochs


def _tell(error: UsageError, unmet: list[UsageError] | None) -> None:
    if unmet is None:
        raise error
    unmet.append(error)


def tempered(shares: Mapping[str, Fraction], temperature: float) -> dict[str, Fraction]:
    """Shares proportional to share^(1/temperature), to 60 digits; at 1 they are what they were."""
    if temperature == 1.0:
        return dict(shares)
    exponent = _DECIMALS.divide(Decimal(1), Decimal(repr(temperature)))
    powers = {
        slug: Fraction(
            _DECIMALS.power(_DECIMALS.divide(Decimal(share.numerator), Decimal(share.denominator)), exponent)
        )
        for slug, share in shares.items()
    }
    whole = sum(powers.values(), Fraction())
    return {slug: power / whole for slug, power in powers.items()}


def with_shares(shares: Mapping[str, Fraction], named: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """`named` as they are, the others in their proportions in what is left. Raises UsageError where that is nothing."""
    left = 1 - sum(named.values(), Fraction())
    others = sum((share for slug, share in shares.items() if slug not in named), Fraction())
    if others and not left:
        absent = [slug for slug in shares if slug not in named]
        raise UsageError(
            f"the shares of {', '.join(named)} leave nothing for {', '.join(absent)}",
            hint="smaller shares, or weight 0 for what shall not be there",
        )
    if left and not others:
        raise UsageError(
            f"the shares of all components with text add up to {float(1 - left):g}, not 1",
            hint="leave one out, it gets the rest",
        )
    return {slug: named[slug] if slug in named else share / others * left for slug, share in shares.items()}


def capped(
    amounts: Mapping[str, Fraction], limits: Mapping[str, Fraction], *, fixed: Mapping[str, object]
) -> dict[str, Fraction]:
    """Amounts of the same sum, none above its limit; what is cut goes to those not in `fixed`, in proportion.

    The limits must leave room for it.
    """
    full: set[str] = set()
    found = dict(amounts)
    open_ = {slug for slug in amounts if slug not in fixed}
    rest = sum((amounts[slug] for slug in open_), Fraction())
    # What is full once stays so: the others' share of the rest only grows.
    while over := {slug for slug in open_ if found[slug] > limits[slug]}:
        full |= over
        open_ -= over
        rest -= sum((limits[slug] for slug in over), Fraction())
        base = sum((amounts[slug] for slug in open_), Fraction())
        found |= {slug: limits[slug] for slug in over} | {slug: amounts[slug] / base * rest for slug in open_}
    return found


def _refuse_absent(share: Mapping[str, float], sizes: Mapping[str, int], weights: Mapping[str, float]) -> None:
    for slug, part in share.items():
        if not weights[slug]:
            raise UsageError(
                f"'{slug}' has the share {part:g} and the weight 0, which leaves it out", hint=f"{slug} = 1.0"
            )
        if not sizes[slug]:
            raise UsageError(
                f"'{slug}' has the share {part:g} and no text in the train split", hint="leave out its --share"
            )


def _out_of_reach(
    shares: Mapping[str, Fraction],
    limits: Mapping[str, Fraction],
    total: Fraction,
    targets: Targets,
    unit: Unit,
) -> UsageError | None:
    # What each bound allows the total to be: a named share up to its own limit, the others up to all of theirs.
    reach = {f"the share {targets.share[slug]:g} of '{slug}'": limits[slug] / shares[slug] for slug in targets.share}
    others = [slug for slug in shares if slug not in targets.share]
    if others:
        room = sum((limits[slug] for slug in others), Fraction())
        reach["all components" if not reach else f"the components without a share, {', '.join(others)},"] = room / sum(
            (shares[slug] for slug in others), Fraction()
        )
    who, most = min(reach.items(), key=lambda item: item[1])
    if most >= total:
        return None
    epochs = targets.max_epochs or 0.0
    needed = -(-as_written(epochs) * total / most * 100 // 1) / 100
    or_more = f", or --max-epochs {needed:g}" if needed <= MOST_EPOCHS else ""
    return UsageError(
        f"with at most {epochs:g} epochs {who} can reach a total of {unit.show(float(most))}, "
        f"not {unit.show(float(total))}",
        hint=f"--total {int(most)}{or_more}",
    )


def _too_many(epochs: Mapping[str, float], unit: Unit, sizes: Mapping[str, int]) -> UsageError | None:
    slug, most = max(epochs.items(), key=lambda item: item[1])
    if most <= MOST_EPOCHS:
        return None
    return UsageError(
        f"'{slug}' would need {most:,.1f} epochs of its {unit.show(sizes[slug])}, {MOST_EPOCHS:g} are the most",
        hint="a smaller --total or --share",
    )
