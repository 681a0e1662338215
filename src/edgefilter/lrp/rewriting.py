"""Translate the recorded operations of a model into modules that relevance rules can be put on."""

from __future__ import annotations

import inspect
import itertools
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torchvision.models.swin_transformer import _patch_merging_pad, shifted_window_attention
from torchvision.ops import stochastic_depth
from zennit import types

from edgefilter.errors import UnsupportedModelError
from edgefilter.stems.layers import EdgeFilterBank2d

from .operations import (
    Addition,
    Affine,
    FunctionalConv2d,
    FunctionalLinear,
    Passing,
    Spread,
    TokenLinear,
    UnsteadyWeighing,
    Weighing,
    attention,
    attention_weights,
    batch_gain,
    from_windows,
    group_gain,
    is_plain,
    layer_gain,
    shift_gain,
    to_windows,
    window_mask,
    without_key_bias,
)
from .twins import Link, running_statistics, submodules, twin_of

__all__ = ["OUT_OF_PLACE", "Rewriter", "attribute_of"]

RULED = (_ConvNd, nn.Linear, types.BatchNorm, types.Activation, types.AvgPool, types.MaxPool)
REARRANGING = (
    nn.Flatten, nn.Unflatten, nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d,
    nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Fold, nn.Unfold,
)  # fmt: skip
ELEMENTWISE = (nn.Mish,)
IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
RESIZING = (nn.Upsample,)

REARRANGEMENTS = {
    torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.swapaxes, torch.swapdims, torch.squeeze,
    torch.unsqueeze, torch.chunk, torch.split, torch.unbind, torch.stack, torch.roll, torch.flip, torch.tile,
    torch.movedim, torch.concat, torch.narrow, torch.select, torch.index_select, torch.unflatten,
    operator.getitem, F.pad, F.pixel_shuffle, F.pixel_unshuffle, F.channel_shuffle, F.unfold, F.fold,
    _patch_merging_pad, to_windows,
    "flatten", "reshape", "view", "permute", "transpose", "swapaxes", "squeeze", "unsqueeze", "chunk", "split", "unbind",
    "contiguous", "expand", "expand_as", "repeat", "roll", "flip", "t", "movedim", "narrow", "select", "unflatten", "clone",
    "to", "float", "double", "type_as", "view_as", "reshape_as", "tile", "index_select",
}  # fmt: skip
ANY_LAYOUT = {"view": "reshape", "view_as": "reshape_as"}  # the copy may hold images with their channels last
ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
SUBTRACTIONS = {operator.sub, operator.isub, torch.sub, "sub", "sub_"}
PRODUCTS = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
QUOTIENTS = {operator.truediv, operator.itruediv, torch.div, "div", "div_"}
MATRIX_PRODUCTS = {operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm"}
AVERAGES = {torch.mean, torch.sum, "mean", "sum"}
CONCATENATIONS = {torch.cat, torch.concat}
DROPOUTS = {
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    torch.dropout,
    stochastic_depth,
}
UNARY = {
    operator.neg, torch.neg, "neg", torch.sigmoid, torch.tanh, torch.abs, torch.clamp, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid, F.elu, F.selu,
    F.celu, F.softplus, F.tanh, F.sigmoid, F.hardtanh, F.threshold, F.leaky_relu, F.relu6, F.logsigmoid, F.softsign,
    "sigmoid", "tanh", "abs", "clamp", "sigmoid_", "tanh_", "clamp_",
}  # fmt: skip
SQUASHING = {
    torch.sigmoid, F.sigmoid, "sigmoid", "sigmoid_", F.hardsigmoid, F.softmax, torch.softmax, "softmax", torch.tanh, F.tanh,
    "tanh", F.relu6, F.hardtanh, torch.clamp, "clamp",
}  # fmt: skip
SQUASHERS = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax, nn.Tanh, nn.ReLU6, nn.Hardtanh)
OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
NORMALISATIONS = {F.layer_norm, F.group_norm, F.batch_norm}
LAYERS = {F.conv2d, torch.conv2d, F.linear}
SHARING = MATRIX_PRODUCTS | AVERAGES | LAYERS | {torch.einsum, F.interpolate, F.avg_pool2d, F.adaptive_avg_pool2d,
                                                 shifted_window_attention}  # fmt: skip
