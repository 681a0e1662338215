"""
A first explanation
===================

Which color, which edge filter and which pixels say "espresso"? A photo, a network with its real ImageNet weights, and
a few passes through it.
"""

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.photos import demo_photo

classifier = load_classifier("efficientnet_lite0")
image = classifier.preprocess(demo_photo())

# %%
# The network is explained as it is. Its first convolution has 3x3 kernels, and nine named filters span all of them: the convolution
# is seen as these filters and a mixing.

attr = ef.EdgeFilterAttribution(classifier.model)
explanation = attr.explain(image)
name = classifier.class_names[explanation.target[0]]
print(f"{name}, logit {explanation.output.item():.2f}")

# %%
# Red speaks for the class, blue against it, and white is zero. The bars add up to the logit without its base (the logit with no color present, which is
# the same for every image), and so do the maps.

figure = explanation.plot(classifier.to_picture(image), bank=ef.complete_bank(3))

# %%
# These are the numbers behind the picture. ``delta`` is what the sum lacks, or has too much.

print("by color ", {name: round(score, 2) for name, score in explanation.top(3, "color")[0]})
print("by filter", {name: round(score, 2) for name, score in explanation.top(3)[0]})
print(f"base      {explanation.base.item():.2f}")
print(f"delta     {explanation.delta.item():.1e}")

# %%
# Is it so? Silence a color, or a filter, and look at what the logit loses. The order of the drops should be about that of the scores;
# a drop says what is lost while all others stay, a color's score what it brings on average, whichever came before.

check = ef.causal_check(attr, image, explanation)
rows = zip(explanation.colors, explanation.color[0], check.color[0], strict=True)
for color, score, drop in rows:
    print(f"{color:6} score {score:.2f}, drop when silenced {drop:.2f}")

best = int(explanation.edge[0].argmax())
score, drop = explanation.edge[0, best], check.edge[0, best]
print(f"{explanation.filter_labels[best]:6} score {score:.2f}, drop when silenced {drop:.2f}")

# %%
# Why this and not that? What speaks for "coffee mug" in this photo, compared with the class that was predicted?

mug = attr.explain(image, target=classifier.class_index("coffee mug"), against=explanation.target[0])
title = f"coffee mug against {name}"
figure = mug.plot(classifier.to_picture(image), bank=ef.complete_bank(3), title=title)
