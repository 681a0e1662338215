"""Compare EfficientNet-Lite0 before and after replace_stem on a folder or zip of photos, and explain them.

The photos are named ``<class index>_<anything>.jpg``. Prints top-1 before and after, the worst logit difference, the
conserved share of the predicted class, and how the color and edge scores rank with the effect of silencing (Spearman).
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.photos import read_photo


def files(path: Path, scratch: Path) -> list[Path]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(scratch)
        path = scratch
    return sorted(path.rglob("*.jpg"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="folder or zip of <class index>_<name>.jpg")
    parser.add_argument("--explain", type=int, default=20, help="how many photos to explain")
    arguments = parser.parse_args()
    network = load_classifier("efficientnet_lite0")
    replaced = ef.replace_stem(network.model)
    attribution = ef.EdgeFilterAttribution(network.model)
    before, after, worst, shares, ranks = 0, 0, 0.0, [], {"color": [], "edge": []}
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        paths = files(arguments.photos, Path(scratch))
        for number, path in enumerate(paths):
            image, label = network.preprocess(read_photo(path)), int(path.name.split("_")[0])
            logits, new = network.model(image), replaced(image)
            before, after = before + int(logits.argmax() == label), after + int(new.argmax() == label)
            worst = max(worst, float((logits - new).abs().max()))
            if (
                number % max(len(paths) // max(arguments.explain, 1), 1) == 0
                and len(shares) < arguments.explain
            ):
                explanation = attribution.explain(image)
                check = ef.causal_check(attribution, image, explanation)
                shares.append(float(explanation.conserved_share))
                for name, values in ranks.items():
                    values.append(spearmanr(getattr(explanation, name)[0], getattr(check, name)[0]).statistic)
    print(f"photos: {len(paths)}; top-1 before {before / len(paths):.2%}, after {after / len(paths):.2%}")
    print(f"worst logit difference: {worst:.1e}")
    if shares:
        print(f"conserved share of {len(shares)} photos: {min(shares):.6f} to {max(shares):.6f}")
        for name, values in ranks.items():
            print(f"Spearman of the {name} scores with the drop when silenced: mean {np.mean(values):.2f}")


if __name__ == "__main__":
    main()
