"""The command line: read the arguments, call the library, write what it gives.

A command loads the library when it runs, so that ``--help`` and ``kernels`` are quick; the commands themselves are loaded
where Ctrl-C is already listened to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefilter._lazy import lazy

from .stopping import as_program

if TYPE_CHECKING:
    from .commands import app

__all__ = ["app", "main"]

__getattr__, __dir__ = lazy(__name__, {"app": ".commands"})


def main() -> None:
    """Run the command line."""
    as_program()
    from .commands import app

    app()
