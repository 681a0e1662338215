"""
Beside Integrated Gradients and Grad-CAM
========================================

You explain networks with Captum. Here is one more attribution for the same scripts, the same wrappers and the same metrics, and
two kinds of scores that Captum has no method for: by color and by edge filter.
"""

import torch
from captum.attr import IntegratedGradients, LayerConductance, NoiseTunnel
from captum.metrics import sensitivity_max

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.photos import demo_photo

torch.manual_seed(0)
classifier = load_classifier("efficientnet_lite0")
network = classifier.model
image = classifier.preprocess(demo_photo())
target = classifier.class_index("espresso")

# %%
# It takes the network as it is, as Captum's methods do, and has their call.

attr = ef.EdgeFilterAttribution(network)

pixels = attr.attribute(image, target=target)
gradients = IntegratedGradients(network).attribute(image, target=target, n_steps=10)
print(tuple(pixels.shape), tuple(gradients.shape))

# %%
# Side by side
# ------------
# ``ef.compare`` runs it beside methods of Captum, all on the same image. The last one is a control: it shows the edges of the photo, and knows nothing about the
# network.

found = ef.compare(
    network,
    image,
    target,
    methods=["edgefilter", "integrated_gradients", "grad_cam", "saliency", "sobel"],
    metrics=["infidelity"],
    progress=False,
)
found.plot([classifier.to_picture(image)])

# %%
# Red places speak for the class, blue ones against it; each map is scaled by its own largest value. Grad-CAM says "around here". The others are sharp, and so is the
# control: **a map that looks like the object is no evidence that the network uses it.** So measure. How well does an attribution predict what the output loses when
# pixels are removed? Less is better.

print(found)

# %%
# The control does about as well as the best methods. On one photo this metric cannot tell them apart; the page "Beside other methods" has twenty photos, more
# metrics, and says where this library loses.
#
# In Captum's tools
# -----------------
# The convergence delta means what it means in Captum: how far the sum of the attributions is from the output. Captum's methods leave out the output of
# their baseline; ours leaves out the base, the output with no color present.

pixels, delta = attr.attribute(image, target=target, return_convergence_delta=True)
base = attr.explain(image, target).base.item()
logit = network(image)[0, target].item()
print(f"logit {logit:.2f} = base {base:.2f} + sum {pixels.sum().item():.2f} - delta {delta.item():.1e}")

# %%
# Captum's wrappers and metrics take it as one of their own.

smooth = NoiseTunnel(attr).attribute(image, target=target, nt_type="smoothgrad", nt_samples=3, stdevs=0.1)
change = sensitivity_max(attr.attribute, image, target=target, n_perturb_samples=2)
print(tuple(smooth.shape), f"changes by {change.item():.0%} under a little noise")

# %%
# Colors and filters
# ------------------
# This is what the other methods do not tell. The scores by color and by filter have the same sum as the pixels.

explanation = attr.explain(image, target)
print("by color ", {name: round(score, 2) for name, score in explanation.top(3, "color")[0]})
print("by filter", {name: round(score, 2) for name, score in explanation.top(3)[0]})

# %%
# You can get such scores from Captum's layer methods as well. They need the bank as a layer, which ``replace_stem`` puts into a new model with the
# same logits. Attribute the output of the bank, and let ``from_responses`` sum it.

model = ef.replace_stem(network)
stem = model.get_submodule(ef.find_stem(model))
conductance = LayerConductance(model, stem.filters).attribute(image, target=target, n_steps=10)
theirs = ef.Explanation.from_responses(conductance, stem, target=target)

# %%
# The two disagree. Which is right? Silence each color and look at what the logit loses.

check = ef.causal_check(attr, image, explanation)
print("color   ours  conductance  drop when silenced")
columns = (explanation.color[0].tolist(), theirs.color[0].tolist(), check.color[0].tolist())
for color, ours, other, drop in zip(explanation.colors, *columns, strict=True):
    print(f"{color:6} {ours:5.2f}  {other:11.2f}  {drop:18.2f}")

# %%
# A method of your own joins the comparison by name: ``methods={"mine": function, "edgefilter": "edgefilter"}``, where ``function(inputs, targets)`` gives
# one attribution per pixel or per value. ``found.save(folder)`` writes the tables as CSV and JSON, and ``edgefilter compare
# photo.jpg`` does all this without a script.
