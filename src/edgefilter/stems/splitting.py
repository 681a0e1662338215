"""Split a model at its filter bank: images to responses, responses to output."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TypeAlias

from torch import fx, nn

from .finding import bank_path
from .tracing import trace

__all__ = ["split"]

Call: TypeAlias = tuple[str, Callable[..., object] | str, int | str]


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
    >>> import torch
    >>> from edgefilter import replace_stem
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
