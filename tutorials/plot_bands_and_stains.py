"""
Bands and stains
================

Red, green and blue are the wrong words for a satellite image, and for a microscope slide too. Name the channels, group them, or ask in units of the
stains: the network stays as it is, and the scores speak your language.
"""

# sphinx_gallery_thumbnail_number = 2

import torch
from matplotlib import pyplot as plt
from skimage.color import hed_from_rgb
from skimage.data import immunohistochemistry
from torch import nn
from torch.nn import functional as F

import edgefilter as ef
from edgefilter.plots import plot_colors


def trained(channels, images, labels):
    """Train a small network for two classes."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2)),
    )
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(15):
        for batch in torch.randperm(len(images)).split(32):
            loss = F.cross_entropy(net(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


@torch.no_grad()
def accuracy(net, images, labels):
    return (net(images).argmax(1) == labels).float().mean().item()


# %%
# Thirteen bands
# --------------
# The fields are generated, with the names of Sentinel-2's bands. Stressed plants differ from healthy ones in the
# red edge alone, so the right answer is known.

bands = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
red_edge = [bands.index(name) for name in ("B05", "B06", "B07")]

torch.manual_seed(0)
stressed = torch.randint(2, (600,))
# The soil has the same pattern in all bands.
soil = F.interpolate(torch.rand(600, 1, 4, 4), size=(16, 16), mode="bilinear")
fields = 0.3 + 0.3 * soil + 0.05 * torch.randn(600, 13, 16, 16)
fields[:, red_edge] -= 0.05 * stressed[:, None, None, None]
fields = (fields - fields[:400].mean((0, 2, 3), keepdim=True)) / fields[:400].std((0, 2, 3), keepdim=True)

net = trained(13, fields[:400], stressed[:400])
print(f"accuracy on new fields: {accuracy(net, fields[400:], stressed[400:]):.1%}")

# %%
# A list names the channels, a mapping groups them. Each group is switched off as a whole. Five groups need 32 runs of the model, and their
# scores are exact Shapley values; 13 single bands would be estimated from drawn sets, with standard errors.

groups = {
    "atmosphere": ["B01", "B09", "B10"],
    "visible": ["B02", "B03", "B04"],
    "red edge": ["B05", "B06", "B07"],
    "near infrared": ["B08", "B8A"],
    "shortwave": ["B11", "B12"],
}
attr = ef.EdgeFilterAttribution(net, colors=groups, channels=bands)
explanation = attr.explain(fields[400:440], target=1, against=0)
for which, name in ((stressed[400:440] == 1, "stressed"), (stressed[400:440] == 0, "healthy")):
    scores = explanation.color[which].mean(0).tolist()
    print(f"{name:9}", {group: round(score, 1) for group, score in zip(groups, scores, strict=True)})

# %%
# The same red edge speaks for stress in one field and against it in the other. Why do "visible" and the others have scores that are not zero, though they
# know nothing? The network subtracts them: the red edge means something only compared with the brightness of the soil.

figure, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
for kind, ax in enumerate(axes):
    place = int((stressed[400:440] == kind).nonzero()[0])
    plot_colors(explanation[place], ax=ax, title="a stressed field" if kind else "a healthy field")


# %%
# Stains
# ------
# This slide has two stains. Hematoxylin is blue and marks all nuclei; DAB is brown and marks the protein that the pathologist asked for. Each
# stain lets a share of the light through. Shares multiply, so their negative logarithms, the *optical densities*, add up. These are what the network reads.

slide = torch.tensor(immunohistochemistry() / 255, dtype=torch.float32).permute(2, 0, 1)
density = -torch.log10(slide.clamp(min=1 / 255))
# Rows and columns of patches of 32 x 32 pixels.
patches = density.unfold(1, 32, 16).unfold(2, 32, 16).permute(1, 2, 0, 3, 4)

# %%
# Positive patches are those with more DAB than the median. The network learns them in the left half of the slide, and is tested in
# the right half.

stains = ("hematoxylin", "eosin", "DAB")
dab = torch.einsum("rcihw,i->rc", patches, torch.tensor(hed_from_rgb[:, 2], dtype=torch.float32))
positive = (dab > dab.median()).long()

net = trained(3, patches[:, :14].flatten(0, 1), positive[:, :14].flatten())
images, labels = patches[:, 16:].flatten(0, 1), positive[:, 16:].flatten()
print(f"accuracy in the right half: {accuracy(net, images, labels):.1%}")

# %%
# By red, green and blue the answer is a riddle: blue for it, red against it. Brown is not a channel. A basis makes it one. Each row of the matrix says how
# a stain is computed from the three densities; scikit-image has the matrix.

basis = ef.ColorBasis(stains, hed_from_rgb.T)
shown = images[labels == 1][:40]
for options in ({}, {"basis": basis}):
    explanation = ef.EdgeFilterAttribution(net, **options).explain(shown, target=1, against=0)
    scores = explanation.color.mean(0).tolist()
    print({name: round(score, 1) for name, score in zip(explanation.colors, scores, strict=True)})

# %%
# It was DAB, and hardly anything else. The slide has no eosin, and the network makes next to nothing of it. Both lines explain the same number with the same network, and
# both add up to it.

first = next(place for place in range(len(images)) if labels[place] == 1)
by_stain = ef.EdgeFilterAttribution(net, basis=basis).explain(images[first : first + 1], target=1, against=0)
picture = (10 ** -images[first]).permute(1, 2, 0).numpy()
by_stain.plot(picture, title="Positive rather than negative: by stain", width=9.5)
