"""The arguments that several commands share, and the names that their help shows.

The names are written out here, so that help does not load the library; a test compares them with it.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BASES",
    "CALIBRATIONS",
    "COMPARISON_FILES",
    "COMPOSITE",
    "COMPOSITES",
    "DEMO",
    "METHODS",
    "METRICS",
    "MORE_METHODS",
    "PROFILE_FILES",
    "Against",
    "Bank",
    "Calibrate",
    "Calibration",
    "Device",
    "Force",
    "Photo",
    "Photos",
    "Quiet",
    "Rules",
    "ScoreTable",
    "Target",
    "Top",
]

BASES = ("opponent", "luma")
DEMO = "efficientnet_lite0"
COMPOSITE = "epsilon_plus"
COMPOSITES = (
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_gamma",
    "epsilon_gamma_box",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_alpha15_beta05",
    "zplus",
    "alpha15_beta05",
    "alpha2_beta1",
    "epsilon",
)
METHODS = (
    "edgefilter",
    "edgefilter_relevance",
    "integrated_gradients",
    "grad_cam",
    "saliency",
    "input_x_gradient",
    "guided_backprop",
    "occlusion",
    "sobel",
    "random",
)
MORE_METHODS = (
    "hires_cam",
    "zoom_cam",
    "smooth_taylor",
    "guided_nonlinearity_ig",
    "mfpp",
    "rise",
    "mask_search",
    "kernel_lime",
    "linear_region",
    "input",
)
METRICS = (
    "infidelity",
    "sensitivity_max",
    "pixel_flipping",
    "faithfulness_correlation",
    "sparseness",
    "randomisation",
    "time",
    "parts",
)
CALIBRATIONS = {"none": False, "color": "color", "color+order": ("color", "order")}
COMPARISON_FILES = ("pixel.csv", "parts.csv", "comparison.json", "comparison.html", "comparison.png")
PROFILE_FILES = (
    *("profile.csv", "profile.safetensors", "profile.png", "skipped.csv", "confusion.csv", "permutation.csv"),
    *("profile.json", "profile.html"),
)


class ScoreTable(str, Enum):
    """The tables that ``explain`` prints."""

    color = "color"
    edge = "edge"
    color_edge = "color_edge"
    all = "all"


class Calibration(str, Enum):
    """What scores are measured by."""

    none = "none"
    color = "color"
    color_order = "color+order"


Photo = Annotated[Path | None, typer.Argument(help="The photo. Default: scikit-image's cup of coffee.")]
Photos = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[IMAGE]...",
        help="The photos: files, folders (with the folders in them) or patterns such as 'photos/*.jpg'. "
        "Default: scikit-image's cup of coffee.",
    ),
]
Rules = Annotated[str, typer.Option(help=f"The relevance rules: {', '.join(COMPOSITES)}.")]
Target = Annotated[
    str | None, typer.Option(help="The class to explain, by index or name. Default: the predicted one.")
]
Against = Annotated[
    str | None,
    typer.Option(
        help="The class that it is compared with, by index or name; or rest, the mean of all others; or odds: its log odds against "
        "chance are explained. Default: none, the output itself."
    ),
]
Top = Annotated[
    int | None, typer.Option(min=1, help="Rows in the tables and maps in the picture. Default: 12 and 3.")
]

Bank = Annotated[
    str,
    typer.Option(
        help="The filters to express the stem with: complete, or the name of a bank that spans the stem "
        "(edgefilter kernels lists them)."
    ),
]

Calibrate = Annotated[
    Calibration,
    typer.Option(
        metavar="NAME",
        help="What the scores are measured by: color, the exact game of the colors; color+order, that of groups of filters as "
        "well; none, relevance alone, which is quicker.",
    ),
]

Device = Annotated[str, typer.Option(help="Where to compute, such as cpu or cuda.")]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors and warnings.")]
