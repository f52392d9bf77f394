"""What is asked for in, what the stage does out: parameters checked and filled in, and as the manifest has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec

from pile_toolkit.core.config import convert, nearest
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.memory import parse_memory as parse_memory
from pipelines.catalog import components
from pipelines.decontamination.settings import COMMON_DOCUMENTS, NGRAM_WORDS, Action, Against
from pipelines.minhash import NUM_PERM, SCHEME, SHINGLE_WORDS, SIGNATURE_SEED, Bands, SignatureSettings, bands
from pipelines.minhash.banding import check_bands
from pipelines.minhash.settings import Folding, Hash, Scheme, Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Method = Literal["none", "exact", "minhash"]
ExactOn = Literal["text", "normalized"]
# A word of the command line by the parameter of the manifest, where they differ.
_FOLDING = Folding.__struct_fields__


class DedupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`exact_on`: which hash makes two texts equal. `priority`: components whose documents are kept before others'.

    The rest, but for `memory`, is of minhash. `threshold` is a Jaccard similarity of shingle sets; `bands` and `rows`
    are datasketch's for it unless both are given. `shingle` and `shingle_size` with `scheme`, `hash` and the five that
    say how texts are folded are those of `SignatureSettings`. `verify`: a shared bucket counts only where the sets'
    exact similarity reaches `threshold`. `memory`, such as "4GiB", is for all processes together; None: half of what
    the machine has.

    `against`, with any method: a folder of evaluation sets, with which kept documents may share no `against_ngram`
    words in a row, unless more than `against_common` documents do.
    """

    method: Method = "exact"
    exact_on: ExactOn = "text"
    priority: list[str] = []
    threshold: float = 0.8
    num_perm: int = NUM_PERM
    bands: int | None = None
    rows: int | None = None
    shingle: Unit = "words"
    shingle_size: int = SHINGLE_WORDS
    scheme: Scheme = SCHEME  # type: ignore[assignment]
    hash: Hash = "xxh64"
    nfc: bool = True
    fold_case: bool = True
    remove_punctuation: bool = False
    zero_digits: bool = False
    fold_spaces: bool = True
    verify: bool = False
    memory: str | None = None
    against: str | None = None
    against_ngram: int = NGRAM_WORDS
    against_common: int = COMMON_DOCUMENTS
    against_action: Action = "cut"


class Settings(NamedTuple):
    """What the stage works by; `signature` and `bands` of minhash only, `exact_on` of none not."""

    method: Method
    exact_on: ExactOn | None
    priority: tuple[str, ...]
    signature: SignatureSettings | None
    bands: Bands | None
    threshold: float
    verify: bool
    against: Against | None = None

    def parameters(self) -> dict[str, Any]:
        """All that the duplicates depend on, for the stage's key."""
        found: dict[str, Any] = {"method": self.method}
        if self.method == "none":
            return found
        found |= {"exact_on": self.exact_on, "priority": list(self.priority)}
        if self.signature and self.bands:
            signature = msgspec.structs.asdict(self.signature)
            signature |= {"shingle": signature.pop("unit"), "shingle_size": signature.pop("size")}
            found |= {"threshold": self.threshold, **signature, **self.bands._asdict(), "verify": self.verify}
        return found


def dedup_config(options: Mapping[str, Any]) -> DedupConfig:
    """Options by name as a configuration. Raises UsageError for an unknown one and a wrong type."""
    if (method := options.get("method")) is not None and method not in get_args(Method):
        raise UsageError(f"unknown method {method!r}", hint="--method none, exact or minhash")
    return convert(options, DedupConfig, where="pile dedup")


def resolve(config: DedupConfig) -> Settings:
    """The settings of a configuration. Raises UsageError for what no run can do."""
    if not 0.0 < config.threshold < 1.0:
        raise UsageError(
            f"the similarity threshold is {config.threshold}, it lies between 0 and 1", hint="--threshold 0.8"
        )
    if len(set(config.priority)) != len(config.priority):
        raise UsageError(f"a component stands twice in the priority {', '.join(config.priority)}", hint="name it once")
    if config.memory is not None:
        parse_memory(config.memory)
    signature, chosen = (_signature(config), _bands(config)) if config.method == "minhash" else (None, None)
    return Settings(
        method=config.method,
        exact_on=None if config.method == "none" else config.exact_on,
        priority=tuple(config.priority),
        signature=signature,
        bands=chosen,
        threshold=config.threshold,
        verify=config.verify and signature is not None,
        against=None if config.against is None else _against(config),
    )


def _against(config: DedupConfig) -> Against:
    if config.against == "":
        # Of a script's unset variable.
        raise UsageError("--against is empty, and would be the working folder", hint="--against FOLDER, or --against .")
    return Against(ngram=config.against_ngram, common=config.against_common, action=config.against_action)


def _signature(config: DedupConfig) -> SignatureSettings:
    folding = {name: getattr(config, name) for name in _FOLDING}
    return SignatureSettings(
        num_perm=config.num_perm,
        seed=SIGNATURE_SEED,
        scheme=config.scheme,
        unit=config.shingle,
        size=config.shingle_size,
        hash=config.hash,
        **folding,
    )


def _bands(config: DedupConfig) -> Bands:
    if config.bands is None and config.rows is None:
        return bands(num_perm=config.num_perm, threshold=config.threshold)
    if config.bands is None or config.rows is None:
        raise UsageError("of bands and rows only one is given", hint="--bands 9 --rows 13, or neither")
    return check_bands((config.bands, config.rows), num_perm=config.num_perm)


def check_priority(priority: Sequence[str], present: Sequence[str]) -> None:
    """Raises UsageError for a slug that neither the catalog nor the root knows."""
    known = [*(component.slug for component in components()), *present]
    for slug in priority:
        if slug not in known:
            raise UsageError(f"the priority names '{slug}', which is no component", hint=nearest(slug, known))


def command_options(parameters: Mapping[str, Any]) -> list[str]:
    """The words behind `pile dedup` that make a stage of these parameters again. Raises KeyError for others'."""
    words = ["--method", parameters["method"]]
    if parameters["method"] == "none":
        return words
    words += ["--exact-on", parameters["exact_on"]]
    words += ["--priority", ",".join(parameters["priority"])] if parameters["priority"] else []
    if parameters["method"] == "minhash":
        names = ("threshold", "num_perm", "bands", "rows", "shingle", "shingle_size", "scheme", "hash")
        words += [word for name in names for word in (_option(name), str(parameters[name]))]
        defaults = DedupConfig()
        flags = [name for name in (*_FOLDING, "verify") if parameters[name] != getattr(defaults, name)]
        words += [_option(name if parameters[name] else f"no_{name}") for name in flags]
    return words


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
