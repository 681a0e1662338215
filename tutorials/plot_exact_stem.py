"""
An exact stem for any network
=============================

A complete bank spans every kernel of its size. The first convolution of any network is therefore a sum of named filters, with
nothing retrained. An explanation uses that on the fly. If you want to train or export the network, ``replace_stem`` writes it
into the model. The network here is torchvision's ResNet-18 with random weights, so that nothing has to be downloaded.
"""

import textwrap

import torch
import torchvision

import edgefilter as ef
from edgefilter.plots import plot_kernels

torch.manual_seed(0)
network = torchvision.models.resnet18().eval()
images = torch.randn(2, 3, 224, 224)
print(ef.find_stem(network), network.conv1)

# %%
# Rewrite it: 49 filters on each of three colors, and a 1x1 convolution that mixes them to the 64 channels of before.

model = ef.replace_stem(network)
print(model.conv1.bank)
print(model.conv1.mixing)

# %%
# The logits are the same, up to the rounding of float32.

with torch.no_grad():
    difference = (model(images) - network(images)).abs().max()
print(f"largest difference of a logit: {difference:.1e}")

# %%
# These are the first filters of the bank: derivatives of all orders, low orders first.

plot_kernels(list(model.conv1.bank)[:12])

# %%
# A familiar bank such as ``edges`` (18 filters of 3x3) cannot express a 7x7 stem. It is refused, unless you ask for the nearest
# weights with ``init="project"``. The layer keeps how much they lose.

try:
    ef.replace_stem(network, "edges")
except ValueError as error:
    print("\n".join(textwrap.wrap(str(error), 90)))

projected = ef.replace_stem(network, "edges", init="project")
print(f"energy of the weights that is lost: {projected.conv1.lost_energy:.0%}")

# %%
# Explain it. With random weights the scores say nothing about photos, but they add up all the same. They are those of the ordinary network.

explanation = ef.EdgeFilterAttribution(model).explain(images)
ordinary = ef.EdgeFilterAttribution(network).explain(images)
print("conserved share", explanation.conserved_share.tolist())
print(f"largest difference of a score: {(explanation.edge - ordinary.edge).abs().max():.1e}")

# %%
# Fold the bank and the mixing into one ordinary convolution again.

folded = ef.fold_stem(model)
print(folded.conv1)
difference = (folded.conv1.weight - network.conv1.weight).abs().max()
print(f"largest difference of a weight: {difference:.1e}")
