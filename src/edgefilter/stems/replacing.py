"""Replace the first convolution of a model by a bank with a mixing, and fold it back."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from edgefilter._checks import closest
from edgefilter.banks.bank import FilterBank
from edgefilter.banks.presets import complete_bank

from .finding import check_module, find_stem, submodule
from .layers import EdgeFilterBank2d, EdgeFilterConv2d, as_bank, copy_bias
from .padding import Padding, convolution
from .reading import tensors_in
from .support import TOLERANCE, fitted, lost_share

__all__ = ["fold_stem", "replace_stem"]

Module = TypeVar("Module", bound=nn.Module)

INITS = ("exact", "project", "random")

WEIGHT_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)
HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_is_full_backward_hook",
)


def replace_stem(
    model: nn.Module,
    bank: FilterBank | str | None = None,
    *,
    stem: str | None = None,
    init: Literal["exact", "project", "random"] = "exact",
    inputs: Tensor | tuple[Any, ...] | None = None,
) -> nn.Module:
    """Return a copy of a model whose first convolution is a bank of edge filters followed by a mixing.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    bank : FilterBank or str, optional
        Kernels to express the stem with; smaller kernels are centred in the stem's support. Default: the complete
        bank of the stem's size.
    stem : str, optional
        Path of the convolution. Default: :func:`find_stem`.
    init : {"exact", "project", "random"}, default: "exact"
        ``"exact"``: same outputs, an error if the bank cannot give them. ``"project"``: the nearest weights in
        least squares; what is lost stands in the layer's ``lost_energy``. ``"random"``: PyTorch's initialisation of
        the mixing, for training from scratch.
    inputs : Tensor or tuple, optional
        Arguments to run the model with, to find the stem; as in :func:`find_stem`.

    Returns
    -------
    model : nn.Module
        With an :class:`EdgeFilterConv2d` in the stem's place; dtype, device, hooks, training and
        ``requires_grad`` flags as before. Weights that are computed (``weight_norm``) are ordinary ones in the stem.

    Raises
    ------
    TypeError, ValueError
        If the stem is not a ``Conv2d`` with ``groups=1`` and finite floating-point weights, computes or pads in a
        way of its own that is not known, is smaller than the bank, is an edge-filter layer already, or cannot be
        expressed exactly.
    KeyError
        If ``bank`` or ``stem`` names nothing.

    Examples
    --------
    >>> import torchvision
    >>> model = replace_stem(torchvision.models.resnet18())
    >>> model.conv1.bank
    FilterBank('complete_sobel_7x7', 49 kernels of 7x7: dx0_dy0, dx1_dy0, dx0_dy1, dx2_dy0, dx1_dy1, ...)
    """
    check_module(model)
    if init not in INITS:
        raise ValueError(f"init must be one of {', '.join(INITS)}; got {init!r}{closest(init, INITS)}")
    path = find_stem(model, inputs) if stem is None else stem
    conv = _convolution(model, path)
    chosen = complete_bank(_two(conv.kernel_size)) if bank is None else as_bank(bank)
    keeps_weights = init != "random"  # which new layers draw nevertheless
    with torch.random.fork_rng(devices=(), enabled=keeps_weights):
        layer = _express(_at_rest(conv), fitted(chosen, _two(conv.kernel_size), path), init, path)
    return _with_module(model, path, layer.train(conv.training))


def fold_stem(model: nn.Module) -> nn.Module:
    """Return a copy of a model in which every edge-filter layer is one ordinary convolution again.

    Parameters
    ----------
    model : nn.Module
        A model with at least one :class:`EdgeFilterConv2d`; left as it is.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> conv = nn.Conv2d(3, 8, 3)
    >>> folded = fold_stem(replace_stem(conv))
    >>> torch.allclose(folded.weight, conv.weight, atol=1e-6)
    True
    """
    check_module(model)
    paths = [path for path, module in model.named_modules() if isinstance(module, EdgeFilterConv2d)]
    if not paths:
        raise ValueError(
            f"model must hold an EdgeFilterConv2d; got {type(model).__name__} without one. "
            "There is nothing to fold: replace_stem(model) puts one in."
        )
    for path in paths:
        layer = model.get_submodule(path)
        assert isinstance(layer, EdgeFilterConv2d)
        model = _with_module(model, path, layer.fold())
    return model


def _convolution(model: nn.Module, path: str) -> nn.Conv2d:
    module = submodule(model, path, "stem")
    if isinstance(module, (EdgeFilterConv2d, EdgeFilterBank2d)):
        raise ValueError(
            f"stem {path!r} must be an ordinary convolution; got an edge-filter layer. "
            "The model can be explained as it is; fold_stem(model) undoes a replacement."
        )
    if not isinstance(module, nn.Conv2d):
        kind = f"{type(module).__name__} ({type(module).__module__})"
        raise TypeError(
            f"stem {path!r} must be a Conv2d of torch.nn; got {kind}. Name another layer with stem=..."
        )
    if module.groups != 1:
        raise ValueError(
            f"stem {path!r} must be a Conv2d with groups=1; got groups={module.groups}. "
            "Name another layer with stem=..."
        )
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        raise ValueError(
            f"stem {path!r} must have its weights; got an uninitialized {type(module).__name__}. "
            "Run the model once on a batch."
        )
    return module


def _at_rest(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a copy in evaluation mode whose weights, where they are computed, are up to date."""
    twin = _copied(conv, {}).eval()
    for hook in _weight_hooks(twin).values():
        hook(twin, None)
    return twin


