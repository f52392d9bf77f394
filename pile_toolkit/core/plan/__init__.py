"""Which document, which split, how many copies: everything after the build is an iteration over this table.

The plan is one Parquet file, a row per kept piece in the order (component, file, line, piece). Corpus files, tokenizer
training and token shards follow it straight from the components, so the upsampled text need never be written. The order
of the corpus, and of the shards' index, is that of `entries`: by a key per copy that depends on seed and text only.
"""

from pile_toolkit.core.plan.files import (
    MOVED_FILE,
    PLAN_FILE,
    SPLITS,
    PlanComponent,
    PlanHeader,
    plan_manifest,
    schema,
    write_moved,
    write_plan,
    write_plan_parts,
)
from pile_toolkit.core.plan.order import Entries
from pile_toolkit.core.plan.ranges import CopiesInOrder, EntryRange, RowValues, copies_in_order
from pile_toolkit.core.plan.separation import OrderedCopies, Separation, separate
from pile_toolkit.core.plan.table import Plan, PlanTotals
from pile_toolkit.core.plan.texts import (
    FileTexts,
    PlannedDocument,
    PlannedText,
    file_tasks,
    iter_documents,
    iter_texts,
    read_file_rows,
)

__all__ = [
    "MOVED_FILE",
    "PLAN_FILE",
    "SPLITS",
    "CopiesInOrder",
    "Entries",
    "EntryRange",
    "FileTexts",
    "OrderedCopies",
    "Plan",
    "PlanComponent",
    "PlanHeader",
    "PlanTotals",
    "PlannedDocument",
    "PlannedText",
    "RowValues",
    "Separation",
    "copies_in_order",
    "file_tasks",
    "iter_documents",
    "iter_texts",
    "plan_manifest",
    "read_file_rows",
    "schema",
    "separate",
    "write_moved",
    "write_plan",
    "write_plan_parts",
]
