"""Documents in, those that pass out: filters by name with a reason each, edits and masks, applied file by file."""

from pipelines.filters.document import Text
from pipelines.filters.registry import Dropped, Edited, document_edit, document_filter, filters
from pipelines.filters.settings import FILTERING, command_options, filter_tables, read_filtering

__all__ = [
    "FILTERING",
    "Dropped",
    "Edited",
    "Text",
    "command_options",
    "document_edit",
    "document_filter",
    "filter_tables",
    "filters",
    "read_filtering",
]
