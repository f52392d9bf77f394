"""Weights and targets in, epochs and whole copies out: how often each document of a component stands in the corpus."""

from pipelines.mixture.copies import copy_keys, exact_copies
from pipelines.mixture.drawing import drawn_copies
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
    "command_options",
    "copy_keys",
    "drawn_copies",
    "exact_copies",
    "mixture",
    "mixture_rows",
    "outcome",
    "parse_share",
    "resolve_weights",
]
