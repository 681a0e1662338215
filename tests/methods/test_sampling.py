"""Connected sets of features, and independent ones."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from edgefilter.methods.sampling import adjacency, connected_sets, independent_sets

GRID = torch.arange(12).reshape(1, 3, 4).repeat_interleave(2, 1).repeat_interleave(3, 2)  # 3 x 4 fragments


def random_labels(seed, size=9, features=7):
    noise = torch.Generator().manual_seed(seed)
    return torch.randint(features, (2, size, size), generator=noise)


@pytest.mark.parametrize("labels", [GRID, random_labels(0, 4), random_labels(1, 3, 15).clamp(max=8)])
def test_neighbors_are_those_of_a_slow_loop(labels):
    """Side by side, above each other, and in neighboring channels."""
    labels = torch.unique(labels, return_inverse=True)[1]
    count = int(labels.max()) + 1
    wanted = np.zeros((count, count), bool)
    channels, rows, columns = labels.shape
    for c in range(channels):
        for y in range(rows):
            for x in range(columns):
                for other in ((c + 1, y, x), (c, y + 1, x), (c, y, x + 1)):
                    if all(o < s for o, s in zip(other, labels.shape, strict=True)):
                        one, two = int(labels[c, y, x]), int(labels[other])
                        if one != two:
                            wanted[one, two] = wanted[two, one] = True
    found = adjacency(labels)
    assert (found.numpy() == wanted).all()
    assert found.equal(found.T)
    assert not found.diagonal().any()


def test_corners_do_not_touch():
    """Four neighbors, not eight."""
    found = adjacency(torch.tensor([[[0, 1], [2, 3]]]))
    assert not found[0, 3]
    assert not found[1, 2]
    assert found[0, 1]


@pytest.mark.parametrize("seed", range(3))
def test_sets_hang_together(seed):
    """SciPy finds one component in each."""
    touching = adjacency(GRID)
    sets = connected_sets(touching, 300, torch.Generator().manual_seed(seed))
    for one in sets:
        chosen = one.nonzero().flatten()
        parts, _ = connected_components(touching[chosen][:, chosen].numpy(), directed=False)
        assert parts == 1


def test_independent_sets_do_not_hang_together():
    """The test above can fail."""
    touching = adjacency(GRID)
    sets = independent_sets(12, 100, torch.Generator().manual_seed(0))
    parts = [
        connected_components(touching[one][:, one].numpy(), directed=False)[0] for one in sets if one.any()
    ]
    assert max(parts) > 1


def test_sizes_are_drawn_evenly():
    """Each from 1 to all features, within four standard errors."""
    count = 6000
    sizes = connected_sets(adjacency(GRID), count, torch.Generator().manual_seed(0)).sum(1)
    found = torch.bincount(sizes, minlength=13).double() / count
    assert found[0] == 0
    error = (1 / 12 * 11 / 12 / count) ** 0.5
    assert bool(((found[1:] - 1 / 12).abs() < 4 * error).all())


def test_each_neighbor_is_as_likely():
    """From one end of a star, the middle; from the middle, any end."""
    star = torch.zeros(5, 5, dtype=torch.bool)
    star[0, 1:] = star[1:, 0] = True
    sets = connected_sets(star, 20000, torch.Generator().manual_seed(0))
    pairs = sets[sets.sum(1) == 2]
    assert bool(pairs[:, 0].all())
    shares = pairs[:, 1:].double().mean(0)
    assert bool(((shares - 0.25).abs() < 4 * (0.25 * 0.75 / len(pairs)) ** 0.5).all())


def test_independent_sets_hold_half_of_the_features():
    """Within four standard errors, and not two features together more often."""
    sets = independent_sets(6, 5000, torch.Generator().manual_seed(0)).double()
    assert bool(((sets.mean(0) - 0.5).abs() < 4 * 0.5 / 5000**0.5).all())
    covariance = torch.cov(sets.T) - 0.25 * torch.eye(6)
    assert covariance.abs().max() < 0.02


def test_sets_come_from_the_generator_alone():
    """The global random state is left alone."""
    state = torch.random.get_rng_state()
    first = connected_sets(adjacency(GRID), 20, torch.Generator().manual_seed(3))
    assert connected_sets(adjacency(GRID), 20, torch.Generator().manual_seed(3)).equal(first)
    assert torch.random.get_rng_state().equal(state)
