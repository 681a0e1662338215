"""
Learn from few examples, with explanations
==========================================

Sun et al. train a network that learns new classes from a few examples, and let explanations guide it: in each step they ask which features speak for the right
class, make those larger and the others smaller, and learn from the result as well. Here is their method on handwritten digits, its log odds, and a fair test of
whether it helps.
"""

# sphinx_gallery_thumbnail_number = 2

import torch
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import edgefilter as ef
from edgefilter.methods import relevance_weights
from edgefilter.plots import plot_batch

# %%
# Old classes and new ones
# ------------------------
# Each digit lies somewhere in its picture, so that pixels cannot simply be compared. The digits from 0 to 4, each in four turns, are twenty classes to practice
# with. The digits from 5 to 9 are kept for the test. An *episode* is a small exam: one example of each of five classes, then eight pictures of each to
# recognize.

data = load_digits()
drawn = F.interpolate(
    torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, size=(12, 12), mode="bilinear"
)
pictures = torch.zeros(len(drawn), 1, 16, 16)
corners = torch.randint(5, (len(drawn), 2), generator=torch.Generator().manual_seed(0))
for picture, digit, (top, left) in zip(pictures, drawn, corners.tolist(), strict=True):
    picture[:, top : top + 12, left : left + 12] = digit

by_digit = [pictures[torch.tensor(data.target) == digit] for digit in range(10)]
practice = [torch.rot90(some, turn, (2, 3)) for some in by_digit[:5] for turn in range(4)]
new = by_digit[5:]

WAYS, QUERIES = 5, 8
answers = torch.arange(WAYS).repeat_interleave(QUERIES)


def episode(classes, generator):
    """Return one example and eight queries of five classes, the latter in the order of ``answers``."""
    chosen = torch.randperm(len(classes), generator=generator)[:WAYS].sort().values
    picked = [
        classes[one][torch.randperm(len(classes[one]), generator=generator)[: 1 + QUERIES]] for one in chosen
    ]
    return torch.cat([some[:1] for some in picked]), torch.cat([some[1:] for some in picked])


examples, queries = episode(new, torch.Generator().manual_seed(1))
figure, axes = plt.subplots(1, 8, figsize=(8, 1.5), layout="constrained")
for ax, picture, name in zip(axes, [*examples, *queries[::16]], [*"56789", *"???"], strict=True):
    ax.imshow(picture[0].numpy(), cmap="gray")
    ax.set_title(name)
    ax.set_axis_off()

# %%
# A network that compares
# -----------------------
# A body makes features of a picture. A head makes a point of the features, and the logit of a class is minus the squared distance to the point of its example:
#
# .. math:: -\|z - e_k\|^2 = 2 \, e_k \cdot z - \|e_k\|^2 - \|z\|^2 .
#
# The last part is the same for all classes. A softmax does not see it, and neither do log odds, so the head can leave it out: what remains is a linear layer
# whose weights are the examples.


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.point = nn.Sequential(
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )

    def forward(self, features, examples):
        return F.linear(self.point(features), 2 * examples, -examples.square().sum(1))


