"""Pages and parts of pages from the templates, escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render"]


def render(template: str, /, **values: Any) -> str:
    """Fill a template in.

    Parameters
    ----------
    template : str
        Name of a file in ``edgefilter/templates``, such as ``"report.html.jinja"``.
    **values : Any
        What it shows. Text is escaped; a value that the template names and that is not given is an error.

    Returns
    -------
    text : str
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("edgefilter", "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
