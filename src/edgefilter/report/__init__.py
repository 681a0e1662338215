"""Report: one self-contained page from an explanation, a profile or a comparison; no numbers of its own.

Text is escaped, pictures and data lie in the file, and without JavaScript all numbers can still be read.
"""

from __future__ import annotations

from .explanations import write_report

__all__ = ["write_report"]
