"""Warnings on the command line: a line each, without the place in the library where they arose."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["warned"]


def warned(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command print a warning of the library as a line on stderr; other warnings stay as Python shows them."""
    import typer

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category is UserWarning:
                typer.echo(f"Warning: {message}", err=True)
            else:
                before(message, category, *place, **more)

        warnings.showwarning = show
        try:
            command(*arguments, **options)
        finally:
            warnings.showwarning = before

    return run
