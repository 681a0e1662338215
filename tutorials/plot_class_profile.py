"""
What is general about a class?
==============================

One explanation is about one image. Average over the images of a class, and what only one of them has drops out. What remains tells what the network
looks for in general.
"""

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

import edgefilter as ef
from edgefilter.plots import plot_class_maps

# %%
# The digits network of this package was trained on MNIST. scikit-learn has digits of other writers, only 8 pixels wide; enlarged and framed as MNIST's are, the
# network reads most of them.

net = ef.models.load("digits")
data = load_digits()
small = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
large = F.interpolate(small, size=(18, 18), mode="bicubic", align_corners=False).clamp(0, 1)
digits, labels = F.pad(large, (5, 5, 5, 5)), torch.tensor(data.target)

with torch.no_grad():
    right = net(digits).argmax(1) == labels
print(f"read correctly: {right.float().mean():.1%}")

# %%
# Explain 20 of each, by what speaks for a digit rather than for the average of the other nine, and take them in. ``ClassProfile`` is a
# metric of torchmetrics: its memory does not grow with the number of images.

attr = ef.EdgeFilterAttribution(net)
profile = ef.ClassProfile(
    10, ("gray",), net.stem.filters.bank.names, filter_labels=net.stem.filters.bank.labels, pixel_size=28
)
for digit in range(10):
    chosen = digits[(labels == digit) & right][:20]
    explanation = attr.explain(chosen, target=digit, against="rest")
    profile.update(explanation, torch.full((len(chosen),), digit))

# %%
# Where does the network look? Red places speak for the digit, blue ones against it, on average.

plot_class_maps(profile)

# %%
# Which filters speak for it? Each number is the mean share of a filter in the scores of an image, with its spread over the 20 images. A one is a matter of
# upright edges (``sobel_x``, ``prewitt_x``), a seven of level and slanted ones.

profile.plot(classes=[0, 1, 4, 7])[0]

# %%
# How do two classes differ? The difference of the shares is divided by their spread, so that 1 is one standard deviation. Mind the interval: 20 images are few.

print("4 rather than 9:")
for effect in profile.contrast(4, 9)[:3]:
    print(f"  {effect.label:12} {effect.effect:+.1f}, 95 % between {effect.low:+.1f} and {effect.high:+.1f}")

# %%
# An average can also hide things: two kinds of sevens, with and without a bar, become one blurred seven. Look at single
# explanations as well. For photos in folders, ``edgefilter profile FOLDER`` does all this on the command line.
