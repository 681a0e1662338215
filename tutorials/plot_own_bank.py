"""
Bring your own kernels and bank
===============================

Which filter? The answer can only be given in words that you choose: the kernels of a bank. Here you bring your own, are told that they are not enough, and
add what is missing.
"""

import textwrap

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.photos import demo_photo
from edgefilter.plots import plot_responses

classifier = load_classifier("efficientnet_lite0")
image = classifier.preprocess(demo_photo())
espresso = classifier.class_index("espresso")

# %%
# A kernel is a name and an array of weights. Banks take such kernels beside those of the catalogue, by name. Weights that add up to zero are blind
# to plain brightness: four of these five do, and answer to nothing where the photo is flat.

center = ef.Kernel("center_surround", [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])
corner = ef.Kernel("corner", [[-4, -4, -4], [-4, 5, 5], [-4, 5, 5]])
mine = ef.FilterBank([center, corner, "sobel_x", "sobel_y", "binomial_3x3"], name="mine")
print(mine)
plot_responses(mine, classifier.to_picture(image))

# %%
# These five cannot tell the whole story: the network's 3x3 kernels have nine dimensions. What would be lost is measured, and the bank is refused, because
# scores that leave it out would not add up.

try:
    ef.EdgeFilterAttribution(classifier.model, bank=mine).explain(image, espresso)
except ValueError as error:
    print(textwrap.fill(str(error), 90))

# %%
# Complete it
# -----------
# Add kernels of a complete bank, and keep those that say something new. The rank tells.

kernels = list(mine)
for kernel in ef.complete_bank(3):
    if ef.FilterBank([*kernels, kernel]).rank > len(kernels):
        kernels.append(kernel)
whole = ef.FilterBank(kernels, name="mine, completed")
print(whole, "complete:", whole.is_complete)

explanation = ef.EdgeFilterAttribution(classifier.model, bank=whole).explain(image, espresso)
explanation.plot(classes=classifier.class_names, bank=whole, title="Espresso, in my own words", width=9.5)

# %%
# Does the choice matter?
# -----------------------
# Not for the colors: their scores are measured at the network, whichever words describe its kernels. For the filters it does, and it should.
# The same relevance is divided among other words, so "how much does ``sobel_x`` carry?" has an answer only together with its bank.

usual = ef.EdgeFilterAttribution(classifier.model).explain(image, espresso)
print(f"largest difference of a color: {(usual.color - explanation.color).abs().max():.1e}")
print("sum of all filters:", [round(one.edge.sum().item(), 2) for one in (usual, explanation)])
for one in (usual, explanation):
    print({name: round(score, 1) for name, score in one.top(4, by="size")[0]})

# %%
# Kernels that are multiples of each other, or nearly, share a task in whatever way training left it. A bank without such twins is easier to read;
# ``whole.groups("dependent")`` lists them.

print([group for group in whole.groups("dependent") if "~" in group] or "no twins")
