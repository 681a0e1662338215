"""
Beside Integrated Gradients and Grad-CAM
========================================

You explain networks with Captum. Here is one more attribution for the same scripts, the same wrappers and the same metrics, and
two kinds of scores that Captum has no method for: by color and by edge filter.
"""

import torch
from captum.attr import IntegratedGradients, LayerConductance, NoiseTunnel
from captum.metrics import infidelity, infidelity_perturb_func_decorator, sensitivity_max

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.photos import demo_photo

torch.manual_seed(0)
classifier = load_classifier("efficientnet_lite0")
network = classifier.model
image = classifier.preprocess(demo_photo())
target = classifier.class_index("espresso")

# %%
# It takes the network as it is, as Captum's methods do.

attr = ef.EdgeFilterAttribution(network)

pixels = attr.attribute(image, target=target)
gradients = IntegratedGradients(network).attribute(image, target=target, n_steps=10)
print(tuple(pixels.shape), tuple(gradients.shape))

# %%
# The convergence delta means what it means in Captum: how far the sum of the attributions is from the output. Captum's methods leave the output of
# their baseline aside; ours leaves aside the base, the output with no color present.

pixels, delta = attr.attribute(image, target=target, return_convergence_delta=True)
base = attr.explain(image, target).base
print(
    f"logit {network(image)[0, target]:.2f} = base {base.item():.2f} + sum {pixels.sum():.2f} - delta {delta.item():.1e}"
)

# %%
# Captum's wrappers take it as one of their own.

smooth = NoiseTunnel(attr).attribute(image, target=target, nt_type="smoothgrad", nt_samples=3, stdevs=0.1)
print(tuple(smooth.shape))

# %%
# So do the metrics. How well does the attribution predict what the output loses when pixels are removed, and how much does it
# change under a little noise? Less is better for both. The decorator's ``True`` is that of ``attr.multiplies_by_inputs``.


@infidelity_perturb_func_decorator(True)
def without_some_pixels(inputs):
    return inputs * (torch.rand_like(inputs[:, :1]) > 0.1)


for name, maps in (("edgefilter", pixels), ("IG", gradients)):
    error = infidelity(network, without_some_pixels, image, maps, target=target, n_perturb_samples=5)
    print(f"{name:10} infidelity {error.item():.2f}")

change = sensitivity_max(attr.attribute, image, target=target, n_perturb_samples=2)
print(f"edgefilter sensitivity {change.item():.2f}")

# %%
# Colors and filters
# ------------------
# Besides pixels there are scores by color and by filter, which have the same sum.

print("by color ", attr.attribute(image, target=target, score="color").tolist())
explanation = attr.explain(image, target)
print("by filter", {name: round(score, 2) for name, score in explanation.top(3)[0]})

# %%
# Any of Captum's layer methods can give such scores too. They need the bank as a layer, which ``replace_stem`` puts into a new model with the
# same logits. Attribute the output of the bank and let ``from_responses`` sum it.

model = ef.replace_stem(network)
stem = model.get_submodule(ef.find_stem(model))
conductance = LayerConductance(model, stem.filters).attribute(image, target=target, n_steps=10)
theirs = ef.Explanation.from_responses(conductance, stem, target=target)

# %%
# Which is right? Silence each color and look at what the logit loses.

check = ef.causal_check(attr, image, explanation)
print("color   ours  conductance  drop when silenced")
rows = zip(explanation.colors, explanation.color[0], theirs.color[0], check.color[0], strict=True)
for color, ours, other, drop in rows:
    print(f"{color:6} {ours:5.2f}  {other:11.2f}  {drop:18.2f}")

# %%
# All side by side
# ----------------
# ``ef.compare`` runs ours, Captum's methods and two controls on the same images, one of the controls being no more than
# the photo's edges. Without ``methods`` and ``metrics`` it takes all that it has, including those of Quantus
# (``pip install 'edgefilter[quantus]'``). A method that fails leaves only its own cells empty. The page "Beside other methods" has the full tables
# for 20 photos and says where ours loses.

found = ef.compare(
    network,
    image,
    target,
    methods=["edgefilter", "integrated_gradients", "grad_cam", "saliency", "sobel"],
    metrics=["infidelity", "time"],
    progress=False,
)
print(found)

# %%
# Red speaks for the class, blue against it; each map is scaled by its own largest value.

found.plot([classifier.to_picture(image)])

# %%
# A method of your own joins by name: ``methods={"mine": function, "edgefilter": "edgefilter"}``, where ``function(inputs, targets)`` gives
# one attribution per pixel or per value. ``found.save(folder)`` writes the tables as CSV and JSON, and ``edgefilter compare
# photo.jpg`` does all this without a script.
