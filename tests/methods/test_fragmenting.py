"""Fragments of images: superpixels at several scales, and grids."""

import sys

import numpy as np
import pytest
import torch
from skimage.segmentation import slic

from edgefilter.methods.fragmenting import as_label_maps, fragments, grid_fragments
from edgefilter.photos import demo_photo


@pytest.fixture(scope="module")
def photo():
    """A small photo, (3, 60, 90), from 0 to 1."""
    pixels = np.asarray(demo_photo().resize((90, 60)), dtype=np.float64) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


# --- superpixels ----------------------------------------------------------------------------------------------


def test_superpixels_of_a_photo_are_those_of_scikit_image(photo):
    """With the settings that are published, at each scale that the size allows: 9 pixels or more."""
    levels = fragments(photo)
    assert len(levels) == 4  # 5400 pixels: 800 superpixels would have fewer than 9
    for level, count in zip(levels, (50, 100, 200, 400), strict=True):
        wanted = slic(photo.permute(1, 2, 0).numpy(), count, compactness=10, sigma=1, start_label=0)
        assert level.dtype == torch.int64
        assert np.array_equal(level.numpy(), wanted)


def test_noise_is_cut_into_about_as_many():
    """SLIC leaves two of fifty with the published compactness; a compactness that is given is kept."""
    noise = torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0))
    (published,) = fragments(noise, [50], compactness=10.0)
    assert published.max() < 10
    assert all(25 <= level.max() + 1 <= 60 for level in fragments(noise[None], [50]))


def test_all_five_levels_at_the_size_of_photos():
    """224 x 224 pixels, as published."""
    assert len(fragments(torch.rand(3, 224, 224, generator=torch.Generator().manual_seed(0)))) == 5


@pytest.mark.parametrize("scale", [255, -4, 0.01])
def test_the_range_of_an_image_does_not_matter(photo, scale):
    """Nor where it starts; an image that is turned over has another lightness, and other fragments."""
    plain, changed = fragments(photo, [100])[0], fragments(photo * scale + 3, [100])[0]
    share = float((plain == changed).double().mean())
    assert (share > 0.999) == (scale > 0)


def test_gray_is_the_photo_with_equal_colors(photo):
    """In each way to write it."""
    gray = photo.mean(0)
    wanted = fragments(gray.expand(3, -1, -1))
    for given in (gray, gray[None]):
        assert all(torch.equal(a, b) for a, b in zip(fragments(given), wanted, strict=True))


@pytest.mark.parametrize("channels", [2, 4, 13])
def test_superpixels_of_many_channels_follow_an_edge_in_one(channels):
    """Or in all; and equal channels are one channel."""
    image = torch.rand(channels, 40, 40, generator=torch.Generator().manual_seed(0)).double() * 0.02
    image[-1, :, 17:] += 1
    labels = fragments(image, [50], sigma=0)[0]
    assert not set(labels[:, :17].unique().tolist()) & set(labels[:, 17:].unique().tolist())
    one = torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(1)).double()
    equal = [fragments(one.repeat(count, 1, 1), [50])[0] for count in (2, channels)]
    assert float((equal[0] == equal[1]).double().mean()) > 0.999


@pytest.mark.parametrize(("size", "least"), [((28, 28), 30), ((8, 8), 4), ((3, 3), 1), ((1, 1), 1)])
def test_small_images_have_one_level(size, least):
    """With fragments of some 9 pixels."""
    (labels,) = fragments(torch.rand(1, *size, generator=torch.Generator().manual_seed(0)))
    assert labels.shape == size
    assert int(labels.max()) + 1 >= least


def test_a_batch_has_the_label_maps_of_its_images(photo):
    """One by one, stacked; a constant image has fragments as well."""
    batch = torch.stack([photo, photo.flip(2), torch.ones_like(photo)])
    for level, count in zip(fragments(batch, (50, 100)), (50, 100), strict=True):
        assert level.shape == (3, 60, 90)
        for labels, image in zip(level, batch, strict=True):
            assert torch.equal(labels, fragments(image, [count])[0])


