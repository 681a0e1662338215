"""Spectral transforms as layers: the transforms of SciPy and NumPy, trainable, and explained as linear layers."""

import copy
import pickle

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.methods import SpectralTransform2d

INITS = ("dct", "dft", "identity", "random")
SIZES = ((1, 1), (2, 3), (6, 9), (8, 8), (32, 7))


def maps_of(size, generator, dtype=torch.float64):
    return torch.randn(2, 3, *size, generator=generator, dtype=dtype)


# --- the start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("inverse", [False, True])
def test_both_matrices_are_orthonormal_at_the_start(init, size, inverse):
    """Rows and columns, to the rounding of float64."""
    layer = SpectralTransform2d(size, init, inverse=inverse, dtype=torch.float64)
    for matrix, side in zip((layer.left, layer.right), size, strict=True):
        for product in (matrix @ matrix.t(), matrix.t() @ matrix):
            assert_close(product.detach(), torch.eye(side, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("init", INITS)
def test_energy_is_kept_and_the_inverse_gives_the_maps_back(init, generator):
    """Parseval; random matrices have no inverse by their name, but their transposed ones."""
    maps = maps_of((6, 9), generator)
    layer, back = (SpectralTransform2d((6, 9), init, inverse=turn).double() for turn in (False, True))
    if init == "random":
        layer, back = (
            SpectralTransform2d((6, 9), init, inverse=turn, dtype=torch.float64) for turn in (False, True)
        )
        with torch.no_grad():
            back.left.copy_(layer.left.t())
            back.right.copy_(layer.right.t())
    found = layer(maps)
    assert_close(found.square().sum(), maps.square().sum(), rtol=1e-13, atol=0)
    assert_close(back(found).detach(), maps, rtol=0, atol=1e-12)
    assert_close(layer(back(maps)).detach(), maps, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_the_cosine_transform_is_that_of_scipy(size, generator):
    """Type II, orthonormal, and its inverse."""
    maps = maps_of(size, generator)
    forward, back = (SpectralTransform2d(size, inverse=turn).double()(maps) for turn in (False, True))
    for found, oracle in ((forward, scipy.fft.dctn), (back, scipy.fft.idctn)):
        want = oracle(maps.numpy(), axes=(2, 3), norm="ortho")
        np.testing.assert_allclose(found.detach().numpy(), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 9])
def test_the_fourier_rows_are_the_real_and_imaginary_parts_of_numpy(n, generator):
    """Row 2f - 1 is the cosine of frequency f, row 2f the sine, which NumPy has with the other sign."""
    signal = torch.randn(1, 1, 1, n, generator=generator, dtype=torch.float64)
    found = SpectralTransform2d((1, n), "dft").double()(signal).flatten().detach().numpy()
    spectrum = np.fft.rfft(signal.flatten().numpy(), norm="ortho")
    want = [spectrum[0].real]
    for frequency in range(1, n // 2 + 1):
        alone = 2 * frequency == n
        want += [spectrum[frequency].real * (1 if alone else np.sqrt(2))]
        want += [] if alone else [-spectrum[frequency].imag * np.sqrt(2)]
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-12)


def test_the_fourier_power_does_not_depend_on_where_the_map_is(generator):
    """The sum of a cosine and a sine squared stays, if the map is shifted around; of cosines alone it changes."""
    maps = maps_of((1, 9), generator)
    for init, stays in (("dft", True), ("dct", False)):
        layer = SpectralTransform2d((1, 9), init).double()
        one, other = (layer(given).square().detach() for given in (maps, maps.roll(2, -1)))
        power = [part[..., 1:].unflatten(-1, (4, 2)).sum(-1) for part in (one, other)]
        assert torch.allclose(*power, rtol=0, atol=1e-12) == stays


def test_a_product_written_out(generator):
    """Y = L X R^T for each channel, by loops, with matrices that are not symmetric."""
    layer = SpectralTransform2d((3, 4), "random", dtype=torch.float64)
    maps = maps_of((3, 4), generator)
    left, right, found = layer.left.detach().numpy(), layer.right.detach().numpy(), layer(maps).detach()
    for n, c in np.ndindex(2, 3):
        want = left @ maps[n, c].numpy() @ right.T
        np.testing.assert_allclose(found[n, c].numpy(), want, rtol=0, atol=1e-12)


def test_a_random_start_comes_from_the_generator_of_torch():
    """As the weights of every layer: the same seed, the same matrices; the other starts draw nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one, next_one = (SpectralTransform2d(5, "random") for _ in range(2))
        torch.manual_seed(3)
        again = SpectralTransform2d(5, "random")
        state = torch.get_rng_state()
        for init in ("dct", "dft", "identity"):
            SpectralTransform2d(5, init)
        assert torch.get_rng_state().equal(state)
    assert torch.equal(one.left, again.left)
    assert not torch.equal(one.left, next_one.left)


# --- a module of torch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["dct", "dft", "identity"])
def test_a_change_of_precision_keeps_the_transform_exact(init):
    """float32, half and back to float64 holds what a layer made in float64 holds."""
    want = SpectralTransform2d((5, 6), init, dtype=torch.float64)
    found = SpectralTransform2d((5, 6), init)
    assert found.left.dtype == torch.float32
    found = found.half().float().double()
    assert torch.equal(found.left, want.left)
    assert torch.equal(found.right, want.right)
    assert isinstance(found.left, nn.Parameter)


def test_a_change_of_precision_keeps_what_was_trained():
    """A matrix that training has changed is rounded, and never set back."""
    layer = SpectralTransform2d(4)
    with torch.no_grad():
        layer.right[0, 0] += 1
    trained = layer.right.detach().clone()
    assert torch.equal(layer.double().right.detach(), trained.double())


def test_half_precision_transforms(generator):
    """To the three digits of half."""
    maps = maps_of((8, 8), generator)
    found = SpectralTransform2d(8).half()(maps.half())
    assert found.dtype == torch.float16
    want = SpectralTransform2d(8).double()(maps)
    assert_close(found.double(), want, rtol=0, atol=2e-2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_hold_the_same(copied, generator):
    """By deepcopy and by pickle."""
    layer = SpectralTransform2d(4, "dft").double()
    with torch.no_grad():
        layer.left += 0.5
    maps = maps_of((4, 4), generator)
    assert torch.equal(copied(layer)(maps), layer(maps))


def test_a_state_dict_carries_both_matrices(generator):
    """They load into a layer of another start, and are all there is."""
    layer, other = SpectralTransform2d((4, 6), "dft"), SpectralTransform2d((4, 6))
    assert list(layer.state_dict()) == ["left", "right"]
    other.load_state_dict(layer.state_dict())
    maps = maps_of((4, 6), generator, torch.float32)
    assert torch.equal(layer(maps), other(maps))
    with pytest.raises(RuntimeError, match="size mismatch"):
        SpectralTransform2d(4).load_state_dict(layer.state_dict())


def test_a_layer_without_storage_is_filled_later():
    """On the meta device, as large models are made."""
    layer = SpectralTransform2d(4, device="meta")
    layer = layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert torch.equal(layer.left, SpectralTransform2d(4).left)


def test_one_step_changes_both_matrices_and_a_reset_brings_them_back(generator):
    """They are trainable; the start is not lost."""
    layer = SpectralTransform2d((4, 5)).double()
    start = copy.deepcopy(layer.state_dict())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(maps_of((4, 5), generator)).pow(4).mean().backward()
    optimizer.step()
    for name, matrix in layer.named_parameters():
        assert (matrix - start[name]).abs().max() > 1e-4
    layer.reset_parameters()
    for name, matrix in layer.named_parameters():
        assert torch.equal(matrix, start[name])


def test_a_network_with_the_layer_learns_a_frequency(generator):
    """Gratings of two frequencies: the loss falls to a tenth, and both matrices are part of it."""
    places = torch.arange(8.0)
    phase = torch.rand(40, 1, 1, generator=generator) * 6.28
    labels = torch.arange(40) % 2
    waves = torch.sin(2 * torch.pi * places / 8 * (2 + labels[:, None, None]) + phase)
    maps = waves.expand(-1, 8, -1)[:, None] + 0.1 * torch.randn(40, 1, 8, 8, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(SpectralTransform2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    start = copy.deepcopy(network[0].state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(maps), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert all((network[0].state_dict()[name] - start[name]).abs().max() > 0.01 for name in start)


# --- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"size": 0}, ValueError, "size must be an integer >= 1 or a pair of them; got 0"),
        ({"size": (4, 4, 4)}, ValueError, "size must be"),
        (
            {"size": 4, "init": "DCT-II"},
            ValueError,
            "init must be one of dct, dft, identity, random; got 'DCT-II'",
        ),
        (
            {"size": 4, "init": "indentity"},
            ValueError,
            "did you mean 'identity'.* Leave it out for the cosine",
        ),
        ({"size": 4, "init": None}, ValueError, "got None"),
    ],
)
def test_a_layer_that_cannot_be_made(given, error, words):
    """Is refused by the argument that does not fit."""
    with pytest.raises(error, match=words):
        SpectralTransform2d(**given)


def test_maps_of_another_size_are_refused():
    """With the size they have."""
    with pytest.raises(
        ValueError,
        match=r"maps must have shape \(N, C, 4, 6\); got \(1, 2, 6, 4\)\. Make the layer for \(6, 4\)",
    ):
        SpectralTransform2d((4, 6))(torch.zeros(1, 2, 6, 4))


# --- explained ------------------------------------------------------------------------------------------------


class Linears(nn.Module):
    """The same function, written with two nn.Linear."""

    def __init__(self, layer):
        super().__init__()
        self.across, self.down = (
            nn.Linear(len(m), len(m), bias=False).to(m.dtype) for m in (layer.right, layer.left)
        )
        with torch.no_grad():
            self.across.weight.copy_(layer.right)
            self.down.weight.copy_(layer.left)

    def forward(self, maps):
        return self.down(self.across(maps).transpose(2, 3)).transpose(2, 3)


class Products(nn.Module):
    """The same function, written with matrix products."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, maps):
        return self.layer.left @ (maps @ self.layer.right.t())


def network_of(layer, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        front = [nn.Conv2d(3, 4, 3), nn.ReLU()]
        tail = [nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 4)]
        return nn.Sequential(*front, layer, *tail).double().eval()


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("composite", [None, "epsilon_plus_flat", "epsilon_gamma", "zplus"])
@pytest.mark.filterwarnings("ignore:color scores should")
@pytest.mark.filterwarnings("ignore:relevance should stay")
def test_the_engine_explains_it_as_linear_layers(init, composite, generator):
    """Relevance is conserved, and the same as that of two nn.Linear and of two matrix products."""
    images = torch.rand(2, 3, 8, 9, generator=generator, dtype=torch.float64)
    layer = SpectralTransform2d((6, 7), init).double()
    networks = [network_of(kind) for kind in (layer, Linears(layer), Products(layer))]
    found = [ef.EdgeFilterAttribution(net, composite).explain(images, [1, 3]) for net in networks]
    for one in found:
        assert_close(one.delta, torch.zeros(2).double(), rtol=0, atol=1e-12)
        assert one.pixel.abs().sum() > 1e-3
    for other in found[1:]:
        assert_close(other.pixel, found[0].pixel, rtol=0, atol=1e-12)
        assert_close(other.color_edge, found[0].color_edge, rtol=0, atol=1e-12)


def test_the_dry_run_lists_both_products(generator):
    """Each with its rule."""
    report = ef.check(network_of(SpectralTransform2d((6, 7))), torch.rand(1, 3, 8, 9).double())
    table = report.to_dataframe()
    assert list(table["kind"]).count("TokenLinear") == 2


def test_the_rules_do_not_pass_it_by(generator):
    """Explained without the layer, the network has other relevance: the test above can fail."""
    images = torch.rand(1, 3, 8, 9, generator=generator, dtype=torch.float64)
    one, other = (
        ef.EdgeFilterAttribution(network_of(layer)).explain(images, 1).pixel
        for layer in (SpectralTransform2d((6, 7)).double(), nn.Identity())
    )
    assert (one - other).abs().max() > 1e-4
