"""
Your own network, from checkpoint to report
===========================================

You have a file of weights and the code of the network. This page takes them to an explanation that you can hand round. A tiny network stands in
for yours; it is trained here, in seconds.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.photos import read_photo

folder = Path(tempfile.mkdtemp())

# %%
# What you have
# -------------
# The code of the network, in a file with a function that builds it.

code = """
from torch import nn


def build(num_classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, num_classes),
    )
"""
_ = (folder / "shapes_net.py").write_text(code)

# %%
# Photos: here drawings of circles, squares and triangles, in any color and place.

names = ("circle", "square", "triangle")
random = np.random.default_rng(0)


def drawing(kind, color=None, gray=None):
    """Draw a shape, in a random color by default, on noisy gray."""
    color = tuple(random.integers(0, 256, 3).tolist()) if color is None else color
    gray = random.integers(60, 200) if gray is None else gray
    image = Image.fromarray(random.normal(gray, 12, (32, 32, 3)).clip(0, 255).astype(np.uint8))
    x, y, r = *random.integers(11, 21, 2).tolist(), int(random.integers(7, 10))
    draw, box = ImageDraw.Draw(image), (x - r, y - r, x + r, y + r)
    if kind == "circle":
        draw.ellipse(box, fill=color)
    elif kind == "square":
        draw.rectangle(box, fill=color)
    else:
        draw.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], fill=color)
    return image


kinds = random.integers(0, 3, 1200)
images = torch.stack([to_tensor(drawing(names[kind])) for kind in kinds]).sub(0.5).div(0.25)
labels = torch.tensor(kinds)

# %%
# And a training script that ends with a checkpoint.

sys.path.insert(0, str(folder))
from shapes_net import build

torch.manual_seed(0)
net = build()
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(8):
    for batch in torch.randperm(1000).split(50):
        loss = F.cross_entropy(net(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

net.eval()
with torch.no_grad():
    right = (net(images[1000:]).argmax(1) == labels[1000:]).float().mean()
print(f"accuracy on 200 new drawings: {right:.1%}")
torch.save({"epoch": 8, "model_state_dict": net.state_dict()}, folder / "shapes.pt")

# %%
# Say it once, in a file
# ----------------------
# What a checkpoint does not hold is written beside it: the network, the names of the classes and what was done to the photos. The mean and the
# deviation matter: with others the network would see another photo, and answer all the same.

description = """
architecture = "shapes_net.py:build"
weights = "shapes.pt"
class_names = ["circle", "square", "triangle"]
size = 32
mean = 0.5
std = 0.25
"""
_ = (folder / "shapes.toml").write_text(description)
classifier = load_classifier(folder / "shapes.toml")
print(classifier.about["weights"])
print(classifier.about["preprocessing"])

# %%
# ``weights`` and ``preprocessing`` go into each result, so that you can still tell next year what was explained. A network that you have in
# Python already needs no file: ``Classifier(net, names, preprocess)``.
#
# Look before you trust
# ---------------------
# ``check`` runs the network once and lists what each layer hands on. An operation without a known rule would be named
# here, before any score is printed.

magenta = drawing("triangle", color=(160, 10, 160), gray=160)
magenta.resize((256, 256)).save(folder / "photo.png")
inputs = classifier.preprocess(read_photo(folder / "photo.png"))
print(ef.check(classifier.model, inputs))

# %%
# Explain
# -------
# The triangle is magenta: red and blue, and no green. Which color says "triangle"?

attr = ef.EdgeFilterAttribution(classifier.model)
explanation = attr.explain(inputs)
picture = classifier.to_picture(inputs)
explanation.plot(picture, classes=classifier.class_names, width=9.5)

# %%
# Green does. In red and blue, the triangle is as bright as the gray around it, so only the green channel shows its shape: dark on bright. A color
# speaks for an answer by what it shows, and not because there is much of it.
#
# A line that begins with "Careful", or a hatched bar, marks a score that the library itself doubts. A black triangle gives you some: it shows in all three
# channels, the network can spare each of them, and the score of a single one says little.
#
# Why a triangle and not a square? Compare the two answers directly. The slanted sides remain; the flat bottom fades, as a square has one,
# too.

against = attr.explain(inputs, target=2, against=1)
against.plot(picture, classes=classifier.class_names, width=9.5)

# %%
# Hand it round
# -------------
# A report is one file that anyone can open in a browser, without Python and without a network: click a color or a filter to see where it mattered.

page = explanation.to_html(folder / "triangle.html", picture, class_names=classifier.class_names)
print(page.name, f"{page.stat().st_size / 1000:.0f} kB")

# %%
# The numbers go into a file of their own, and come back the same.

path = explanation.save(folder / "triangle.safetensors")
again = ef.Explanation.load(path)
print("as before:", torch.equal(again.pixel, explanation.pixel))

# %%
# On the command line, ``edgefilter report photo.png --model shapes.toml`` writes the same report, and ``edgefilter explain`` takes whole folders of photos.
