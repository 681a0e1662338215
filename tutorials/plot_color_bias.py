"""
Is my model color-biased?
=========================

A classifier gets every test image right. Is it good, or did it find a shortcut? Here the shortcut is built into the data on purpose: each
digit is printed in a color of its own. You will see it in the scores, measure what it costs, remove it, and check that it is gone.
"""

# sphinx_gallery_thumbnail_number = 2

import torch
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import edgefilter as ef
from edgefilter.methods import activation_ratio, score_ratio
from edgefilter.plots import plot_colors

# %%
# Ten digits in ten colors
# ------------------------
# The digits come with scikit-learn. The ten inks are equally bright, so that brightness says nothing about the ink.

data = load_digits()
small = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
digits = F.interpolate(small, size=(16, 16), mode="bilinear")
labels = torch.tensor(data.target)

hue = torch.arange(10) * 2 * torch.pi / 10
inks = 0.5 + 0.5 * torch.cos(hue[:, None] - torch.tensor([0.0, 2 / 3, 4 / 3]) * torch.pi)


def printed(digits, which):
    """Print each digit in one of the inks."""
    return digits * inks[which][:, :, None, None]


train, test = slice(0, 1200), slice(1200, None)
biased = printed(digits[train], labels[train])
same_bias = printed(digits[test], labels[test])

figure, axes = plt.subplots(1, 10, figsize=(10, 1.2))
for digit, ax in enumerate(axes):
    ax.imshow(biased[labels[train] == digit][0].permute(1, 2, 0).numpy())
    ax.set_axis_off()

# %%
# An ordinary network learns them in seconds.


def trained(images, augment=None):
    """Train a small network, the same each time."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 16, 10)),
    )
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(10):
        for batch in torch.randperm(len(images)).split(50):
            inputs = images[batch] if augment is None else augment(images[batch])
            loss = F.cross_entropy(net(inputs), labels[train][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


@torch.no_grad()
def accuracy(net, images):
    return (net(images).argmax(1) == labels[test]).float().mean().item()


net = trained(biased)
print(f"accuracy on the test set: {accuracy(net, same_bias):.1%}")

# %%
# Ask for the color
# -----------------
# The test set looks perfect because it has the same bias. The scores by red, green and blue do not help either: each of the three channels carries shape
# *and* ink. ``basis="opponent"`` asks a better question. It scores brightness, which is the same for all inks, apart from two differences of
# channels, which would be zero in a gray print. The network is the same; only the question changes.


def shares(net, images, **options):
    """Return the mean share of each color in the scores of an image, in percent."""
    explanation = ef.EdgeFilterAttribution(net, **options).explain(images, labels[test][: len(images)])
    sizes = explanation.color.abs()
    mean = (sizes / sizes.sum(1, keepdim=True)).mean(0)
    return {color: f"{share:.0%}" for color, share in zip(explanation.colors, mean.tolist(), strict=True)}


print("by channel         ", shares(net, same_bias[:100]))
print("brightness or color", shares(net, same_bias[:100], basis="opponent"))

# %%
# About nine tenths of the answer come from the ink. One digit is enough to see it, if you ask the right question. No second test set was needed.

first, digit = same_bias[:1], int(labels[test][0])
before = ef.EdgeFilterAttribution(net, basis="opponent").explain(first, digit)
before.plot(title=f"This {digit} is a matter of ink", width=9.5)

# %%
# What the shortcut costs
# -----------------------
# Now print the same test digits in random inks. A network that reads shapes would not mind.

torch.manual_seed(0)
no_bias = printed(digits[test], torch.randint(10, (len(labels[test]),)))
print(f"accuracy, random inks: {accuracy(net, no_bias):.1%}")

# %%
# Fix it
# ------
# Print each training digit in a new random ink every time the network sees it.


def reprinted(images):
    """Take the ink off, and print again."""
    gray = images.mean(1, keepdim=True) / inks.mean()
    return gray * inks[torch.randint(10, (len(images),))][:, :, None, None]


fixed = trained(biased, augment=reprinted)

# %%
# Is it gone?

print("                 as trained  random inks  share of the scores")
for name, one in (("before", net), ("after", fixed)):
    found = f"{accuracy(one, same_bias):10.1%}  {accuracy(one, no_bias):11.1%}"
    print(f"{name:16} {found}  {shares(one, no_bias[:100], basis='opponent')}")

# %%
# The accuracy on the biased test set went *down*, and the network is better for it: it now reads digits. The same accuracy on both test sets says so, and
# so does the brightness, which now carries nearly everything. Here is the same digit again.

after = ef.EdgeFilterAttribution(fixed, basis="opponent").explain(first, digit)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.4), layout="constrained")
plot_colors(before, ax=left, title="before")
plot_colors(after, ax=right, title="after")


# %%
# A shortcut for some
# -------------------
# A bias may concern one group only. In this training set the ink tells the digits 0 to 4, and says nothing about 5 to 9, which are printed in random inks.


def half_biased(digits, labels):
    """Print the digits 0 to 4 in inks of their own, and the others in random ones."""
    random = torch.randint(10, (len(labels),))
    return printed(digits, torch.where(labels < 5, labels, random))


torch.manual_seed(0)
half = trained(half_biased(digits[train], labels[train]))
images, low = half_biased(digits[test], labels[test]), labels[test] < 5
groups = {"0 to 4": images[low][:15], "5 to 9": images[~low][:15]}

# %%
# InsideBias (Serna et al. 2020) looks for such a bias *inside* the network: does a layer respond less to one group than to another? A ratio of 1 means the
# same for both, and fifteen images of each group are enough.

print(activation_ratio(half, "4", groups).summary())

# %%
# Something differs, but what? The same ratio of the *scores* says it. ``colors=`` gathers the two differences of channels under one name.

names = {"brightness": ["luminance"], "color": ["red-green", "blue-yellow"]}
ask = ef.EdgeFilterAttribution(half, basis="opponent", colors=names)
found = score_ratio(groups, "color", attribution=ask)
print(found.summary())

figure, ax = plt.subplots(figsize=(6, 1.6), layout="constrained")
table = found.to_dataframe()
spread = [table["mean"] - table["low"], table["high"] - table["mean"]]
ax.barh(table["group"], table["mean"], xerr=spread, color="0.6", capsize=4)
ax.set(xlim=(0, 1), xlabel="share of color in the scores, with its 95 % interval", ylabel="digits")
ax.invert_yaxis()

# %%
# Neither number needed a second test set, or a wrong answer. The groups must differ in nothing but what you suspect, though: a layer also responds less to
# darker photos.
#
# The scores can only show a shortcut that your question can see: ink and shape share every channel, so red, green and blue could not tell them apart.
# Choose the colors, groups or basis in which your suspicion would show.
