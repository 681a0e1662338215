"""Other methods of the field as Captum classes, one file each: to compare with ours, and as oracles and controls.

Nothing that our own attribution needs; written from the papers' descriptions.
"""

from __future__ import annotations

from edgefilter._lazy import lazy

__all__: list[str] = []

__getattr__, __dir__ = lazy(__name__, {})
