"""A template and what it shows in, a whole HTML page out: escaped, strict about names, the same for every page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def render_page(template: str, *, filters: Mapping[str, Callable], **values: Any) -> str:
    """The page of a template of this package. `number`, a number with separators, is a filter of all of them."""
    environment = Environment(
        loader=PackageLoader("pile_toolkit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=lambda value: f"{value:,}", **filters)
    # Templates that begin with their macros leave empty lines there.
    return environment.get_template(template).render(**values).lstrip().rstrip("\n") + "\n"