def test_without_scikit_image_the_message_says_what_to_do(monkeypatch, photo):
    """Install it, or pass labels."""
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ImportError, match=r"pip install scikit-image. Or pass label maps .*grid_fragments"):
        fragments(photo)


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (np.ones((3, 4, 4)), {}, "image must be a Tensor of shape .* got ndarray"),
        (torch.ones(5), {}, r"got \(5,\)"),
        (torch.full((1, 8, 8), float("nan")), {}, "image must be finite"),
        (torch.ones(1, 8, 8), {"n_segments": []}, "n_segments must hold at least one number"),
        (torch.ones(1, 8, 8), {"n_segments": [0]}, "n_segments must be a whole number of at least 1; got 0"),
    ],
)
def test_other_images_are_refused(image, options, words):
    """By what they are."""
    with pytest.raises(ValueError, match=words):
        fragments(image, **options)


# --- grids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "cells"), [(12, 3), ((10, 7), (4, 3)), ((5, 5), 5), ((4, 9), 1)])
def test_a_grid_is_a_slow_loop(size, cells):
    """Each pixel is in the cell that its center is in."""
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = (cells, cells) if isinstance(cells, int) else cells
    found = grid_fragments(size, cells)
    for i in range(height):
        for j in range(width):
            assert int(found[i, j]) == int((i + 0.5) * rows / height) * columns + int(
                (j + 0.5) * columns / width
            )
    assert found.unique().tolist() == list(range(rows * columns))


def test_a_shifted_grid_is_cut_out_of_a_larger_one():
    """As RISE cuts its masks out of larger ones."""
    larger = grid_fragments(20, 5)
    for down, right in ((0, 0), (1, 0), (3, 2)):
        shifted = grid_fragments(16, 4, shift=(down, right))
        cut = larger[down : down + 16, right : right + 16]
        assert torch.equal(
            as_label_maps(shifted, torch.ones(1, 1, 16, 16))[0],
            as_label_maps(cut, torch.ones(1, 1, 16, 16))[0],
        )


def test_a_grid_has_no_more_cells_than_pixels():
    """Along each side."""
    with pytest.raises(
        ValueError, match=r"cells must be at most as many as the pixels of a side, \(4, 8\); got \(5, 5\)"
    ):
        grid_fragments((4, 8), 5)


# --- label maps that are given --------------------------------------------------------------------------------


def test_labels_are_counted_as_they_appear():
    """Whatever they are."""
    images = torch.ones(2, 3, 2, 3)
    (found,) = as_label_maps([[[7, 7, -3], [99, -3, 7]]], images)
    assert found.tolist() == [[[0, 0, 1], [2, 1, 0]]]


def test_all_forms_of_label_maps():
    """One level or several, tensors or arrays, for all images or for each, and Captum's feature masks."""
    images = torch.ones(2, 3, 4, 4)
    shared = grid_fragments(4, 2)
    each = torch.stack([shared, grid_fragments(4, 4)])
    for given, count in (
        (shared, 1),
        ([shared], 1),
        (shared.numpy().astype(np.int32), 1),
        (each, 2),
        (shared[None, None], 1),
        (each[:, None], 2),
    ):
        (found,) = as_label_maps(given, images)
        assert torch.equal(found, each[:count])
    assert [len(level) for level in as_label_maps((shared, each), images)] == [1, 2]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([], ValueError, "segments must hold at least one label map"),
        (torch.rand(4, 4), TypeError, "segments must hold whole numbers, one label per pixel; got torch.float32"),
        (torch.ones(4, 5).long(), ValueError, r"shape \(4, 4\) or \(2, 4, 4\), one per level; got \(4, 5\)"),
        (torch.ones(3, 4, 4).long(), ValueError, "pass the levels as a list"),
        (torch.ones(3, 1, 4, 5).long(), ValueError, r"got \(3, 1, 4, 5\)"),
        ([50, 100], ValueError, r"got \(\). Label .* fragments\(image, \[50, 100\]\)"),
    ],
)  # fmt: skip
def test_other_label_maps_are_refused(given, error, words):
    """With the shape that fits."""
    with pytest.raises(error, match=words):
        as_label_maps(given, torch.ones(2, 3, 4, 4))
