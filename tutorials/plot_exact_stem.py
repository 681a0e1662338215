"""
An exact stem for any network
=============================

A complete bank spans every kernel of its size. The first convolution of any network is then a sum of named filters, with
nothing retrained. Here it is torchvision's ResNet-18; its weights are random, so that nothing has to be downloaded.
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

figure = plot_kernels(list(model.conv1.bank)[:12])

# %%
# A familiar bank such as ``edges`` (18 filters of 3x3) can't express a 7x7 stem. It is refused, unless one asks for the nearest
# weights; what they lose is on record.

try:
    ef.replace_stem(network, "edges")
except ValueError as error:
    print("\n".join(textwrap.wrap(str(error), 90)))

projected = ef.replace_stem(network, "edges", init="project")
print(f"energy of the weights that is lost: {projected.conv1.lost_energy:.0%}")

# %%
# Explain it. With random weights the scores say nothing about photos, but they add up all the same.

explanation = ef.EdgeFilterAttribution(model).explain(images)
print("conserved share", explanation.conserved_share.tolist())

# %%
# When all is said, fold the bank and the mixing to one ordinary convolution again.

folded = ef.fold_stem(model)
print(folded.conv1)
difference = (folded.conv1.weight - network.conv1.weight).abs().max()
print(f"largest difference of a weight: {difference:.1e}")