def _weight_hooks(module: nn.Module) -> dict[int, Callable[..., object]]:
    """Return the hooks that compute the weights before a call, by their keys."""
    hooks: dict[int, Callable[..., object]] = vars(module)["_forward_pre_hooks"]
    return {key: hook for key, hook in hooks.items() if isinstance(hook, WEIGHT_HOOKS)}


def _express(conv: nn.Conv2d, bank: FilterBank, init: str, path: str) -> EdgeFilterConv2d:
    """Build the layer that takes the place of a convolution."""
    if not conv.weight.is_floating_point():
        raise TypeError(
            f"stem {path!r} must have floating-point weights; got {conv.weight.dtype}. Convert the model first."
        )
    layer = EdgeFilterConv2d(
        conv.in_channels,
        conv.out_channels,
        bank,
        _two(conv.stride),
        _padding_of(conv, path),
        _two(conv.dilation),
        conv.bias is not None,
        conv.padding_mode,
    ).to(conv.weight.device, conv.weight.dtype)
    if init != "random":
        _initialise(layer, conv, init, path)
    layer.mixing.weight.requires_grad_(conv.weight.requires_grad)
    if layer.mixing.bias is not None and conv.bias is not None:
        layer.mixing.bias.requires_grad_(conv.bias.requires_grad)
    return layer


def _initialise(layer: EdgeFilterConv2d, conv: nn.Conv2d, init: str, path: str) -> None:
    weight = _values(conv, path)
    coefficients, layer.lost_energy, worst = lost_share(weight, layer.bank)
    if init == "exact" and worst > TOLERANCE:
        raise ValueError(
            f"bank {layer.bank.name!r} spans {layer.bank.rank} of the {weight[0, 0].numel()} dimensions of stem "
            f"{path!r}, so init='exact' would change the output (worst weight error {worst:.2g} of the largest "
            "weight). Use complete_bank(...) or bank=None for the same output, or init='project' for the nearest one."
        )
    with torch.no_grad():
        layer.mixing.weight.copy_(coefficients.flatten(1)[:, :, None, None])
    copy_bias(conv, layer.mixing)


def _values(conv: nn.Conv2d, path: str) -> Tensor:
    """Return the weights of a convolution in float64 on the CPU."""
    if conv.weight.is_meta:
        raise ValueError(
            f"stem {path!r} must hold values; got weights on the meta device. "
            "Load the weights first, or use init='random'."
        )
    weight = conv.weight.detach().cpu().double()
    if not weight.isfinite().all():
        raise ValueError(
            f"stem {path!r} must have finite weights; got NaN or infinite ones. Load the weights again."
        )
    return weight


def _padding_of(conv: nn.Conv2d, path: str) -> Padding:
    """Say how a convolution pads, also a subclass that does it in a way of its own."""
    names = ("forward", "_conv_forward")
    if all(
        name not in vars(conv) and getattr(type(conv), name) is getattr(nn.Conv2d, name) for name in names
    ):
        return _declared(conv)
    static = (child.padding for child in conv.children() if isinstance(child, nn.ZeroPad2d))
    candidates: tuple[Padding, ...] = (_declared(conv), *static, "same")
    cause = None
    try:
        for padding in candidates:
            if _pads_like(conv, padding):
                return padding
    except Exception as error:  # noqa: BLE001 - whatever a forward of unknown make raises
        cause = error
    raise ValueError(
        f"stem {path!r} must compute and pad as nn.Conv2d does, by a ZeroPad2d of its own or to 'same' size; got "
        f"{type(conv).__name__}, which gives another output. Replace it by an nn.Conv2d first."
    ) from cause


def _declared(conv: nn.Conv2d) -> Padding:
    return conv.padding  # type: ignore[return-value]


def _pads_like(conv: nn.Conv2d, padding: Padding) -> bool:
    """Compare a convolution with a plain one padded so, on images of odd and even size, dim and bright."""
    twin = copy.deepcopy(conv).cpu().double()
    plain = convolution(
        (conv.in_channels, conv.out_channels),
        _two(conv.kernel_size),
        _two(conv.stride),
        padding,
        _two(conv.dilation),
        conv.padding_mode,
        bias=conv.bias is not None,
    ).double()
    generator = torch.Generator().manual_seed(0)
    reach = [d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    with torch.no_grad():
        plain.weight.copy_(twin.weight)
        copy_bias(twin, plain)
        for extra in itertools.product(range(4), repeat=2):
            size = (2, conv.in_channels, *(2 * r + e for r, e in zip(reach, extra, strict=True)))
            images = 1000.0 ** (extra[0] - 1) * torch.randn(size, generator=generator, dtype=torch.float64)
            expected, got = twin.forward(images), plain(images)
            scale = float(got.abs().max())
            if expected.shape != got.shape or not torch.allclose(expected, got, rtol=0, atol=1e-9 * scale):
                return False
    return True


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    height, width = values
    return height, width


def _with_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Return a deep copy of a model with one module exchanged, wherever it is registered, its hooks kept."""
    old = model.get_submodule(path)
    for name in HOOKS:
        setattr(module, name, copy.copy(getattr(old, name)))
    for key in _weight_hooks(module):
        del vars(module)["_forward_pre_hooks"][key]
    return _copied(model, {id(old): module})


def _copied(model: Module, memo: dict[int, object]) -> Module:
    """Copy deeply, also where results with a gradient are kept, which deepcopy alone refuses."""
    for module in model.modules():
        kept = {
            name: value for name, value in vars(module).items() if name not in ("_parameters", "_modules")
        }
        memo |= {id(value): value.detach().clone() for value in tensors_in(kept) if value.grad_fn is not None}
    return copy.deepcopy(model, memo)
