"""``edgefilter compare``: the explanation beside other methods."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgefilter._files import replacing

from .checks import (
    FAILURE,
    USAGE,
    check_folder,
    chosen_against,
    shown_photo,
    split_names,
    stage,
    torch_device,
)
from .naming import ReadFiles
from .network import NETWORK, NetworkOptions, with_network
from .options import (
    COMPARISON_FILES,
    METHODS,
    METRICS,
    MORE_METHODS,
    Against,
    Device,
    Force,
    Quiet,
    Target,
)
from .printing import new_console
from .stopping import loading

__all__ = ["compare"]

KNOWN = (*METHODS, *MORE_METHODS)

Photos = Annotated[
    list[Path] | None, typer.Argument(help="The photos. Default: scikit-image's cup of coffee.")
]
Methods = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help=f"Any of {', '.join(METHODS)} (the default: all of these), {', '.join(MORE_METHODS)}. Sobel, random and input are controls, "
        "guided_nonlinearity_ig is a negative one; they have a mark in the tables.",
    ),
]
Metrics = Annotated[
    str | None, typer.Option(metavar="NAME,...", help=f"Any of {', '.join(METRICS)}. Default: all.")
]
Folder = Annotated[Path, typer.Option(help=f"The folder for {', '.join(COMPARISON_FILES)}.")]


@with_network
def compare(
    images: Photos = None,
    network: NetworkOptions = NETWORK,
    target: Target = None,
    against: Against = None,
    methods: Methods = None,
    metrics: Metrics = None,
    out: Folder = Path("comparison"),
    device: Device = "cpu",
    seed: Annotated[int, typer.Option(help="For perturbations and random weights.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Put the explanation beside other methods on the same photos, by the metrics of Captum and Quantus."""
    with loading():
        import torch

        from edgefilter.evaluation.comparing import compare as compare_methods
        from edgefilter.evaluation.comparison import LINE

    with stage(USAGE):
        chosen, wanted = split_names(methods, KNOWN, "method"), split_names(metrics, METRICS, "metric")
        read = ReadFiles([*(("image", path) for path in images or ()), *network.files])
        for name in COMPARISON_FILES:
            read.check("out", out / name)
        check_folder(out, COMPARISON_FILES, force)
        place = torch_device(device)
        classifier = network.load(quiet=quiet)
        photos = [shown_photo(path, classifier.reader(network.bits)) for path in images or (None,)]
        index = None if target is None else classifier.class_index(target)
        other = chosen_against(classifier, against)
    with stage(FAILURE):
        inputs = torch.cat([classifier.preprocess(photo) for photo in photos]).to(place)
        bar = not quiet and sys.stderr.isatty()
        found = compare_methods(
            classifier.model.to(place), inputs, index, chosen, wanted, against=other, seed=seed, progress=bar
        )
        found = dataclasses.replace(found, settings={**found.settings, "about": classifier.about})
        paths = found.save(out, overwrite=force)
        pictures = [classifier.to_picture(image[None]) for image in inputs]
        found.to_html(paths[-1], pictures, class_names=classifier.class_names, overwrite=True)
        if found.maps:
            paths.append(out / COMPARISON_FILES[-1])
            figure = found.plot(pictures, images=len(pictures))
            with replacing(paths[-1]) as file:
                figure.savefig(file)
        console = new_console(quiet=quiet)
        console.print(found.to_text(console.width if console.is_terminal else LINE), soft_wrap=True)
        console.print(f"\nFiles: {', '.join(map(str, paths))}", soft_wrap=True)
