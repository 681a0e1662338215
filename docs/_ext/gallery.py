"""Order the tutorials, and show their figures: those that a block returns or keeps, for the library draws without pyplot."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from pictures import style
from sphinx_gallery.scrapers import figure_rst

ORDER = (
    "plot_first_explanation.py",
    "plot_beside_captum.py",
    "plot_own_network.py",
    "plot_class_profile.py",
    "plot_color_bias.py",
    "plot_bands_and_stains.py",
    "plot_own_bank.py",
    "plot_train_edge_network.py",
    "plot_few_shot.py",
    "plot_exact_stem.py",
)

BOTH = style(
    "#757a84", "#ffffff", "#757a84"
)  # ink that is read on a light and on a dark ground: 4.3 and 4.3 to 1

_SHOWN: weakref.WeakSet[Figure] = weakref.WeakSet()


def both_grounds(_gallery_conf: dict[str, Any], _name: str) -> None:
    """Let the figures of the next tutorial be read on a light and on a dark ground: a tutorial runs once."""
    mpl.rcParams.update(BOTH)


def scrape(_block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Write the figures that are new since the last block, and return the text that shows them."""
    paths = block_vars["image_path_iterator"]
    written, alts = [], []
    for value in block_vars["example_globals"].values():
        if isinstance(value, Figure) and value not in _SHOWN:
            _SHOWN.add(value)
            written.append(next(paths))
            alts.append(_alt(value))
            value.savefig(written[-1], bbox_inches="tight", transparent=True)
    return figure_rst(written, gallery_conf["src_dir"], " ".join(filter(None, alts)))


def _alt(figure: Figure) -> str:
    """Return what a screen reader says of a figure: its own words, else its title."""
    return getattr(figure, "alt", "") or figure.get_suptitle()


class TutorialOrder:
    """Sort key: the order of ``ORDER``, what is not in it last."""

    def __init__(self, _folder: str) -> None:
        pass

    def __call__(self, filename: str) -> tuple[int, str]:
        """Return the place of a tutorial."""
        name = Path(filename).name
        return (ORDER.index(name) if name in ORDER else len(ORDER)), name
