"""Does a reading of high and low hold: against interventions on real photos, beside readings that need no step.

    python benchmarks/levels.py --data FOLDER [--photos 60] [--network fruits|efficientnet_lite0]

``--data`` is a folder with ``fruits24_jpg.zip`` (``split/class/name.jpg``) or ``imagenet200.zip``. Each color that explain()
steps is changed in four other ways: brighter and darker by 5 % or 10 % of the range of a photo, in the whole image or in the fifth of it where
its smoothed relevance is largest, clipped to what a photo can have. Agreement is the share of readings whose sign is that of the change. ``covered`` is the share of these
colors that have a reading.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import edgefilter as ef
from edgefilter.attribution.levels import relevant_places
from edgefilter.attribution.maps import blurred
from edgefilter.classifiers import Classifier, load_classifier


def photos(path: Path, count: int, inside: str) -> list[Image.Image]:
    """Return photos from all over an archive."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith(inside) and name.endswith(".jpg")]
        chosen = names[:: max(1, len(names) // count)][:count]
        return [Image.open(archive.open(name)).convert("RGB") for name in chosen]


def change(classifier: Classifier, image: Tensor, target: int, color: int, towards: Tensor) -> float:
    """Return the output with a color made brighter minus that with it made darker, within the range of a photo."""
    mean, std = classifier.mean[color], classifier.std[color]
    both = image.repeat(2, 1, 1, 1)
    moved = torch.stack([both[0, color] + towards, both[1, color] - towards])
    both[:, color] = moved.clamp((0 - mean) / std, (1 - mean) / std)
    with torch.no_grad():
        high, low = classifier.model(both)[:, target].tolist()
    return high - low


def readings(
    explanation: ef.Explanation, model: torch.nn.Module, image: Tensor, color: int
) -> dict[str, float]:
    """Return signs that claim to say whether the output grows with the color: 0 for no claim."""
    levels = explanation.levels()
    sign = float(explanation.color[0, color].sign())
    measured = {"high": sign, "low": -sign}.get(levels.reading[0][color], 0.0)
    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[0, explanation.target[0]], leaf)
    weight = relevant_places(explanation.pixel[:, [color]], explanation.color[:, color])[0, 0]
    there, everywhere = float(levels.there[0, color]), float(levels.everywhere[0, color])
    return {
        "levels()": measured,
        "gradient": float((weight * gradient[0, color]).sum()),
        "above its mean": sign * (there - everywhere),
        "above 0": sign * there,
    }


def measure(classifier: Classifier, images: list[Image.Image]) -> None:
    """Print the table of one network."""
    attribution = ef.EdgeFilterAttribution(classifier.model, colors=list(classifier.channels))
    found: dict[str, list[tuple[float, list[float]]]] = {}
    for photo in images:
        image = classifier.preprocess(photo)
        explanation = attribution.explain(image)
        scores, target = explanation.color[0], explanation.target[0]
        for color in range(len(scores)):
            if explanation.levels().reading[0][color] == "":
                continue
            weight = relevant_places(explanation.pixel[:, [color]], scores[None, color])[0, 0]
            areas = blurred(weight[None], 0.02 * max(weight.shape))[0]
            strong = (areas >= areas.flatten().quantile(0.8)).float()
            truths = [
                change(classifier, image, target, color, places * size / classifier.std[color])
                for places in (torch.ones_like(strong), strong)
                for size in (0.05, 0.1)
            ]
            for name, value in readings(explanation, classifier.model, image, color).items():
                found.setdefault(name, []).append((value, truths))
    print(f"{classifier.name}: agreement with steps of 5 and 10 % everywhere, and where it speaks most")
    for name, rows in found.items():
        claims = [(value, truths) for value, truths in rows if value]
        shares = [sum(value * truths[k] > 0 for value, truths in claims) / len(claims) for k in range(4)]
        print(
            f"{name:16} covered {len(claims) / len(rows):4.0%}  "
            + "  ".join(f"{share:4.0%}" for share in shares)
        )


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--network", choices=("fruits", "efficientnet_lite0"), default="fruits")
    options = parser.parse_args()
    file, inside = {"fruits": ("fruits24_jpg.zip", "test/"), "efficientnet_lite0": ("imagenet200.zip", "")}[
        options.network
    ]
    measure(load_classifier(options.network), photos(options.data / file, options.photos, inside))


if __name__ == "__main__":
    main()