RECTIFICATIONS = {F.relu, torch.relu, torch.relu_, "relu", "relu_"}
AS_MODULES: dict[Any, Callable[..., nn.Module]] = {
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.max_pool2d: nn.MaxPool2d,
    torch.max_pool2d: nn.MaxPool2d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
}


class _Plan(NamedTuple):
    """What becomes of a node: the operands that get relevance, and how to add it to the new graph."""

    operands: tuple[fx.Node, ...]
    emit: Callable[[], Any]


class Rewriter:
    """Translate a recorded graph, node by node, from the output to the inputs and back."""

    def __init__(
        self, traced: fx.GraphModule, bank: str, links: list[Link], attributes: dict[str, str]
    ) -> None:
        self._traced, self._bank = traced, bank
        self._links, self._attributes = links, attributes
        self._modules = dict(traced.named_modules())
        self._norms = dict(self._mergeable())
        self._root = fx.GraphModule(nn.Module(), fx.Graph())
        self._taken: set[str] = set()
        self._graph = fx.Graph()
        self._steady = self._steadiness()
        self._copies: dict[fx.Node, Any] = {}
        self._constants: dict[fx.Node, Any] = {}

    def rewrite(self) -> fx.GraphModule:
        """Return the new model."""
        plans = self._plans()
        for node in self._traced.graph.nodes:
            if node.op == "placeholder":
                self._copies[node] = self._graph.node_copy(node)
            elif node in plans:
                self._copies[node] = plans[node].emit()
        self._warn_of_bypass(plans)
        self._root.graph = self._graph
        self._root.recompile()
        return self._root.eval()

    def _plans(self) -> dict[fx.Node, _Plan]:
        """Decide about every node that relevance reaches, from the output on."""
        plans: dict[fx.Node, _Plan] = {}
        unsupported: list[str] = []
        reached = {next(iter(reversed(self._traced.graph.nodes)))}
        for node in reversed(self._traced.graph.nodes):
            if node not in reached or node.op == "placeholder":
                continue
            plan = self._plan(node)
            if plan is None:
                unsupported.append(_describe(node, self._modules))
                reached.update(source for source in node.all_input_nodes if source.meta["relevant"])
            else:
                plans[node] = plan
                reached.update(plan.operands)
        self._check(plans, unsupported)
        return plans

    def _warn_of_bypass(self, plans: dict[fx.Node, _Plan]) -> None:
        """Warn where a part of the only input never meets the filter bank."""
        inputs = [node for node in self._traced.graph.nodes if node.op == "placeholder"]
        past = set(inputs[:1])
        for node, plan in reversed(plans.items()):
            if past.intersection(plan.operands) and node.target != self._bank:
                past.add(node)
        if len(inputs) == 1 and next(iter(plans)) in past:
            warnings.warn(
                "the image reaches the output past the filter bank as well: scores by color and filter cover only what "
                "goes through the bank, and delta says how much is missing. Express another stem with stem=...",
                UserWarning,
                stacklevel=2,
            )

    def _check(self, plans: dict[fx.Node, _Plan], unsupported: list[str]) -> None:
        if unsupported:
            raise UnsupportedModelError(
                f"model must consist of operations with a known relevance rule; got {', '.join(sorted(unsupported))}. "
                f"Its scores would be wrong, so none are given. {_advice(unsupported)}"
            )
        calls = sum(node.op == "call_module" and node.target == self._bank for node in plans)
        if calls > 1:
            raise UnsupportedModelError(
                f"filter bank {self._bank!r} must run once in each call of the model; got {calls} runs, whose scores by "
                "color and filter would be mixed up. Give each input a stem of its own."
            )
        if not calls:
            raise UnsupportedModelError(
                f"filter bank {self._bank!r} must lie on the way of the relevance to the inputs; got one that the "
                "output does not depend on. Name the stem that is used with stem=..."
            )

    def _mergeable(self) -> Iterator[tuple[fx.Node, _BatchNorm]]:
        """Yield the convolutions and linear layers whose only reader is a BatchNorm."""
        for node in self._traced.graph.nodes:
            norm = self._modules.get(str(node.target)) if node.op == "call_module" else None
            source = node.args[0] if isinstance(norm, types.BatchNorm) and node.args else None
            if isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1:
                layer = self._modules[str(source.target)]
                if isinstance(layer, (_ConvNd, nn.Linear)) and not isinstance(layer, _ConvTransposeNd):
                    yield source, norm  # type: ignore[misc]

    def _steadiness(self) -> set[fx.Node]:
        """Return the nodes whose relevance will be proportional to their value: none that a normalisation reads."""
        steady: set[fx.Node] = set()
        for node in reversed(self._traced.graph.nodes):
            if all(self._hands_steadily(reader, steady) for reader in node.users):
                steady.add(node)
        return steady

    def _hands_steadily(self, reader: fx.Node, steady: set[fx.Node]) -> bool:
        module = self._modules.get(str(reader.target)) if reader.op == "call_module" else None
        if reader.target in ADDITIONS | SUBTRACTIONS:
            return all(_relevant(term) for term in reader.args)
        if reader.target in SHARING or isinstance(
            module, (_ConvNd, nn.Linear, nn.MultiheadAttention, types.AvgPool)
        ):
            return True
        if reader.target in NORMALISATIONS or isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            return False
        if isinstance(module, types.BatchNorm):
            return self._norms.get(reader.args[0]) is module  # type: ignore[arg-type]
        return reader in steady

    # Deciding: each method returns a plan, or None where there is no rule.

    def _plan(self, node: fx.Node) -> _Plan | None:
        if node.op == "output":
            return self._plan_output(node)
        if node.op == "call_module":
            return self._plan_module(node)
        for targets, plan in (
            (REARRANGEMENTS, self._plan_rearrangement),
            (ADDITIONS, self._plan_addition),
            (SUBTRACTIONS, self._plan_addition),
            (PRODUCTS, self._plan_product),
            (QUOTIENTS, self._plan_quotient),
            (MATRIX_PRODUCTS | {torch.einsum}, self._plan_matrix_product),
            (AVERAGES | {F.interpolate}, self._plan_weighing),
            (CONCATENATIONS, self._plan_concatenation),
            (DROPOUTS, self._plan_identity),
            (RECTIFICATIONS, self._plan_rectification),
            (set(AS_MODULES), self._plan_as_module),
            (UNARY, self._plan_passing),
            (NORMALISATIONS, self._plan_normalisation),
            (LAYERS, self._plan_functional_layer),
            ({shifted_window_attention}, self._plan_windows),
        ):
            if node.target in targets:
                return plan(node)
        return None

    def _plan_output(self, node: fx.Node) -> _Plan | None:
        result = node.args[0]
        if not isinstance(result, fx.Node):
            raise TypeError(
                f"model must return one tensor; got {type(result).__name__}. "
                "Wrap it in a module that returns the tensor to explain."
            )

        def emit() -> fx.Node:
            banks = (n for n in self._copies if n.op == "call_module" and n.target == self._bank)
            node: fx.Node = self._graph.output((self._copies[result], self._copies[next(banks)]))
            return node

        return _Plan((result,), emit)

    def _plan_module(self, node: fx.Node) -> _Plan | None:
        module = self._modules[str(node.target)]
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node):
            return None
        if isinstance(module, nn.MultiheadAttention):
            return self._plan_attention(node, module)
        if len(node.args) != 1 or node.kwargs:
            return None
        if isinstance(module, _BatchNorm):
            running_statistics(module)
        if self._norms.get(source) is module or isinstance(module, IDENTITIES):
            return self._plan_identity(node)
        if isinstance(module, types.AvgPool) and node not in self._steady:
            return _Plan(
                (source,), lambda: self._call(node, UnsteadyWeighing(twin_of(module).forward), source)
            )
        if isinstance(module, nn.ReLU):
            return _Plan((source,), lambda: self._call(node, self._rectifier(source), source))
        if isinstance(module, (*RULED, *REARRANGING, EdgeFilterBank2d)):
            return _Plan((source,), lambda: self._call(node, self._twin(node, module), source))
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            return self._plan_norm_module(node, module)
        if isinstance(module, RESIZING):
            return _Plan(
                (source,), lambda: self._call(node, self._weighing(node)(twin_of(module).forward), source)
            )
        if isinstance(module, ELEMENTWISE):
            return _Plan((source,), lambda: self._call(node, Passing(twin_of(module).forward), source))
        return None

    def _rectifier(self, source: fx.Node) -> nn.ReLU:
        """Return a ReLU that knows whether it is the only reader of a tensor that the copy's modules computed."""
        rectifier = nn.ReLU()
        module = self._modules.get(str(source.target)) if source.op == "call_module" else None
        layer = isinstance(module, (_ConvNd, nn.Linear)) or any(
            module is norm for norm in self._norms.values()
        )
        alone = len(source.users) == 1
        vars(rectifier)["may_overwrite"] = alone and (
            layer or (source.target in ADDITIONS and all(map(_relevant, source.args)))
        )
        return rectifier

    def _plan_identity(self, node: fx.Node) -> _Plan | None:
        source = node.args[0]
        return _Plan((source,), lambda: self._copies[source]) if isinstance(source, fx.Node) else None

    def _plan_rearrangement(self, node: fx.Node) -> _Plan | None:
        operands = tuple(source for source in node.all_input_nodes if source.meta["relevant"])

        def emit() -> fx.Node:
            copy = self._graph.node_copy(
                node, lambda old: self._copies[old] if old in operands else self._constant(old)
            )
            copy.target = ANY_LAYOUT.get(copy.target, copy.target)  # type: ignore[arg-type]
            return copy

        return _Plan(operands, emit)

    def _plan_addition(self, node: fx.Node) -> _Plan | None:
        if len(node.args) != 2 or node.kwargs:
            return None
        terms = [term for term in node.args if _relevant(term)]
        if len(terms) == 2:
            return _Plan(tuple(terms), lambda: self._emit_sum(node))  # type: ignore[arg-type]
        position = node.args.index(terms[0])
        operation: Affine
        if position == 1 and node.target in SUBTRACTIONS:
            operation = Affine(_function(node), lambda inputs, *_: -torch.ones_like(inputs), position)
        else:
            operation = Affine(_function(node), shift_gain, position)
        return self._plan_operation(node, operation)

    def _emit_sum(self, node: fx.Node) -> fx.Node:
        """Add two signals by a module of its own."""
        first, second = (self._copies[term] for term in node.args)  # type: ignore[index]
        if node.target in SUBTRACTIONS:
            second = self._add_module(f"{node.name}_negative", Passing(operator.neg), second)
        if node.args[0].meta["shape"] != node.args[1].meta["shape"]:  # type: ignore[union-attr]
            both = self._graph.call_function(torch.broadcast_tensors, (first, second))
            first, second = (self._graph.call_function(operator.getitem, (both, i)) for i in (0, 1))
        return self._graph.call_module(
            self._register(node.name, Addition(node in self._steady)), (first, second)
        )

    def _plan_product(self, node: fx.Node) -> _Plan | None:
        factors: list[Any] = [factor for factor in node.args if _relevant(factor)]
        signal = factors[0] if len(factors) == 1 else self._signal(factors)
        if signal is None or len(node.args) != 2:
            return None
        return self._plan_operation(node, Passing(_function(node), node.args.index(signal)))

    def _plan_quotient(self, node: fx.Node) -> _Plan | None:
        if not node.args or not _relevant(node.args[0]):
            return None
        return self._plan_operation(node, Passing(_function(node)))

    def _plan_matrix_product(self, node: fx.Node) -> _Plan | None:
        factors: list[Any] = [factor for factor in node.args if _relevant(factor)]
        if len(factors) == 1:
            signal: Any = factors[0]
        else:
            weights = [
                factor
                for factor in factors
                if self._is_squashed(factor, (F.softmax, torch.softmax, "softmax"))
            ]
            signal = next((f for f in factors if f not in weights), None) if len(weights) == 1 else None
        if signal is None or node.kwargs:
            return None
        weighing = UnsteadyWeighing if len(factors) == 2 else self._weighing(node)
        return self._plan_operation(node, weighing(_function(node), node.args.index(signal)))

    def _plan_weighing(self, node: fx.Node) -> _Plan | None:
        return self._plan_operation(node, self._weighing(node)(_function(node)))

    def _weighing(self, node: fx.Node) -> type[Weighing]:
        return Weighing if node in self._steady else UnsteadyWeighing

    def _plan_passing(self, node: fx.Node) -> _Plan | None:
        return self._plan_operation(node, Passing(_function(node)))

    def _plan_operation(self, node: fx.Node, operation: Passing | Weighing) -> _Plan | None:
        """Plan an operation with one relevant operand: the others are held."""
        position = operation.position
        if len(node.args) <= position or not isinstance(node.args[position], fx.Node):
            return None
        source: fx.Node = node.args[position]  # type: ignore[assignment]

        def emit() -> fx.Node:
            others = (*node.args[:position], *node.args[position + 1 :])
            held = (self._constant(others), self._constant(dict(node.kwargs)))
            return self._add_module(node.name, operation, self._copies[source], held=held)

        return _Plan((source,), emit)

    def _plan_concatenation(self, node: fx.Node) -> _Plan | None:
        parts = node.args[0] if node.args else node.kwargs.get("tensors")
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if not isinstance(parts, (list, tuple)) or not isinstance(dim, int):
            return None
        operands = tuple(part for part in parts if _relevant(part))
        sizes = [part.meta["shape"][dim] for part in parts]
        ends = list(itertools.accumulate(sizes))
        constant = [(e - s, e) for e, s, part in zip(ends, sizes, parts, strict=True) if not _relevant(part)]

        def emit() -> fx.Node:
            joined = self._graph.node_copy(
                node, lambda old: self._copies[old] if old in operands else self._constant(old)
            )
            return self._add_module(node.name, Spread(dim, constant), joined) if constant else joined

        return _Plan(operands, emit)

    def _plan_as_module(self, node: fx.Node) -> _Plan | None:
        source, *settings = node.args
        if not isinstance(source, fx.Node) or any(isinstance(value, fx.Node) for value in settings):
            return None
        options = {key: value for key, value in node.kwargs.items() if value is not None}
        module = AS_MODULES[node.target](*settings, **options)
        if isinstance(module, types.AvgPool) and node not in self._steady:
            module = UnsteadyWeighing(module.forward)
        return _Plan((source,), lambda: self._add_module(node.name, module, self._copies[source]))

    def _plan_rectification(self, node: fx.Node) -> _Plan | None:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node):
            return None
        return _Plan(
            (source,), lambda: self._add_module(node.name, self._rectifier(source), self._copies[source])
        )

    def _plan_norm_module(self, node: fx.Node, module: nn.LayerNorm | nn.GroupNorm) -> _Plan | None:
        source: fx.Node = node.args[0]  # type: ignore[assignment]
        layer = isinstance(module, nn.LayerNorm)
        function, gain = (F.layer_norm, layer_gain) if layer else (F.group_norm, group_gain)
        setting: Any = module.normalized_shape if isinstance(module, nn.LayerNorm) else module.num_groups

        def emit() -> fx.Node:
            names = [
                f"{node.target}.{name}" if getattr(module, name) is not None else None
                for name in ("weight", "bias")
            ]
            weights = [None if name is None else self._get_attribute(name) for name in names]
            held: Any = ((setting, *weights, module.eps), {})
            return self._add_module(str(node.target), Affine(function, gain), self._copies[source], held=held)

        return _Plan((source,), emit)

    def _plan_normalisation(self, node: fx.Node) -> _Plan | None:
        gains: dict[Any, Callable[..., Tensor]] = {
            F.layer_norm: layer_gain,
            F.group_norm: group_gain,
            F.batch_norm: batch_gain,
        }
        if node.target not in gains or not _relevant(node.args[0]):
            return None
        if node.target is F.batch_norm and not _uses_running_statistics(node):
            return None
        return self._plan_operation(node, Affine(_function(node), gains[node.target]))

    def _plan_functional_layer(self, node: fx.Node) -> _Plan | None:
        """Plan ``F.conv2d`` and ``F.linear``, if their weights do not depend on the inputs."""
        bound = _bind(node)
        source, weight, bias = bound.pop("input"), bound.pop("weight"), bound.pop("bias", None)
        if not isinstance(source, fx.Node) or _relevant(weight) or _relevant(bias):
            return None
        shape = weight.meta["shape"]
        if node.target is F.linear:
            module: nn.Module = FunctionalLinear(shape[1], shape[0], bias=bias is not None)
        else:
            channels = shape[1] * bound.get("groups", 1)
            module = FunctionalConv2d(channels, shape[0], shape[2:], bias=bias is not None, **bound)

        def emit() -> fx.Node:
            held = (self._constant(weight), self._constant(bias))
            return self._add_module(node.name, module, self._copies[source], held=held)

        return _Plan((source,), emit)

    def _plan_attention(self, node: fx.Node, module: nn.MultiheadAttention) -> _Plan | None:
        source = node.args[0]
        plain = module.in_proj_weight is not None and module.bias_k is None and not module.add_zero_attn
        masks = any(node.kwargs.get(name) is not None for name in ("attn_mask", "key_padding_mask"))
        if not plain or masks or len(node.args) != 3 or len(set(node.args)) != 1:
            return None
        path = str(node.target)

        def emit() -> fx.Node:
            tokens = self._copies[source]  # type: ignore[index]
            tokens = (
                tokens if module.batch_first else self._graph.call_function(torch.transpose, (tokens, 0, 1))
            )
            heads = (module.num_heads,)
            weights = [
                self._get_attribute(f"{path}.{name}") for name in ("in_proj_weight", "out_proj.weight")
            ]
            biases = [
                None if module.in_proj_bias is None else self._get_attribute(f"{path}.{name}")
                for name in ("in_proj_bias", "out_proj.bias")
            ]
            values = self._self_attention(path, tokens, weights, biases, heads)
            values = (
                values if module.batch_first else self._graph.call_function(torch.transpose, (values, 0, 1))
            )
            return self._graph.call_function(_with_none, (values,))

        return _Plan((source,), emit)  # type: ignore[arg-type]

    def _self_attention(
        self, path: str, tokens: fx.Node, weights: Any, biases: Any, settings: Any
    ) -> fx.Node:
        """Add the joint projection, the averaging of the values and the output projection."""
        width = (1, 1)  # the sizes come with the weights
        projected = self._add_module(
            f"{path}.in_proj",
            FunctionalLinear(*width, biases[0] is not None),
            tokens,
            held=(weights[0], biases[0]),
        )
        constant = self._graph.call_function(_detached, (projected,))
        shares: Any = ((self._graph.call_function(attention_weights, (constant, *settings)),), {})
        values = self._add_module(f"{path}.attention", UnsteadyWeighing(attention), projected, held=shares)
        return self._add_module(
            f"{path}.out_proj",
            FunctionalLinear(*width, biases[1] is not None),
            values,
            held=(weights[1], biases[1]),
        )

    def _plan_windows(self, node: fx.Node) -> _Plan | None:
        bound = _bind(node)
        source, window, shift = bound["input"], bound["window_size"], bound["shift_size"]

        def emit() -> fx.Node:
            given = {name: self._constant(value) for name, value in bound.items() if name != "input"}
            like = self._constant(source)
            call = self._graph.call_function
            bias = given.get("qkv_bias")
            if given.get("logit_scale") is not None:
                bias = call(without_key_bias, (bias,))
            cut = call(to_windows, (self._copies[source], window, shift))
            mask = call(window_mask, (like, window, shift))
            settings = (given["num_heads"], given["relative_position_bias"], mask, given.get("logit_scale"))
            weights = (given["qkv_weight"], given["proj_weight"])
            values = self._self_attention(node.name, cut, weights, (bias, given.get("proj_bias")), settings)
            return call(from_windows, (values, like, window, shift))

        return _Plan((source,), emit)

    # Telling signals from gates.

    def _signal(self, factors: list[Any]) -> Any:
        """Return the factor that carries the relevance: the one that is not a gate."""
        gates = [factor for factor in factors if self._is_squashed(factor, SQUASHING)]
        if not gates:
            sizes = [torch.Size(factor.meta["shape"]).numel() for factor in factors]
            gates = [f for f, size in zip(factors, sizes, strict=True) if size < max(sizes)]
        signals = [factor for factor in factors if factor not in gates]
        return signals[0] if len(gates) == 1 and len(signals) == 1 else None

    def _is_squashed(self, node: fx.Node, targets: Any) -> bool:
        """Tell whether a node is a bounded function of something, but for scaling and rearranging."""
        while True:
            module = self._modules.get(str(node.target)) if node.op == "call_module" else None
            if node.target in targets or isinstance(module, SQUASHERS):
                return True
            through = node.target in REARRANGEMENTS | DROPOUTS | PRODUCTS | QUOTIENTS or isinstance(
                module, IDENTITIES
            )
            sources: list[Any] = [source for source in node.args if _relevant(source)]
            if not through or not sources or len(sources) > 1 + (node.target == "expand_as"):
                return False
            node = sources[0]

    # Adding to the new graph.

    def _constant(self, value: Any) -> Any:
        """Return the copy of an operand that gets no relevance, also inside tuples and dictionaries."""
        return fx.node.map_arg(value, self._constant_node)

    def _constant_node(self, node: fx.Node) -> fx.Node:
        if node not in self._constants:
            self._constants[node] = self._emit_constant(node)
        constant: fx.Node = self._constants[node]
        return constant

    def _emit_constant(self, node: fx.Node) -> fx.Node:
        if node in self._copies:
            return self._graph.call_function(_detached, (self._copies[node],))
        if node.op == "get_attr":
            return self._get_attribute(str(node.target))
        if node.op == "call_module":
            twin = self._twin(node, self._modules[str(node.target)], merge=False)
            name = self._register(str(node.target), twin)
            return self._graph.call_module(name, self._constant(node.args), self._constant(dict(node.kwargs)))
        copy = self._graph.node_copy(node, self._constant_node)
        copy.target = ANY_LAYOUT.get(copy.target, copy.target)  # type: ignore[arg-type]
        return copy

    def _get_attribute(self, path: str) -> fx.Node:
        name = path.replace(".", "_") + "_attribute"
        self._attributes[name] = path
        value = attribute_of(self._traced, path)
        self._root.register_buffer(name, value.detach() if isinstance(value, Tensor) else value)
        return self._graph.get_attr(name)

    def _twin(self, node: fx.Node, module: nn.Module, merge: bool = True) -> nn.Module:
        twin = twin_of(module)
        if type(twin) is nn.Linear and len(node.meta["shape"]) > 2:
            twin.__class__ = TokenLinear
        learned = module.conv if isinstance(module, EdgeFilterBank2d) else module
        self._links.append(Link(twin, learned, self._norms.get(node) if merge else None))
        for (_, child), (_, source) in zip(submodules(twin), submodules(module), strict=False):
            self._links.append(Link(child, source))
        return twin

    def _call(self, node: fx.Node, module: nn.Module, source: fx.Node) -> fx.Node:
        return self._add_module(str(node.target), module, self._copies[source])

    def _add_module(self, path: str, module: nn.Module, argument: Any, **kwargs: Any) -> fx.Node:
        return self._graph.call_module(self._register(path, module), (argument,), kwargs)

    def _register(self, path: str, module: nn.Module) -> str:
        """Add a module under its path in the model, or a numbered one if it is there already."""
        names = itertools.chain([path], (f"{path}__{i}" for i in itertools.count(2)))
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        self._root.add_submodule(name, module.eval())
        return name


