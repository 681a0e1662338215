"""Find, replace, fold and split off the first convolution of a model."""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from ._checks import UnknownNameError, closest
from .banks import FilterBank, complete_bank
from .layers import EdgeFilterBank2d, EdgeFilterConv2d, Padding, as_bank
from .tracing import UntraceableModelError, trace

__all__ = ["find_stem", "fold_stem", "replace_stem", "split"]

TOLERANCE = 1e-9
INITS = ("exact", "project", "random")


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
        f"model must hold a convolution; got {type(model).__name__} without one. "
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
        With an :class:`EdgeFilterConv2d` in the stem's place; dtype, device, training and ``requires_grad`` flags as
        before.

    Raises
    ------
    TypeError, ValueError
        If the stem is not a ``Conv2d`` with ``groups=1``, pads in a way of its own that is not known, is smaller
        than the bank, is an edge-filter layer already, or cannot be expressed exactly.
    KeyError
        If ``bank`` or ``stem`` names nothing.

    Examples
    --------
    >>> import torchvision
    >>> model = replace_stem(torchvision.models.resnet18())
    >>> model.conv1.bank
    FilterBank('complete_sobel_7x7', 49 kernels of 7x7)
    """
    check_module(model)
    if init not in INITS:
        raise ValueError(f"init must be one of {', '.join(INITS)}; got {init!r}{closest(init, INITS)}")
    path = find_stem(model) if stem is None else stem
    conv = _convolution(model, path)
    chosen = complete_bank(conv.kernel_size) if bank is None else as_bank(bank)  # type: ignore[arg-type]
    layer = _express(conv, _fit(chosen, conv, path), init, path)
    return _with_module(model, path, layer)


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
        folded = layer.fold()
        folded.requires_grad_(layer.mixing.weight.requires_grad)
        model = _with_module(model, path, folded)
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
    graph = trace(model)
    bank = next(node for node in graph.nodes if node.op == "call_module" and node.target == path)
    root = model if path else nn.Sequential(model)
    return fx.GraphModule(root, _front(graph, bank)), fx.GraphModule(root, _tail(graph, bank))


def check_module(model: object) -> None:
    """Raise unless ``model`` is an ``nn.Module``."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__name__}. Pass the network itself.")


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
    paths = [
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
    path = next((name for name, module in model.named_modules() if module is layer), None)
    if path is None:
        raise ValueError(
            f"layer must be a module of the model; got another {type(layer).__name__}. "
            "Pass its path, or the module of this very model (replace_stem returns a copy)."
        )
    return path


def _submodule(model: nn.Module, path: str, argument: str) -> nn.Module:
    modules = dict(model.named_modules())
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
        raise TypeError(
            f"stem {path!r} must be a Conv2d; got {type(module).__name__}. Name another layer with stem=..."
        )
    if module.groups != 1:
        raise ValueError(
            f"stem {path!r} must be a Conv2d with groups=1; got groups={module.groups}. "
            "Name another layer with stem=..."
        )
    return module


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
    layer = EdgeFilterConv2d(
        conv.in_channels,
        conv.out_channels,
        bank,
        stride=conv.stride,  # type: ignore[arg-type]
        padding=_padding_of(conv, path),
        dilation=conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    ).to(conv.weight.device, conv.weight.dtype)
    if init != "random":
        _initialise(layer, conv, init, path)
    layer.mixing.weight.requires_grad_(conv.weight.requires_grad)
    if layer.mixing.bias is not None and conv.bias is not None:
        layer.mixing.bias.requires_grad_(conv.bias.requires_grad)
    return layer.train(conv.training)


def _initialise(layer: EdgeFilterConv2d, conv: nn.Conv2d, init: str, path: str) -> None:
    weight = conv.weight.detach().cpu().double()
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
        if layer.mixing.bias is not None and conv.bias is not None:
            layer.mixing.bias.copy_(conv.bias)


def _padding_of(conv: nn.Conv2d, path: str) -> Padding:
    """Say how a convolution pads, also a subclass that does it in a way of its own."""
    if type(conv).forward is nn.Conv2d.forward:
        return conv.padding  # type: ignore[return-value]
    own = next((m.padding for m in conv.children() if isinstance(m, nn.ZeroPad2d)), None)
    candidates: tuple[Padding | None, ...] = (own, "same", conv.padding)  # type: ignore[assignment]
    for padding in candidates:
        if padding is not None and _pads_like(conv, padding):
            return padding
    raise ValueError(
        f"stem {path!r} must pad as nn.Conv2d does, by a ZeroPad2d of its own or to 'same' size; got "
        f"{type(conv).__name__}, whose output differs from all of these. Replace it by an nn.Conv2d first."
    )


def _pads_like(conv: nn.Conv2d, padding: Padding) -> bool:
    """Compare a convolution with the same one padded so, on images of odd and even size."""
    twin = copy.deepcopy(conv).double().eval()
    weight = twin.weight.detach()
    bank = complete_bank(conv.kernel_size)  # type: ignore[arg-type]
    layer = EdgeFilterConv2d(
        conv.in_channels,
        conv.out_channels,
        bank,
        stride=conv.stride,  # type: ignore[arg-type]
        padding=padding,
        dilation=conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    ).to(weight.device, torch.float64)
    dense = layer.fold()
    with torch.no_grad():
        dense.load_state_dict({"weight": weight} | ({} if twin.bias is None else {"bias": twin.bias}))
        reach = max(d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
        generator = torch.Generator().manual_seed(0)
        for extra in itertools.product((0, 1, 2, 3), repeat=2):
            size = (2 * reach + extra[0], 2 * reach + extra[1])
            images = torch.randn(1, conv.in_channels, *size, generator=generator, dtype=torch.float64)
            images = images.to(weight.device)
            expected, got = twin(images), dense(images)
            if expected.shape != got.shape or not torch.allclose(expected, got, rtol=1e-9, atol=1e-12):
                return False
    return True


def _with_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Return a deep copy of a model with one module exchanged, wherever it is registered."""
    if not path:
        return module
    old = model.get_submodule(path)
    return copy.deepcopy(model, {id(old): module})


def _front(graph: fx.Graph, bank: fx.Node) -> fx.Graph:
    front, copies = fx.Graph(), {}
    needed = _ancestors(bank)
    for node in graph.nodes:
        if node in needed or node.op == "placeholder":
            copies[node] = front.node_copy(node, lambda old: copies[old])
    front.output(copies[bank])
    return front


def _tail(graph: fx.Graph, bank: fx.Node) -> fx.Graph:
    tail, copies = fx.Graph(), {}
    responses = tail.placeholder("responses")
    copies[bank] = responses
    needed = _ancestors(next(iter(reversed(graph.nodes))), given=bank) - {bank}
    for node in (n for n in graph.nodes if n in needed and n.op != "placeholder"):
        if _is_batch_size(node):
            copies[node] = tail.call_method("size", (responses, 0))
        elif any(source.op == "placeholder" for source in node.all_input_nodes):
            raise ValueError(
                f"model must send the image to its output through the filter bank only; got {node.format_node()}. "
                "Such a model cannot be split."
            )
        else:
            copies[node] = tail.node_copy(node, lambda old: copies[old])
    tail.lint()
    return tail


def _ancestors(node: fx.Node, given: fx.Node | None = None) -> set[fx.Node]:
    """Return the nodes that a node needs, itself included, once the value of another is given."""
    needed: set[fx.Node] = set() if given is None else {given}
    pending = [node]
    while pending:
        current = pending.pop()
        if current not in needed:
            needed.add(current)
            pending += [] if given is not None and _is_batch_size(current) else current.all_input_nodes
    return needed


def _is_batch_size(node: fx.Node) -> bool:
    """Tell whether a node reads the number of images: the one thing that responses know as well."""
    if node.op == "call_method" and node.target == "size":
        return node.args[1:] == (0,) and _is_image(node.args[0])
    if node.target is not operator.getitem or node.args[1] != 0:
        return False
    shape = node.args[0]
    assert isinstance(shape, fx.Node)
    reads = (shape.op == "call_method" and shape.target == "size") or shape.args[1:] == ("shape",)
    return reads and _is_image(shape.args[0])


def _is_image(node: object) -> bool:
    return isinstance(node, fx.Node) and node.op == "placeholder"
