"""Laws of the field's methods, measured in float64 on a small network: by how much they are missed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import captum.attr as ca
import torch
from captum.attr._utils.approximation_methods import approximation_parameters
from torch import Tensor, nn
from torch.nn import functional as F

import edgefilter as ef
from edgefilter.methods import (
    MFPP,
    GuidedNonlinearityIG,
    KernelLIME,
    LinearRegion,
    MaskSearch,
    SmoothTaylor,
    SpectralTransform2d,
    ZoomCAM,
    grid_fragments,
)

from .tables import markdown

SIDE, TARGET, STEPS, NOISE = 12, 1, 50, 0.5
Pair = tuple[Tensor, Tensor]  # what a method gives, and what it should be


def invariants() -> str:
    """Return a table: each law, the largest difference, and the largest value of what is compared."""
    rows = []
    for law in (*LAWS, *(constant(name) for name in CONSTANT)):
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")  # Captum's, about hooks and gradients that it sets
            torch.manual_seed(0)
            found, wanted = law()
        off, size = float((found - wanted).abs().max()), float(torch.cat([found, wanted]).abs().max())
        rows.append([str(law.__doc__), f"{off:.0e}" if off else "exact", f"{size:.2g}"])
    return markdown(["law", "largest difference", "largest value"], rows)


def network(*, bias: bool = True) -> nn.Sequential:
    """Return a small network with pooling that does not overlap."""
    torch.manual_seed(1)
    layers = [
        nn.Conv2d(3, 6, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, bias=bias),
    ]
    head = [nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5, bias=bias)]
    return nn.Sequential(*layers, *head).double().eval()


def images() -> Tensor:
    """Return two images."""
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).double()


# --- laws: the docstring is the line of the page --------------------------------------------------------------


def smooth_taylor() -> Pair:
    """SmoothTaylor is x times NoiseTunnel of Saliency, minus NoiseTunnel of InputXGradient."""
    net, x = network(), images()
    noise = {"target": TARGET, "nt_type": "smoothgrad", "nt_samples": 7, "stdevs": NOISE}
    halves = []
    for method, options in ((ca.Saliency, {"abs": False}), (ca.InputXGradient, {})):
        torch.manual_seed(0)
        halves.append(ca.NoiseTunnel(method(net)).attribute(x, **options, **noise))
    torch.manual_seed(0)
    drawn = torch.normal(0, torch.full((len(x) * 7, *x.shape[1:]), NOISE))
    roots = (x.repeat_interleave(7, 0) + drawn).unflatten(0, (len(x), 7)).transpose(0, 1)
    return SmoothTaylor(net).attribute(x, TARGET, roots=roots), x * halves[0] - halves[1].detach()


def hires_cam() -> Pair:
    """ZoomCAM with one layer is HiResCAM: gradient times activation, summed over channels, without what is negative."""
    net, x = network(), images()
    found = ca.LayerGradientXActivation(net, net[4]).attribute(x, TARGET).detach().sum(1, keepdim=True).relu()
    wanted = F.interpolate(found / found.amax((1, 2, 3), keepdim=True), x.shape[2:], mode="bilinear")
    return ZoomCAM(net, "4").attribute(x, TARGET), wanted


def zoom_terms() -> Pair:
    """ZoomCAM's terms add up to the logit at every layer of a ReLU network without biases."""
    net, x = network(bias=False), images()
    terms = ZoomCAM(net, ["0", "1", "2", "3", "4"]).terms(x, TARGET)
    totals = torch.stack([term.flatten(1).sum(1) for term in terms])
    return totals, net(x)[:, TARGET].detach().expand_as(totals)


def guided() -> Pair:
    """GNL-IG is guided backpropagation averaged over the path, times x, where pooling does not overlap."""
    net, x = network(), images()
    sizes, alphas = (function(STEPS) for function in approximation_parameters("gausslegendre"))
    path = ca.GuidedBackprop(net)
    terms = [
        size * path.attribute(alpha * x, TARGET)
        for size, alpha in zip(torch.tensor(sizes).float().tolist(), alphas, strict=True)
    ]
    return GuidedNonlinearityIG(net).attribute(x, target=TARGET, n_steps=STEPS), x * sum(terms)


