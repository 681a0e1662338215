"""A batch: rows of images by columns of classes, each row on one scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drawings import explanation, faults, titles
from edgefilter.plots import plot_batch

NAMES = ["cat", "German shepherd, German police dog", "saxophone $1 $2", "owl"]


def batch(count=3, classes=2, size=(24, 24), **options):
    return [
        explanation(images=count, size=size, scale=1.0 + place, target=(place,) * count, **options)
        for place in range(classes)
    ]


@pytest.mark.parametrize("width", [None, "page", "column"])
@pytest.mark.parametrize("size", [(24, 24), (16, 60), (60, 16)])
def test_a_row_for_each_image_and_a_column_for_each_class(width, size):
    pictures = np.random.default_rng(0).random((3, *size, 3))
    figure = plot_batch(batch(classes=3, size=size), pictures, classes=NAMES, width=width, title="Three")
    assert faults(figure) == []
    assert len(figure.axes) == 3 * 4
    assert figure.get_suptitle() == "Three"


def test_maps_of_a_row_have_one_scale_and_those_of_others_their_own():
    explanations = batch(2, 2)
    for e in explanations:
        e.pixel[1] *= 50
    maps = [axes.images[0] for axes in plot_batch(explanations, smooth=0).axes]
    limits = [shown.norm.vmax for shown in maps]
    assert limits[0] == limits[1] < limits[2] == limits[3]
    for shown, (image, column) in zip(maps, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        np.testing.assert_allclose(shown.get_array(), explanations[column].pixel[image].sum(0), rtol=1e-5)
    (scale,) = plot_batch(explanations).axes[0].child_axes
    assert scale.get_xlabel().startswith("relevance of a pixel")


def test_above_each_map_stand_class_and_output():
    """By the names of the classes, by one's own, or by number; one explanation alone has the class of each image."""
    one, two = batch(1, 2)
    values = [f"{float(e.output[0]):+.2f}".replace("-", "\N{MINUS SIGN}") for e in (one, two)]
    assert [title.replace("\n", " ") for title in titles(plot_batch([one, two], classes=["cat", "dog"]))] == [
        f"cat {values[0]}", f"dog {values[1]}",
    ]  # fmt: skip
    assert titles(plot_batch({"mine": one}))[0] == f"mine {values[0]}"
    several = explanation(images=2, target=(1, 0))
    assert [title.split()[0] for title in titles(plot_batch(several, classes=["cat", "dog"]))] == [
        "dog",
        "cat",
    ]


def test_the_blur_is_said_below():
    (text,) = [text.get_text() for text in plot_batch(batch()).texts if text.get_text()]
    assert "blurred by 2 pixels, sums kept; each row on its own scale" in text.replace("\n", " ")


def test_known_inputs_are_shown():
    e = explanation(images=2, inputs=torch.rand(2, 3, 24, 24))
    figure = plot_batch(e)
    assert titles(figure)[0] == "input"
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), e.picture(0))


def test_other_batches_are_refused():
    one, two = explanation(images=2), explanation(images=3)
    with pytest.raises(
        ValueError,
        match=r"explanation must hold one image or more, the same for every class; got \[2, 3\] images\.",
    ):
        plot_batch([one, two])
    with pytest.raises(ValueError, match=r"explanation must hold one image or more"):
        plot_batch([])
    with pytest.raises(ValueError, match=r"images must be as many as were explained, 2; got 1\."):
        plot_batch(one, [np.zeros((24, 24))])
    with pytest.raises(ValueError, match="pixel=None"):
        plot_batch(explanation(pixel=False))
