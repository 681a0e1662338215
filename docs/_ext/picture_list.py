"""The pictures of the how-tos: one short function each, the calls of the page that shows it."""

from __future__ import annotations

from typing import Any

import demo
from pictures import picture

import edgefilter as ef
from edgefilter import plots


@picture
def photo() -> Any:
    """What ``edgefilter explain`` writes."""
    return demo.explanation(calibrate=("color", "order")).plot(demo.picture())


@picture
def bank() -> Any:
    """The filters of a preset bank."""
    return plots.plot_kernels(ef.get_bank("edges"))
