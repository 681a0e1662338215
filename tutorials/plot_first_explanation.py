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
# The network's first convolution is rewritten as nine named filters and a mixing. This is a new model with the same
# logits; the classifier's own is left as it is.

model = ef.replace_stem(classifier.model)
attr = ef.EdgeFilterAttribution(model)
explanation = attr.explain(image)
name = classifier.class_names[explanation.target[0]]
print(f"{name}, logit {explanation.output.item():.2f}")

# %%
# Red speaks for the class, blue against it, white is zero. The bars add up to the logit, and so do the maps.

bank = model.get_submodule(ef.find_stem(model)).bank
figure = explanation.plot(classifier.to_picture(image), bank=bank)

# %%
# The numbers behind the picture. ``delta`` is what is missing, or too much, in the sum.

print("by color ", {name: round(score, 2) for name, score in explanation.top(3, "color")[0]})
print("by filter", {name: round(score, 2) for name, score in explanation.top(3)[0]})
print("delta    ", f"{explanation.delta.item():.1e}")

# %%
# Is it so? Take a color, or a filter, away and look what the logit loses. The order should be about that of the scores;
# where it is not, trust the intervention more than the score.

check = ef.causal_check(attr, image, explanation)
rows = zip(explanation.colors, explanation.color[0], check.color[0], strict=True)
for color, score, drop in rows:
    print(f"{color:6} score {score:.2f}, drop when silenced {drop:.2f}")

best = int(explanation.edge[0].argmax())
score, drop = explanation.edge[0, best], check.edge[0, best]
print(f"{explanation.filter_labels[best]:6} score {score:.2f}, drop when silenced {drop:.2f}")

# %%
# The same for another class. What speaks for "coffee mug" in this photo?

mug = attr.explain(image, target=classifier.class_index("coffee mug"))
figure = mug.plot(classifier.to_picture(image), bank=bank, title="coffee mug")