def attribute_of(root: nn.Module, path: str) -> Any:
    """Return what a dotted path names."""
    return operator.attrgetter(path)(root)


def _relevant(value: Any) -> bool:
    return isinstance(value, fx.Node) and bool(value.meta["relevant"])


def _detached(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_detached(part) for part in value)
    return value.detach() if isinstance(value, Tensor) and not is_plain() else value


def _with_none(value: Tensor) -> tuple[Tensor, None]:
    return value, None


def _function(node: fx.Node) -> Callable[..., Any]:
    """Return what a node calls; in-place forms become ordinary ones."""
    if node.op == "call_function":
        target: Any = node.target
        return OUT_OF_PLACE.get(target, target)  # type: ignore[no-any-return]
    return getattr(Tensor, str(node.target).rstrip("_"))  # type: ignore[no-any-return]


def _bind(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a call by name."""
    names = {
        F.linear: ("input", "weight", "bias"),
        F.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    }
    names[torch.conv2d] = names[F.conv2d]
    if node.target in names:
        return dict(zip(names[node.target], node.args, strict=False)) | dict(node.kwargs)
    return dict(inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments)  # type: ignore[arg-type]


def _uses_running_statistics(node: fx.Node) -> bool:
    bound = _bind(node)
    return bound["running_mean"] is not None and not bound.get("training", False)


def _describe(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    if node.op == "call_module":
        return f"{type(modules[str(node.target)]).__name__} ({node.target})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return name if name == node.name else f"{name} ({node.name})"


def _advice(unsupported: list[str]) -> str:
    if any("softmax" in name.lower() for name in unsupported):
        return "Explain the logits: leave the softmax at the end out of the model, as model[:-1] does for a Sequential."
    return "Replace these operations by others, or explain a part of the model without them."
