"""Which values of an image belong together."""

import numpy as np
import pytest
import torch

from edgefilter.methods.feature_masks import feature_masks

IMAGES = torch.zeros(2, 3, 2, 3)
LABELS = torch.tensor([[0, 0, 2], [5, 2, 2]])


@pytest.mark.parametrize(
    "given", [LABELS, LABELS.int(), LABELS.numpy(), LABELS + 7, LABELS[None, None], (LABELS,)]
)
def test_labels_are_numbered_without_gaps(given):
    """Columns say what they were called, from the lowest label on."""
    (mask,) = feature_masks(given, IMAGES)
    assert mask.labels.tolist() == [[[0, 0, 1], [2, 1, 1]]]
    assert mask.columns.tolist() == [0, 2, 5]


def test_masks_may_differ_by_image_and_by_channel():
    """As Captum's."""
    each = torch.stack([LABELS, LABELS.flip(1) + 1])[:, None]
    one, other = feature_masks(each, IMAGES)
    assert one.columns.tolist() == [0, 2, 5]
    assert other.columns.tolist() == [1, 3, 6]
    channels = torch.arange(3).reshape(1, 3, 1, 1).expand(1, 3, 2, 3)
    (mask,) = feature_masks(channels, IMAGES)
    assert mask.labels.shape == (3, 2, 3)
    assert mask.columns.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (LABELS.float(), TypeError, r"got torch.float32\. Pass feature_mask.long"),
        (LABELS > 1, TypeError, "got torch.bool"),
        (np.zeros((2, 3)), TypeError, "got torch.float64"),
        (LABELS.T, ValueError, r"must have shape \(2, 3\), or \(2 or 1, 3 or 1, 2, 3\); got \(1, 1, 3, 2\)"),
        (LABELS[None], ValueError, r"got \(1, 2, 3\)"),
        (LABELS.expand(3, 1, 2, 3), ValueError, r"got \(3, 1, 2, 3\)"),
        (torch.zeros(2, 3).long(), ValueError, "two features or more; got 1"),
    ],
)
def test_wrong_masks_are_refused(given, error, words):
    """With what fits."""
    with pytest.raises(error, match=words):
        feature_masks(given, IMAGES)
