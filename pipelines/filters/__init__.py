"""Documents in, those that pass out: filters by name with a reason each, edits and masks, applied file by file."""

from pipelines.filters.document import Text
from pipelines.filters.registry import Dropped, Edited, document_edit, document_filter, filters
from pipelines.filters.settings import command_options, read_filtering

__all__ = [
    "Dropped",
    "Edited",
    "Text",
    "command_options",
    "document_edit",
    "document_filter",
    "filters",
    "read_filtering",
]