class Comparing(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.head = Head()

    def points(self, pictures):
        return self.head.point(self.body(pictures))

    def forward(self, pictures, examples):
        return self.head(self.body(pictures), examples)


# %%
# The training step
# -----------------
# The head is a classifier of features, so it can be explained like any other: ``attribute`` gives the relevance of each feature for the log odds of the right class. The
# features are detached and relevance is a constant: nothing is learned through it. ``relevance_weights`` makes factors from 0 to 2 of it. The head runs
# again on the weighed features, and both losses are added.
#
# A control is needed. Weights that change the features at all may help as noise does, so a third network gets the same weights at shuffled places.


STEPS = 150


def trained(seed, weights, steps):
    """Train a network on episodes, with a second loss on features weighed by their ``"relevance"``, or by that ``"shuffled"``."""
    torch.manual_seed(seed)
    net, generator = Comparing().eval(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    explainer = ef.EdgeFilterAttribution(net.head, calibrate=False)
    for _ in range(steps):
        examples, queries = episode(practice, generator)
        points, features = net.points(examples), net.body(queries)
        loss = F.cross_entropy(net.head(features, points), answers)
        if weights:
            relevance = explainer.attribute(features.detach(), answers, points.detach(), against="odds")
            factors = relevance_weights(relevance)
            if weights == "shuffled":
                order = torch.randperm(factors[0].numel(), generator=generator)
                factors = factors.flatten(1)[:, order].view_as(factors)
            loss = loss + F.cross_entropy(net.head(factors * features, points), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


net = trained(0, None, STEPS)

# %%
# What the log odds say
# ---------------------
# Three new digits, after one example of each. Above each map stand the log odds of a class, counted from chance:
# ``log(p / (1 - p)) + log(4)`` is 0 where the network only guesses. Red places speak for the class, blue ones against it.

points = net.points(examples).detach()
explainer = ef.EdgeFilterAttribution(net)
some = queries[:: 2 * QUERIES]
batch = plot_batch(
    {name: explainer.explain(some, way, points, against="odds") for way, name in enumerate("56789")}, some
)

# %%
# One example is little: some are taken for another digit. The map of each class shows where the network sees it, right or wrong.
#
# Does it help?
# -------------
# Each network takes the same 100 exams in digits that it was not trained on, after one example of each. Five networks begin with other random numbers, and each is
# trained in all ways, so that the ways can be compared pair by pair. A step with an explanation takes about four times as long as one without.
# So the fair rival is a network that makes four times as many steps with one loss.

SEEDS = 5
WAYS_TO_TRAIN = {
    "one loss": (None, STEPS),
    "two, by relevance": ("relevance", STEPS),
    "two, by shuffled": ("shuffled", STEPS),
    "one, 4 x steps": (None, 4 * STEPS),
}


@torch.no_grad()
def accuracy(net):
    generator, points = torch.Generator().manual_seed(2), [net.points(some) for some in new]
    right = []
    for _ in range(100):
        examples, queries = episode(points, generator)
        right.append((torch.cdist(queries, examples).argmin(1) == answers).float().mean())
    return torch.stack(right).mean().item()


found = {
    way: torch.tensor([accuracy(trained(seed, *how)) for seed in range(SEEDS)])
    for way, how in WAYS_TO_TRAIN.items()
}
untrained = torch.tensor([accuracy(trained(seed, None, 0)) for seed in range(SEEDS)])
print(f"chance {1 / WAYS:.1%}, untrained {untrained.mean():.1%}")
print("                     accuracy   more than with one loss")
for way, values in found.items():
    gain = values - found["one loss"]
    print(f"{way:20} {values.mean():8.1%}   {gain.mean():+7.1%} ± {gain.std() / SEEDS**0.5:.1%}")

# %%
# Behind ± stands the standard error of the mean over five networks. Rings are single networks.

figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
for place, values in enumerate(found.values()):
    ax.plot(values.numpy(), [place] * SEEDS, "o", color="0.5", mfc="none")
    ax.errorbar(values.mean(), place, xerr=values.std() / SEEDS**0.5, fmt="o", color="#b2182b", capsize=3)
ax.axvline(1 / WAYS, color="0.5", linestyle=":")
ax.set(yticks=range(len(found)), yticklabels=found, ylim=(len(found) - 0.5, -0.5))
ax.set_xlabel("accuracy on new digits (dotted: chance)")

# %%
# It helps, and it does not pay here. In as many steps, the second loss gains a few points, more than its error, and the same weights at shuffled places lose
# some: relevance helps, not noise. But the explanations take time. One loss gains more if it gets that time for more steps.
#
# Do not take the size of the gain from here: eight other seeds gave half of it, and with 100 steps there was none. The networks of Sun et al. have a large
# body in front of the head. There, explaining the head would be a small part of each step.
