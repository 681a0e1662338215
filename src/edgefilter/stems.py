"""Find, replace, fold and split off the first convolution of a model."""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ._checks import UnknownNameError, closest
from .banks import FilterBank, complete_bank
from .layers import EdgeFilterBank2d, EdgeFilterConv2d, Padding, as_bank, convolution, copy_bias
from .tracing import UntraceableModelError, trace

__all__ = ["find_stem", "fold_stem", "replace_stem", "split"]

Module = TypeVar("Module", bound=nn.Module)
Call: TypeAlias = tuple[str, Callable[..., object] | str, int | str]

TOLERANCE = 1e-9
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


def find_stem(model: nn.Module) -> str:
    """Return the path of the first convolution that the data meets.

    Parameters
    ----------
    model : nn.Module
        Any model; it is not run. Where its operations cannot be traced, the first registered convolution is
        taken, which is not the first executed one in every model.

    Returns
    -------
    stem : str
        Module path such as ``"conv1"`` or ``"features.0.0"``; ``""`` if the model itself is a convolution. For a
        model with an edge-filter layer in place, the path of that layer.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If it holds no convolution.

    Examples
    --------
    >>> import torchvision
    >>> find_stem(torchvision.models.mobilenet_v2())
    'features.0.0'
    """
    check_module(model)
    for path, module in _modules_in_order(model):
        if isinstance(module, EdgeFilterBank2d):
            return _holder(model, path)
        if isinstance(module, _ConvNd):
            return path
    raise ValueError(
        f"model must hold a convolution of torch.nn; got {type(model).__name__} without one. "
        "Edge filters explain convolutional stems only."
    )


def replace_stem(
    model: nn.Module,
    bank: FilterBank | str | None = None,
    *,
    stem: str | None = None,
    init: Literal["exact", "project", "random"] = "exact",
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
    path = find_stem(model) if stem is None else stem
    conv = _convolution(model, path)
    chosen = complete_bank(_two(conv.kernel_size)) if bank is None else as_bank(bank)
    keeps_weights = init != "random"  # which new layers draw nevertheless
    with torch.random.fork_rng(devices=(), enabled=keeps_weights):
        layer = _express(_at_rest(conv), _fit(chosen, conv, path), init, path)
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


def split(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Split a model at its filter bank: images to responses, responses to output.

    Parameters
    ----------
    model : nn.Module
        With one edge-filter layer, of one input.

    Returns
    -------
    front : nn.Module
        Images (N, C, H, W) to responses (N, C*K, H', W').
    tail : nn.Module
        Responses to the model's output. Both share the model's modules and parameters.

    Notes
    -----
    Operations are recorded in the model's present mode: call ``model.eval()`` first to evaluate the parts.

    Raises
    ------
    ValueError
        Without an edge-filter layer or with two, or if the image reaches the output past the bank.
    UntraceableModelError
        If the model's operations cannot be recorded.

    Examples
    --------
    >>> model = replace_stem(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()))
    >>> front, tail = split(model)
    >>> images = torch.rand(1, 3, 6, 6)
    >>> front(images).shape, torch.equal(tail(front(images)), model(images))
    (torch.Size([1, 27, 4, 4]), True)
    """
    path = bank_path(model)
    root = model if path else nn.Sequential(model)
    graph = trace(root)
    bank = next((n for n in graph.nodes if n.op == "call_module" and n.target == (path or "0")), None)
    if bank is None:
        raise ValueError(
            f"model must run its filter bank; got {path!r}, which its forward does not reach. "
            "Name the stem that is used with replace_stem(model, stem=...)."
        )
    front, tail = fx.GraphModule(root, _front(graph, bank)), fx.GraphModule(root, _tail(graph, bank))
    return front.train(model.training), tail.train(model.training)


def check_module(model: object) -> None:
    """Raise unless ``model`` is an ``nn.Module`` whose parts can be seen."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__name__}. Pass the network itself.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"model must be an ordinary nn.Module; got a {type(model).__name__}, whose parts cannot be exchanged. "
            "Pass the model it was made from."
        )


def bank_path(model: nn.Module, layer: str | nn.Module | None = None) -> str:
    """Return the path of the one filter bank of a model, or of the one inside ``layer``.

    Raises
    ------
    ValueError
        Without an edge-filter layer, or with several and none chosen.
    KeyError
        If ``layer`` names no module of the model.
    """
    check_module(model)
    prefix = "" if layer is None else _path_of(model, layer)
    paths: list[str] = [
        path
        for path, module in model.named_modules()
        if isinstance(module, EdgeFilterBank2d) and _inside(path, prefix)
    ]
    if len(paths) == 1:
        return paths[0]
    if not paths:
        raise ValueError(
            f"model must hold an edge-filter layer; got {type(model).__name__} without one"
            f"{f' in {prefix!r}' if prefix else ''}. Call replace_stem(model) first."
        )
    raise ValueError(
        f"model must hold one edge-filter layer; got {len(paths)}: {', '.join(map(repr, paths))}. "
        "Choose one with layer=..."
    )


