"""Weights and targets in, epochs and whole copies out: how often each document of a component stands in the corpus."""

from pipelines.mixture.copies import as_written, copy_keys, exact_copies, share_of
from pipelines.mixture.drawing import drawn_copies, drawn_turns
from pipelines.mixture.mixture import Mixture, Mode, mixture
from pipelines.mixture.outcome import MixtureRow, Reached, mixture_rows, outcome
from pipelines.mixture.targets import TOKENS, command_options, parse_share
from pipelines.mixture.weights import resolve_weights

__all__ = [
    "TOKENS",
    "Mixture",
    "MixtureRow",
    "Mode",
    "Reached",
    "as_written",
    "command_options",
    "copy_keys",
    "drawn_copies",
    "drawn_turns",
    "exact_copies",
    "mixture",
    "mixture_rows",
    "outcome",
    "parse_share",
    "resolve_weights",
    "share_of",
]
