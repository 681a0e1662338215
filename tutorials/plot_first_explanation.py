"""
Explain a photo
===============

Which color, which edge filter and which pixels say "espresso"? A photo, a network with its real ImageNet weights, and
a few passes through it.
"""

import edgefilter as ef
from edgefilter.classifiers import load_classifier
from edgefilter.photos import demo_photo
from edgefilter.plots import plot_contrast

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
# In the maps, red places speak for the class and blue ones against it; white is zero. The bars add up to the logit without its base (the logit with no color present, which is
# the same for every image), and so do the maps.

bank = ef.complete_bank(3)
explanation.plot(classes=classifier.class_names, bank=bank, width=9.5)

# %%
# The same in words.

print(explanation.summary(class_names=classifier.class_names))

# %%
# Is it so? Silence a color, or a filter, and look at what the logit loses. A drop says what is lost while all others stay; a color's score says what
# it brings on average, whichever came before. The two need not be equal, but they should not contradict each other.

check = ef.causal_check(attr, image, explanation)
print("color   score  drop when silenced")
rows = zip(explanation.colors, explanation.color[0].tolist(), check.color[0].tolist(), strict=True)
for color, score, drop in rows:
    print(f"{color:6}  {score:5.2f}  {drop:18.2f}")

best = int(explanation.edge[0].argmax())
score, drop = explanation.edge[0, best].item(), check.edge[0, best].item()
print(f"{explanation.filter_labels[best]:6}  {score:5.2f}  {drop:18.2f}")

# %%
# Why this and not that?
# ----------------------
# The photo shows a cup as well. What speaks for "espresso" rather than for "coffee mug"? What speaks for both alike drops out.

espresso, mug = explanation.target[0], classifier.class_index("coffee mug")
difference = attr.explain(image, target=espresso, against=mug)
plot_contrast(
    explanation, attr.explain(image, target=mug), difference, classes=classifier.class_names, bank=bank
)

# %%
# Look at the three maps: they are nearly the same. The network looks at the same places for both classes, and finds more of an espresso there. So a map
# alone cannot say "this is where the espresso is". The page "How far to trust these scores" says what has been measured, and what not to conclude.
