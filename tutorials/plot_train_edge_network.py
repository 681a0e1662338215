"""
Train an edge-filter network
============================

Jung & Kwon build networks whose first layer cannot learn: it consists of well-known edge filters. What does a network lose that sees nothing but
edges? This one sees handwritten digits through two Sobel filters.
"""

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

import edgefilter as ef

data = load_digits()
small = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
digits = F.interpolate(small, size=(16, 16), mode="bilinear")
labels = torch.tensor(data.target)
train, test = slice(0, 1200), slice(1200, None)

# %%
# ``edge_cnn`` puts a bank in front of a few ordinary layers. The kernels are parameters that ask for no gradient, so any optimizer leaves them
# alone, and training needs no gradients in the layer with the most pixels.

torch.manual_seed(0)
net = ef.models.edge_cnn(num_classes=10, in_channels=1, bank="sobel", widths=(16, 32))
print(net.stem.filters)

fixed = [weight for weight in net.parameters() if not weight.requires_grad]
learned = [weight for weight in net.parameters() if weight.requires_grad]
print(sum(map(torch.numel, fixed)), "fixed numbers,", sum(map(torch.numel, learned)), "to be learned")

# %%
# Train it as you would train any network. This takes a second.


def train_it(net):
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(8):
        for batch in torch.randperm(1200).split(50):
            loss = F.cross_entropy(net(digits[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


@torch.no_grad()
def accuracy(net):
    return (net(digits[test]).argmax(1) == labels[test]).float().mean().item()


before = [weight.clone() for weight in fixed]
train_it(net)
print(f"accuracy with two Sobel filters: {accuracy(net):.1%}")
print("kernels as before:", all(map(torch.equal, before, fixed)))

# %%
# What does each filter contribute?
# ---------------------------------
# In such a network the channels of the first layer *are* the filters. Here is what speaks for a seven. Lines across show in
# ``sobel_y``, which answers to a change from top to bottom, and upright lines in ``sobel_x``.

seven = digits[test][labels[test] == 7][:1]
explanation = ef.EdgeFilterAttribution(net).explain(seven, target=7)
print(explanation.summary())
explanation.plot(title="Seven, by two filters", width=9.5)

# %%
# One filter is nearly enough
# ---------------------------
# Leave one of them out from the beginning. A network that sees no upright edges at all still reads most digits: a digit's shape is in
# its horizontal edges a second time. Remember that when a filter has a small score. It means that the network uses something else, not that there was
# nothing to see.

for kernel in ("sobel_x", "sobel_y"):
    torch.manual_seed(0)
    one = train_it(ef.models.edge_cnn(10, in_channels=1, bank=ef.FilterBank([kernel]), widths=(16, 32)))
    print(f"accuracy with {kernel} alone: {accuracy(one):.1%}")

# %%
# The same layer in a network of your own
# ---------------------------------------
# ``EdgeFilterConv2d`` stands where an ``nn.Conv2d`` would: a fixed bank, then a trained 1x1 convolution that mixes its responses. ``fold`` makes one
# ordinary convolution of both, which costs what a convolution costs.

layer = ef.EdgeFilterConv2d(in_channels=1, out_channels=16, bank="sobel", padding=1)
with torch.no_grad():
    difference = (layer(seven) - layer.fold()(seven)).abs().max()
print(layer.fold(), f"largest difference {difference:.1e}")

# %%
# These digits are small and easy, and two seeds differ by a point or two, so do not rank banks by the numbers above. The page "Networks" has accuracies on MNIST
# and Fruits-360, with three seeds each and a learned first layer beside the fixed one.
