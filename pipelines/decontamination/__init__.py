"""Evaluation sets and documents in, the documents without what they share with them out: `docs/decontamination.md`."""

from pipelines.decontamination.decontaminate import (
    Contamination,
    ContaminationCounts,
    against_parameters,
    decontaminate,
    remove_tables,
)
from pipelines.decontamination.evaluation import read_evaluation_sets
from pipelines.decontamination.settings import COMMON_DOCUMENTS, NGRAM_WORDS, Action, Against

__all__ = [
    "COMMON_DOCUMENTS",
    "NGRAM_WORDS",
    "Action",
    "Against",
    "Contamination",
    "ContaminationCounts",
    "against_parameters",
    "decontaminate",
    "read_evaluation_sets",
    "remove_tables",
]