def _inside(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(f"{prefix}.")


def _path_of(model: nn.Module, layer: str | nn.Module) -> str:
    if isinstance(layer, str):
        _submodule(model, layer, "layer")
        return layer
    path: str | None = next((name for name, module in model.named_modules() if module is layer), None)
    if path is None:
        raise ValueError(
            f"layer must be a module of the model; got another {type(layer).__name__}. "
            "Pass its path, or the module of this very model (replace_stem returns a copy)."
        )
    return path


def _submodule(model: nn.Module, path: str, argument: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if path not in modules:
        raise UnknownNameError(
            f"{argument} must be the path of a module of the model; got {path!r}{closest(path, modules)} "
            "find_stem(model) names the first convolution."
        )
    return modules[path]


def _modules_in_order(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules in the order of execution, or of registration where that is not to be had."""
    if isinstance(model, (EdgeFilterBank2d, _ConvNd)):
        yield "", model
        return
    modules = dict(model.named_modules())
    if len(modules) == 1 and type(model).__module__.startswith("torch.nn.modules"):
        yield "", model
        return
    try:
        nodes = trace(model).nodes
    except UntraceableModelError:
        yield from modules.items()
        return
    yield from ((str(n.target), modules[str(n.target)]) for n in nodes if n.op == "call_module")


def _holder(model: nn.Module, path: str) -> str:
    parent, _, _ = path.rpartition(".")
    return parent if isinstance(model.get_submodule(parent), EdgeFilterConv2d) else path


def _convolution(model: nn.Module, path: str) -> nn.Conv2d:
    module = _submodule(model, path, "stem")
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


def _fit(bank: FilterBank, conv: nn.Conv2d, path: str) -> FilterBank:
    """Bring a bank to the support of a convolution."""
    height, width = conv.kernel_size
    if bank.shape == (height, width):
        return bank
    if bank.shape[0] > height or bank.shape[1] > width:
        raise ValueError(
            f"bank {bank.name!r} must fit into the {height}x{width} support of stem {path!r}; got "
            f"{bank.shape[0]}x{bank.shape[1]}. Use complete_bank(({height}, {width})) or a smaller bank."
        )
    return FilterBank(list(bank.kernels), size=(height, width), normalize=bank.normalize, name=bank.name)


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
    coefficients, residual = layer.bank.project(weight.numpy())
    energy = float(weight.square().sum())
    layer.lost_energy = float((residual**2).sum()) / energy if energy else 0.0
    worst = float(abs(residual).max()) / max(float(weight.abs().max()), torch.finfo(torch.float64).tiny)
    if init == "exact" and worst > TOLERANCE:
        raise ValueError(
            f"bank {layer.bank.name!r} spans {layer.bank.rank} of the {weight[0, 0].numel()} dimensions of stem "
            f"{path!r}, so init='exact' would change the output (worst weight error {worst:.2g} of the largest "
            "weight). Use complete_bank(...) or bank=None for the same output, or init='project' for the nearest one."
        )
    with torch.no_grad():
        layer.mixing.weight.copy_(torch.from_numpy(coefficients).flatten(1)[:, :, None, None])
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
        kept = (value for value in vars(module).values() if isinstance(value, Tensor))
        memo |= {id(value): value.detach().clone() for value in kept if value.grad_fn is not None}
    return copy.deepcopy(model, memo)


def _front(graph: fx.Graph, bank: fx.Node) -> fx.Graph:
    front, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    needed = _ancestors(bank, set())
    for node in graph.nodes:
        if node in needed or node.op == "placeholder":
            copies[node] = front.node_copy(node, copies.__getitem__)
    front.output(copies[bank])
    return front


def _tail(graph: fx.Graph, bank: fx.Node) -> fx.Graph:
    tail, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    copies[bank] = responses = tail.placeholder("responses")
    image = bank.all_input_nodes[0]
    told = {node: call for node in graph.nodes if (call := _told_by_responses(node, image))}
    needed = _ancestors(next(iter(reversed(graph.nodes))), {bank, *told})
    for node in (n for n in graph.nodes if n in needed and n is not bank):
        if node in told:
            copies[node] = tail.create_node(*told[node][:2], (responses, told[node][2]))
        elif node.op == "placeholder":
            reader = next(user for user in node.users if user in needed)
            raise ValueError(
                f"model must send the image to its output through the filter bank only; got {reader.name!r} "
                f"({reader.op} {reader.target}), which reads the image as well. Such a model cannot be split."
            )
        else:
            copies[node] = tail.node_copy(node, copies.__getitem__)
    tail.lint()
    return tail


def _ancestors(node: fx.Node, given: set[fx.Node]) -> set[fx.Node]:
    """Return the nodes that a node needs, itself included, once the values of others are given."""
    needed, pending = set[fx.Node](), [node]
    while pending:
        current = pending.pop()
        if current not in needed:
            needed.add(current)
            pending += [] if current in given else current.all_input_nodes
    return needed


def _told_by_responses(node: fx.Node, image: fx.Node) -> Call | None:
    """Return the call by which the responses tell what a node asks the image: batch size, device or dtype."""
    arguments: tuple[object, ...] = (*node.args, *node.kwargs.values(), None, None)
    source, asked = arguments[:2]
    sizes = (node.op == "call_method" and node.target == "size" and source is image) or (
        node.target is operator.getitem and _is_shape(source, image)
    )
    if sizes and asked == 0:
        return "call_method", "size", 0
    if node.target is getattr and source is image and asked in ("device", "dtype"):
        return "call_function", getattr, str(asked)
    return None


def _is_shape(node: object, image: fx.Node) -> bool:
    if not isinstance(node, fx.Node) or image not in node.args[:1]:
        return False
    return node.args[1:] == (() if node.op == "call_method" else ("shape",)) and node.target in (
        "size",
        getattr,
    )