def kernel_lime() -> Pair:
    """KernelLIME with a linear kernel and no ridge is linear regression on the same sets."""
    net, x = network(), images()[:1]
    cells = grid_fragments((SIDE, SIDE), 4)
    sets = (torch.rand(200, 16, generator=torch.Generator().manual_seed(3)) < 0.5).long()
    with torch.no_grad():
        outputs = torch.cat([net(x * kept[cells])[:, TARGET] for kept in sets])
    design = torch.cat([torch.ones(len(sets), 1), sets], 1).double()
    wanted = torch.linalg.lstsq(design, outputs[:, None]).solution[1:, 0]
    options = {"feature_mask": cells, "sampling": sets, "kernel": "linear", "ridge": 0}
    return KernelLIME(net).attribute(x, target=TARGET, return_input_shape=False, **options)[0], wanted


def linear_region() -> Pair:
    """LinearRegion: W x + b is the output at other points within the radius."""
    net, x = network(), images()
    region = LinearRegion(net).at(x)
    away = torch.randn(x.shape).double()
    away *= (0.999 * region.radius / away.flatten(1).norm(dim=1))[:, None, None, None]
    return region(x + away).detach(), net(x + away).detach()


def orthonormal() -> Pair:
    """SpectralTransform2d is orthonormal at the start, for cosines and for the Fourier basis."""
    starts = [SpectralTransform2d(SIDE, init, dtype=torch.float64).left.detach() for init in ("dct", "dft")]
    found = torch.stack([start @ start.T for start in starts])
    return found, torch.eye(SIDE).double().expand_as(found)


def internal_batches() -> Pair:
    """MFPP, MaskSearch, KernelLIME and SmoothTaylor: the same for each size of the internal batch, and image by image."""
    net, x = network(), images()
    cells = grid_fragments((SIDE, SIDE), 4)
    found = []
    for size, split in ((1, [x]), (7, x.split(1))):
        every = {"target": TARGET, "perturbations_per_eval": size}
        calls: list[Callable[[Tensor], Tensor]] = [
            lambda some, every=every: MFPP(net).attribute(some, segments=[cells], n_masks=100, **every),
            lambda some, every=every: MaskSearch(net).attribute(some, max_queries=100, **every),
            lambda some, every=every: KernelLIME(net).attribute(
                some, feature_mask=cells, n_samples=100, **every
            ),
            lambda some, size=size: SmoothTaylor(net).attribute(
                some, TARGET, n_samples=9, n_samples_batch_size=size
            ),
        ]
        found.append(torch.cat([torch.cat([call(some) for some in split]).flatten() for call in calls]))
    return found[0], found[1]


def conserved() -> Pair:
    """Ours: base and relevance add up to the output."""
    net, x = network(), images()
    said = ef.EdgeFilterAttribution(net).explain(x, TARGET)
    return said.base + said.pixel.flatten(1).sum(1), said.output


LAWS: tuple[Callable[[], Pair], ...] = (
    smooth_taylor,
    hires_cam,
    zoom_terms,
    guided,
    kernel_lime,
    linear_region,
    orthonormal,
    internal_batches,
    conserved,
)


def spread(maps: Tensor) -> Tensor:
    """Return how far a map is from flat."""
    return maps - maps.amin((1, 2, 3), keepdim=True)


def black_boxes() -> Iterator[tuple[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]]]:
    """Yield the methods that see scores alone."""
    cells = grid_fragments((SIDE, SIDE), 4)
    yield "MFPP", lambda score, x: MFPP(score).attribute(x, segments=[cells], n_masks=100)
    yield "MaskSearch", lambda score, x: spread(MaskSearch(score).attribute(x, max_queries=100))
    yield "KernelLIME", lambda score, x: KernelLIME(score).attribute(x, feature_mask=cells, n_samples=100)


CONSTANT = dict(black_boxes())


def constant(name: str) -> Callable[[], Pair]:
    """Return the law of a constant score."""

    def law() -> Pair:
        found = CONSTANT[name](lambda some: torch.full((len(some),), 0.7), images())
        return found, torch.zeros_like(found)

    law.__doc__ = (
        f"{name}: a constant score gives a map that is {'flat' if name == 'MaskSearch' else 'zero'}."
    )
    return law
