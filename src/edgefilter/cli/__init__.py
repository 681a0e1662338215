"""The command line: read the arguments, call the library, write what it gives.

A command loads the library when it runs, so that ``--help`` and ``kernels`` are quick.
"""

from __future__ import annotations

from .commands import app, main

__all__ = ["app", "main"]
