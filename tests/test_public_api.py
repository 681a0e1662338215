"""The public names and how they are called: a change here is a change for every user, so it is made on purpose.

A name that goes needs a deprecation first; a new one is added to the list below and to docs/reference.md.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import edgefilter as ef

NAMES = [
    "CausalCheck",
    "ClassProfile",
    "ColorBasis",
    "Comparison",
    "EdgeFilterAttribution",
    "EdgeFilterBank2d",
    "EdgeFilterConv2d",
    "EdgeFilterShapley",
    "Explanation",
    "FilterBank",
    "Kernel",
    "LayerEdgeFilterAttribution",
    "Report",
    "ShapleyValues",
    "UnsupportedModelError",
    "bank_names",
    "causal_check",
    "check",
    "color_mask",
    "compare",
    "complete_bank",
    "composite_names",
    "filter_mask",
    "find_stem",
    "fold_stem",
    "get_bank",
    "get_composite",
    "get_kernel",
    "kernel_names",
    "models",
    "replace_stem",
    "split",
]
SIGNATURES = {
    "kernel_names": "()",
    "get_kernel": "(name)",
    "bank_names": "()",
    "get_bank": "(name, **options)",
    "complete_bank": "(size, family=None)",
    "composite_names": "()",
    "get_composite": "(name, *, attention='constant', **options)",
    "find_stem": "(model, inputs=None)",
    "replace_stem": "(model, bank=None, *, stem=None, init='exact', inputs=None)",
    "fold_stem": "(model)",
    "split": "(model)",
    "check": "(model, inputs, target=None, *, against=None, composite=None, bank=None, layer=None)",
    "Report.to_dataframe": "(self)",
    "causal_check": "(attribution, inputs, explanation=None, additional_forward_args=None, *, target=None, against=None, show_progress=False)",
    "compare": "(model, inputs, targets=None, methods=None, metrics=None, *, against=None, steps=12, samples=10, seed=0, progress=True)",
    "Comparison": "(pixel, parts, maps, images, targets, values, failures, settings)",
    "Comparison.plot": "(self, pictures=None, *, images=4, ax=None, title=None, width=None, dpi=150)",
    "Comparison.save": "(self, folder, *, overwrite=False)",
    "Comparison.to_dict": "(self)",
    "Comparison.to_html": "(self, path, pictures=None, *, class_names=None, title=None, overwrite=False)",
    "FilterBank": "(kernels, size=None, normalize=None, name=None)",
    "FilterBank.groups": "(self, kind)",
    "FilterBank.index": "(self, name)",
    "FilterBank.project": "(self, weight)",
    "Kernel": "(name, weight, family='custom', source='', aliases=(), notes='', order=None, direction=None, wavelength=None)",
    "EdgeFilterBank2d": "(bank, in_channels, stride=1, padding=0, dilation=1, padding_mode='zeros')",
    "EdgeFilterConv2d": (
        "(in_channels, out_channels, bank, stride=1, padding=0, dilation=1, bias=True, padding_mode='zeros')"
    ),
    "EdgeFilterConv2d.fold": "(self)",
    "EdgeFilterAttribution": "(model, composite=None, *, bank=None, colors=None, basis=None, calibrate=True, layer=None, channels=None)",
    "EdgeFilterAttribution.attribute": "(self, inputs, target=None, additional_forward_args=None, return_convergence_delta=False, *, against=None, score='pixel', internal_batch_size=None)",
    "EdgeFilterAttribution.explain": "(self, inputs, target=None, additional_forward_args=None, *, against=None, internal_batch_size=None, show_progress=False)",
    "EdgeFilterAttribution.has_convergence_delta": "(self)",
    "EdgeFilterAttribution.compute_convergence_delta": "(self, attributions, output, base=None)",
    "EdgeFilterAttribution.silence": "(self, inputs, target=None, additional_forward_args=None, *, against=None, colors=(), filters=())",
    "EdgeFilterAttribution.at_bank": "(self, inputs, target=None, additional_forward_args=None, *, against=None, of_input=False, internal_batch_size=None)",
    "LayerEdgeFilterAttribution": "(model, layer=None, composite=None, *, bank=None, device_ids=None)",
    "LayerEdgeFilterAttribution.attribute": "(self, inputs, target=None, additional_forward_args=None, attribute_to_layer_input=False, *, against=None, internal_batch_size=None)",
    "EdgeFilterShapley": "(model, players='color', *, bank=None, colors=None, basis=None, channels=None, layer=None)",
    "EdgeFilterShapley.attribute": "(self, inputs, target=None, additional_forward_args=None, *, against=None, n_permutations=None, seed=0, internal_batch_size=None, show_progress=False)",
    "EdgeFilterShapley.explain": "(self, inputs, target=None, additional_forward_args=None, *, against=None, n_permutations=None, seed=0, internal_batch_size=None, show_progress=False)",
    "Explanation": "(response, pixel, output, target, colors, filters, filter_labels=(), base=<factory>, left_out='', groups=<factory>, against=(), effects=None, errors=None, interactions=None, filter_effects=None, about=<factory>, window=None, channels=(), members=<factory>, inputs=None, readings=None)",
    "ClassProfile": (
        "(num_classes, colors, filters, *, class_names=None, filter_labels=None, pixel_size=None, **kwargs)"
    ),
    "ClassProfile.update": "(self, explanation, labels)",
    "ClassProfile.compute": "(self)",
    "ClassProfile.values": "(self)",
    "ClassProfile.merge": "(self, other)",
    "ClassProfile.top": "(self, which, k=3, score='edge', *, by='value')",
    "ClassProfile.contrast": "(self, a, b, score='edge', *, confidence=0.95)",
    "ClassProfile.to_dataframe": "(self)",
    "ClassProfile.to_html": "(self, path, *, title=None, overwrite=False)",
    "ClassProfile.save": "(self, path, *, overwrite=False)",
    "ClassProfile.load": "(path, **kwargs)",
    "ClassProfile.plot": "(self, val=None, ax=None, *, classes=None, filters=8, title=None, width=None, dpi=150)",
    "color_mask": "(layer, *, of='responses', colors=None)",
    "filter_mask": "(layer)",
    "Explanation.from_responses": (
        "(attributions, layer, inputs=None, *, output=None, target=None, colors=None, channels=None)"
    ),
    "Explanation.pixel_map": "(self, name)",
    "ColorBasis": "(names, matrix, *, mean=None, std=None, name='custom')",
    "ColorBasis.named": "(name)",
    "ColorBasis.normalized": "(self, mean, std)",
    "Explanation.edge_map": "(self, name)",
    "Explanation.color_map": "(self, name)",
    "Explanation.group": "(self, kind)",
    "Explanation.region": "(self, label_map)",
    "Explanation.map": "(self, kind='positive', *, smooth=None, normalize=False)",
    "Explanation.top": "(self, k=3, score='edge', by='value')",
    "Explanation.normalized": "(self)",
    "Explanation.to_dict": "(self)",
    "Explanation.to_dataframe": "(self)",
    "Explanation.to_html": "(self, path, image=None, *, class_names=None, bank=None, title=None, overwrite=False)",
    "Explanation.save": "(self, path, *, overwrite=False)",
    "Explanation.load": "(path)",
    "models.names": "()",
    "models.load": "(name)",
    "models.edge_cnn": (
        "(num_classes, in_channels, bank='edges', *, mixing=False, signs='split', widths=(32, 32, 48, 64))"
    ),
    "models.edge_resnet18": "(num_classes=1000, in_channels=3, bank='edges', *, mixing=False, signs='split')",
    "models.edge_resnet50": "(num_classes=1000, in_channels=3, bank='edges', *, mixing=False, signs='split')",
    "models.read": "(path)",
    "models.write": "(network, path, settings, class_names, preprocess)",
    "Explanation.plot": "(self, image=None, *, ax=None, top=3, title=None, bank=None, classes=None, smooth=None, dpi=150, width=None, "
    "caption=True)",
}
ATTRIBUTES = {
    "FilterBank": ["names", "labels", "families", "orders", "size", "weight", "rank", "is_complete"],
    "Kernel": ["name", "weight", "family", "source", "direction", "wavelength"],
    "Explanation": [
        *("color", "edge", "color_edge", "pixel", "response", "output", "target", "delta", "total"),
        *(
            "colors",
            "channels",
            "members",
            "filters",
            "filter_labels",
            "conserved_share",
            "base",
            "left_out",
            "groups",
        ),
        *("against", "effects", "errors", "interactions"),
    ],
    "EdgeFilterAttribution": ["multiplies_by_inputs"],
    "LayerEdgeFilterAttribution": ["layer", "multiplies_by_inputs"],
    "Comparison": ["pixel", "parts", "maps", "images", "targets", "values", "failures", "settings"],
    "Report": [
        "model",
        "operations",
        "explained",
        "conserved",
        "conserved_share",
        "supported",
        "unsupported",
    ],
}
DOCUMENTED = [name for name in NAMES if not name.endswith("Error")]


def lookup(path: str) -> object:
    """Return a public object by its path, such as ``"Explanation.top"``."""
    value: object = ef
    for part in path.split("."):
        value = getattr(value, part)
    return value


def signature(function: object) -> str:
    """Return names, kinds and defaults of the parameters, without annotations."""
    plain = inspect.signature(function)  # type: ignore[arg-type]
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in plain.parameters.values()]
    return str(plain.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def known_members(cls: type) -> set[str]:
    """Name the methods, properties and fields of a class."""
    annotated = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", {})}
    return annotated | set(dir(cls))


def test_the_public_names_are_those_of_the_list():
    """Neither more nor fewer, and in order."""
    assert ef.__all__ == NAMES
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_public_signature_is_that_of_the_list(path):
    """Names, order, kinds and defaults of the parameters."""
    assert signature(lookup(path)) == SIGNATURES[path]


def test_the_signature_check_can_fail():
    """A renamed parameter, another kind and another default each show."""
    expected = signature(lambda name, *, k=3: None)
    assert expected == "(name, *, k=3)"
    for changed in (lambda title, *, k=3: None, lambda name, k=3: None, lambda name, *, k=4: None):
        assert signature(changed) != expected


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_class_has_its_attributes(name):
    """Properties and fields that users read."""
    assert set(ATTRIBUTES[name]) - known_members(getattr(ef, name)) == set()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_object_says_how_to_use_it(name):
    """The docstring has parameters or an example."""
    text = inspect.getdoc(getattr(ef, name)) or ""
    assert re.search(r"^(Parameters|Attributes|Examples)\n-+$", text, re.MULTILINE), text


@pytest.mark.parametrize("path", SIGNATURES)
def test_a_public_method_has_a_docstring(path):
    """One of its own, not one that it inherits."""
    assert lookup(path).__doc__


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_stands_in_the_reference(name):
    """The page docs/reference.md lists all."""
    page = Path(__file__).parent.parent / "docs" / "reference.md"
    assert re.search(rf"^\s*{name}$", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_version_is_that_of_the_package():
    """One version, in one place."""
    from importlib.metadata import version

    assert ef.__version__ == version("edgefilter")
