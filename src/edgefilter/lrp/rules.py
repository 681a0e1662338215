"""Zennit's relevance rules as backward passes: the same numbers for a fraction of the time.

Zennit's hooks let PyTorch compute a layer's gradient, throw it away, run the layer again once per changed set of weights
and differentiate every run. Here a layer under a rule is one node of the graph whose backward pass *is* the rule.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from zennit import rules as zennit_rules
from zennit.core import BasicHook, Hook, RemovableHandle, RemovableHandleList, Stabilizer, expand
from zennit.layer import Sum

from .linear_maps import Favour, LinearMap, linear_map, negative, positive, signed
from .operations import is_plain

__all__ = [
    "AlphaBeta",
    "Epsilon",
    "Flat",
    "Gamma",
    "Norm",
    "Pass",
    "Rule",
    "WSquare",
    "ZBox",
    "ZPlus",
    "accelerated",
]

Stabilizing = float | Callable[[Tensor], Tensor]
ZeroParams = str | list[str] | None

PIECE = 2**21  # values that a rule handles at once


class _Propagation(torch.autograd.Function):
    """What a module computes going forward; its rule going back."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, module: nn.Module, run: Any, options: Any, *inputs: Tensor) -> Any:
        ctx.call = (rule, module, run)
        output, kept = rule.run(linear_map(module, run), inputs, options)
        ctx.save_for_backward(*inputs, kept)
        return output.view_as(output) if any(output is given for given in inputs) else output

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        rule, module, run = ctx.call
        rule.check_way_back()
        try:
            *inputs, kept = ctx.saved_tensors
        except RuntimeError as cause:
            raise RuntimeError(
                f"{type(rule).__name__} must find the tensors of {type(module).__name__} as they were; got some that were "
                f"changed or let go since ({cause}). Set inplace=False on what follows the layer; pass retain_graph=True to "
                "go back twice."
            ) from cause
        if len(inputs) == 1:
            found: tuple[Tensor, ...] = (rule.in_pieces(linear_map(module, run), inputs[0], relevance, kept),)
        else:
            found = rule.shared(tuple(inputs), relevance)
        return (None, None, None, None, *found)


class _Passage(torch.autograd.Function):
    """What a module computes going forward, in place for a ReLU that may; going back, relevance as it is."""

    @staticmethod
    def forward(ctx: Any, rule: Rule, run: Any, options: Any, in_place: bool, inputs: Tensor) -> Any:
        ctx.rule = rule
        if in_place:
            ctx.mark_dirty(inputs)
            return inputs.relu_()
        output = run(inputs, **options)
        return output.view_as(output) if output is inputs else output

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        ctx.rule.check_way_back()
        return None, None, None, None, relevance


class _Registration:
    """A rule on a module: its forward as a node of the graph, until it is removed."""

    def __init__(self, rule: Rule, module: nn.Module) -> None:
        self.rule, self.module = rule, module
        self.kept = vars(module).get("forward")
        self.run: Any = module.forward
        self.removed = False
        module.forward = self.forward

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the module, under its rule where gradients are recorded."""
        if not inputs:
            raise TypeError(
                f"{type(self.module).__name__} must get its inputs by position under a rule; got keywords "
                f"{', '.join(options)}. Call it as module(inputs)."
            )
        if is_plain() and not self.removed:
            return self.rule.plain(self.module, self.run, inputs, options)
        if self.removed or not (torch.is_grad_enabled() and any(given.requires_grad for given in inputs)):
            return self.run(*inputs, **options)
        return self.rule.propagated(self.module, self.run, inputs, options)

    def remove(self) -> None:
        """Give the module its own forward back, unless another rule lies on top: that one passes by this one then."""
        self.removed = True
        if vars(self.module).get("forward") == self.forward:
            del self.module.forward
            if self.kept is not None:
                self.module.forward = self.kept


class Rule(Hook):  # type: ignore[misc]
    """A Zennit hook given by one function, from a layer's inputs and its output's relevance to its inputs' relevance.

    While it is registered, the module's ``forward`` is one node of the graph whose backward pass is the rule.

    Attributes
    ----------
    spares_output : bool
        Whether the output may be overwritten before the way back.
    """

    spares_output = True

    def register(self, module: nn.Module) -> RemovableHandleList:
        """Put the rule on a module; the handles take it off again."""
        return RemovableHandleList([RemovableHandle(self), _Registration(self, module)])

    def propagated(
        self, module: nn.Module, run: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]
    ) -> Tensor:
        """Return the output of the module, as a node of the graph whose backward pass is the rule."""
        output: Any = _Propagation.apply(self, module, run, options, *inputs)
        output.spared = self.spares_output and not output._is_view()
        return output  # type: ignore[no-any-return]

    def plain(
        self, module: nn.Module, run: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]
    ) -> Tensor:
        """Return the output of the module where rules are set aside."""
        return linear_map(module, run).run(*inputs, **options)  # type: ignore[no-any-return]

    def check_way_back(self) -> None:
        """Refuse gradients of relevance: the rules are no operations that PyTorch could differentiate."""
        if torch.is_grad_enabled() or not self.active:
            raise RuntimeError(
                f"{type(self).__name__} must be active and create_graph False on the way back; got another wish. Take "
                "gradients of relevance with Zennit's own hooks (fast=False)."
            )

    def run(
        self, layer: LinearMap, inputs: tuple[Tensor, ...], options: dict[str, Any]
    ) -> tuple[Tensor, Any]:
        """Return the output of the layer, and a tensor that the rule needs on the way back, or None."""
        return layer.run(*inputs, **options), None

    def in_pieces(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, a few samples at a time where they are large: memory stays in use."""
        samples = _at_once(inputs, relevance)
        if samples >= len(inputs) or not (layer.is_batched(inputs) and self.separable()):
            return self.relevance(layer, inputs, relevance, kept)
        result = torch.empty_like(inputs)
        for start in range(0, len(inputs), samples):
            piece = slice(start, start + samples)
            shortened = None if kept is None else kept[piece]
            result[piece] = self.relevance(layer, inputs[piece], relevance[piece], shortened)
        return result

    def separable(self) -> bool:
        """Tell whether the rule can treat the samples of a batch one by one."""
        return True

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are.

        Parameters
        ----------
        layer : LinearMap
            The module.
        inputs, relevance : Tensor
            What it was given, and the relevance of what it returned.
        kept : Tensor or None
            What :meth:`run` kept.
        """
        raise NotImplementedError

    def shared(self, inputs: tuple[Tensor, ...], relevance: Tensor) -> tuple[Tensor, ...]:
        """Return the relevance of the summands of a sum."""
        raise NotImplementedError(f"{type(self).__name__} has no form for a sum of {len(inputs)} tensors")


def _at_once(inputs: Tensor, relevance: Tensor) -> int:
    """Return how many samples a rule handles at once."""
    return max(1, PIECE * len(inputs) // max(inputs.numel(), relevance.numel(), 1))


class Pass(Rule):
    """Zennit's Pass: relevance goes through unchanged.

    Examples
    --------
    >>> relu = nn.ReLU()
    >>> handles = Pass().register(relu)
    >>> signal = torch.tensor([-1.0, 1.0], requires_grad=True)
    >>> torch.autograd.grad(relu(signal), signal, torch.tensor([3.0, 4.0]))
    (tensor([3., 4.]),)
    >>> handles.remove()
    """

    def copy(self) -> Pass:
        """Return a new hook."""
        return Pass()

    def propagated(
        self, module: nn.Module, run: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]
    ) -> Tensor:
        """Return the output of the module; a ReLU overwrites an input that nobody else needs."""
        (given,) = inputs
        in_place = bool(vars(module).get("may_overwrite") and getattr(given, "spared", False))
        return _Passage.apply(self, run, options, in_place, given)  # type: ignore[no-any-return]

    def plain(
        self, module: nn.Module, run: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]
    ) -> Tensor:
        """Return the output of the module; a ReLU overwrites what another module computed for it alone."""
        (given,) = inputs
        if vars(module).get("may_overwrite") and not (given.is_leaf and given.requires_grad):
            return given.relu_()
        return super().plain(module, run, inputs, options)


class _Stabilized(Rule):
    """A rule with a stabilizer and with parameters that count as zero, as Zennit's."""

    def __init__(self, stabilizer: Stabilizing = 1e-6, zero_params: ZeroParams = None) -> None:
        super().__init__()
        self.stabilizer = Stabilizer.ensure(stabilizer)
        self.zero_params = _names(zero_params)

    def copy(self) -> Any:
        """Return a new hook with the same settings."""
        new = type(self).__new__(type(self))
        Rule.__init__(new)
        new.__dict__.update({name: value for name, value in vars(self).items() if name not in vars(new)})
        return new

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        layer.zero(self.zero_params)
        return self._relevance(layer, inputs, relevance, None if self.zero_params else kept)

    def _relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        raise NotImplementedError

    def separable(self) -> bool:
        """Tell whether the rule can treat the samples of a batch one by one: a stabilizer of the user's may mix them."""
        return self._is_plain

    @property
    def _is_plain(self) -> bool:
        stabilizer = self.stabilizer
        if type(stabilizer) is not Stabilizer or stabilizer.clip or stabilizer.norm_scale:
            return False
        return isinstance(stabilizer.epsilon, (int, float)) and stabilizer.epsilon >= 0

    def divided(self, relevance: Tensor, total: Tensor) -> Tensor:
        """Return relevance per unit of the stabilized total."""
        if not self._is_plain:
            ratio: Tensor = relevance / self.stabilizer(total)
            return ratio
        least = torch.finfo(total.dtype).tiny if self.stabilizer.epsilon else 0.0
        epsilon = total.new_tensor(max(self.stabilizer.epsilon, least))
        shifted = torch.copysign(epsilon, total).add_(total)
        return torch.div(relevance, shifted, out=shifted if shifted.shape == relevance.shape else None)

    def _all(self, layer: LinearMap, inputs: Tensor, kept: Tensor | None) -> Tensor:
        return layer.forward(inputs, layer.weight, layer.bias) if kept is None else kept


class _KeepingOutput(_Stabilized):
    """A rule that divides by the output as it was; an operation in place after the layer makes PyTorch raise."""

    spares_output = False

    def run(
        self, layer: LinearMap, inputs: tuple[Tensor, ...], options: dict[str, Any]
    ) -> tuple[Tensor, Any]:
        """Return the output, and keep it."""
        output = layer.run(*inputs, **options)
        return output, output


class _ByContribution(_Stabilized):
    """Shares are contributions over the output."""

    def _relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        ratio = self.divided(relevance, self._all(layer, inputs, kept))
        return layer.pull(ratio, layer.weight, inputs)

    def shared(self, inputs: tuple[Tensor, ...], relevance: Tensor) -> tuple[Tensor, ...]:
        """Return the relevance of the summands of a sum."""
        ratio = self.divided(relevance, sum(inputs[1:], start=inputs[0]))
        return tuple(given * ratio for given in inputs)


class Epsilon(_ByContribution, _KeepingOutput):
    """Zennit's Epsilon: ``R_i = x_i sum_j w_ij R_j / stabilize(z_j)``.

    Parameters
    ----------
    epsilon : float or callable, default: 1e-6
        Added to the output with its sign, or a function from the output to what to divide by.
    zero_params : str or list of str, optional
        Parameters that count as zero, for example ``"bias"``.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015, eq. 58.
    """

    def __init__(self, epsilon: Stabilizing = 1e-6, zero_params: ZeroParams = None) -> None:
        super().__init__(epsilon, zero_params)


class Norm(_ByContribution):
    """Zennit's Norm, for operations without parameters: sums and average pooling.

    Parameters
    ----------
    stabilizer : float or callable, default: 1e-6
    """

    def __init__(self, stabilizer: Stabilizing = 1e-6) -> None:
        super().__init__(stabilizer)


class ZPlus(_Stabilized):
    """Zennit's ZPlus: relevance goes to positive contributions.

    Parameters
    ----------
    stabilizer : float or callable, default: 1e-6
    zero_params : str or list of str, optional

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015; Montavon et al., Pattern Recognition 65, 2017.
    """

    def _relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        part = signed(layer, inputs, +1, bias=layer.bias)
        return part.pull(self.divided(relevance, part.total()))


class AlphaBeta(_Stabilized):
    """Zennit's AlphaBeta: positive contributions times alpha, negative ones times minus beta.

    Parameters
    ----------
    alpha, beta : float, default: 2 and 1
    stabilizer : float or callable, default: 1e-6
    zero_params : str or list of str, optional

    Raises
    ------
    ValueError
        If alpha or beta is negative, or ``alpha - beta`` is not 1.

    References
    ----------
    Bach et al., PLOS ONE 10(7), 2015, eq. 60.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 1.0,
        stabilizer: Stabilizing = 1e-6,
        zero_params: ZeroParams = None,
    ) -> None:
        super().__init__(stabilizer, zero_params)
        zennit_rules.AlphaBeta(alpha, beta)
        self.alpha, self.beta = alpha, beta

    def _relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        result = torch.zeros_like(inputs)
        for sign, factor in ((+1, self.alpha), (-1, -self.beta)):
            if factor:
                part = signed(layer, inputs, sign, bias=layer.bias)
                result += part.pull(self.divided(relevance, part.total()).mul_(factor))
        return result


class Gamma(_KeepingOutput):
    """Zennit's generalised Gamma: contributions of the output's own sign are favoured.

    Parameters
    ----------
    gamma : float, default: 0.25
    stabilizer : float or callable, default: 1e-6
    zero_params : str or list of str, optional

    References
    ----------
    Montavon et al., "Layer-wise relevance propagation: an overview", 2019; Andeol et al., 2021.
    """

    def __init__(
        self, gamma: float = 0.25, stabilizer: Stabilizing = 1e-6, zero_params: ZeroParams = None
    ) -> None:
        super().__init__(stabilizer, zero_params)
        self.gamma = gamma

    def relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        """Return the relevance of the inputs, shaped as they are."""
        assert kept is not None  # its sign counts the zeroed parameters as well
        layer.zero(self.zero_params)
        if not (layer.is_operator and self._is_plain):
            return self._by_parts(layer, inputs, relevance, kept)
        total = layer.forward(inputs, layer.weight, layer.bias) if self.zero_params else kept
        favour = Favour(layer, inputs, self.gamma, layer.bias)
        signs = kept.sign()
        divisor = favour.excess(total).mul_(signs).add_(total, alpha=favour.common)
        towards = self.divided(relevance, divisor).mul_(signs)
        return favour.pull(signs.mul_(towards), towards)

    def _by_parts(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor) -> Tensor:
        """Return the relevance as Zennit does, for odd layers and for stabilizers that look at all divisors."""
        above, below = (signed(layer, inputs, sign, self.gamma, layer.bias) for sign in (+1, -1))
        risen = above.pull(self.divided(relevance * (kept > 0), above.total()))
        return risen + below.pull(self.divided(relevance * (kept < 0), below.total()))


class ZBox(_KeepingOutput):
    """Zennit's ZBox, for the layer that reads pixels between two bounds.

    Parameters
    ----------
    low, high : float or Tensor
        Smallest and largest value of a pixel; a tensor is broadcast to the inputs.
    stabilizer : float or callable, default: 1e-6
    zero_params : str or list of str, optional

    References
    ----------
    Montavon et al., Pattern Recognition 65, 2017.
    """

    def __init__(
        self,
        low: float | Tensor,
        high: float | Tensor,
        stabilizer: Stabilizing = 1e-6,
        zero_params: ZeroParams = None,
    ) -> None:
        super().__init__(stabilizer, zero_params)
        self.low, self.high = low, high

    def separable(self) -> bool:
        """Tell whether the rule can treat the samples of a batch one by one: bounds of each sample go with it."""
        bounds = (self.low, self.high)
        return super().separable() and not any(
            isinstance(b, Tensor) and b.dim() and len(b) > 1 for b in bounds
        )

    def _relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        total = self._all(layer, inputs, kept)
        levels = [self._level(bound, layer, inputs) for bound in (self.low, self.high)]
        weights = [None if layer.weight is None else sign(layer.weight) for sign in (positive, negative)]
        biases = [None if layer.bias is None else sign(layer.bias) for sign in (positive, negative)]
        for level, weight, bias in zip(levels, weights, biases, strict=True):
            total = total - layer.forward(level, weight, bias)
        ratio = self.divided(relevance, total)
        terms: list[tuple[Tensor, Tensor | None]]
        if layer.weight is None:
            terms = [(inputs, None), *((-level, None) for level in levels)]
        else:  # the weight is the sum of both
            terms = [(inputs - level, weight) for level, weight in zip(levels, weights, strict=True)]
        return layer.added(layer.pull(ratio, weight, difference) for difference, weight in terms)

    @staticmethod
    def _level(bound: float | Tensor, layer: LinearMap, inputs: Tensor) -> Tensor:
        """Return a bound shaped as the inputs, of one sample if it is the same for all."""
        alike = not isinstance(bound, Tensor) or bound.dim() == 0 or len(bound) == 1
        like = layer.sample(inputs) if alike else inputs
        level: Tensor = expand(bound, like.shape, cut_batch_dim=True).to(inputs)
        return level


class _Blind(_Stabilized):
    """A rule that does not look at the inputs: the denominators of all samples are the same."""

    def _relevance(self, layer: LinearMap, inputs: Tensor, relevance: Tensor, kept: Tensor | None) -> Tensor:
        weight, bias = self._weights(layer)
        ones = torch.ones_like(layer.sample(inputs) if self._is_plain else inputs)
        total = layer.forward(ones, weight, bias)
        like = (
            inputs if layer.is_operator else torch.ones_like(inputs)
        )  # where a layer that is not linear is taken
        together = self._is_plain and layer.is_batched(inputs)
        size = _at_once(inputs, relevance) if together else max(len(inputs), len(relevance))
        parts = [
            self._back(layer, self.divided(given, total), weight, place)
            for given, place in zip(torch.split(relevance, size), torch.split(like, size), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _weights(self, layer: LinearMap) -> tuple[Tensor | None, Tensor | None]:
        """Return what takes the place of the layer's weight and bias."""
        raise NotImplementedError

    def _back(self, layer: LinearMap, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        return layer.backward(ratio, weight, like)

    def separable(self) -> bool:
        """Tell that the rule itself goes through the samples: they share the denominators."""
        return False


class WSquare(_Blind):
    """Zennit's WSquare: relevance goes by squared weights, whatever the inputs.

    Parameters
    ----------
    stabilizer : float or callable, default: 1e-6
    zero_params : str or list of str, optional

    References
    ----------
    Montavon et al., Pattern Recognition 65, 2017.
    """

    def _weights(self, layer: LinearMap) -> tuple[Tensor | None, Tensor | None]:
        return tuple(None if value is None else value.square() for value in (layer.weight, layer.bias))  # type: ignore[return-value]


class Flat(_Blind):
    """Zennit's Flat: relevance goes in equal shares to all inputs of a unit.

    Parameters
    ----------
    stabilizer : float or callable, default: 1e-6
    zero_params : str or list of str, optional

    References
    ----------
    Lapuschkin et al., Nature Communications 10, 2019.
    """

    def _weights(self, layer: LinearMap) -> tuple[Tensor | None, Tensor | None]:
        if layer.weight is None or "weight" in self.zero_params:
            return layer.weight, None
        return torch.ones_like(layer.weight), None

    def _back(self, layer: LinearMap, ratio: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
        return layer.spread(ratio, weight, like)


def accelerated(template: Hook, module: nn.Module) -> Hook:
    """Return the rule of this module that gives what a Zennit hook gives, or the hook itself where there is none.

    Parameters
    ----------
    template : zennit.core.Hook
        As a composite gives it for the module.
    module : nn.Module

    Returns
    -------
    hook : zennit.core.Hook
        Not registered, with the settings of the given one.
    """
    if type(template) is zennit_rules.Pass and not isinstance(module, Sum):
        return Pass()
    make = TRANSLATIONS.get(type(template))
    plain_sum = isinstance(module, Sum) and type(template) not in (zennit_rules.Norm, zennit_rules.Epsilon)
    others = module._parameters.keys() - {"weight", "bias"}
    if make is None or plain_sum or others or not _is_as_made(template):
        return template
    return make(_settings(template))


def _settings(template: BasicHook) -> dict[str, Any]:
    """Read the settings of a Zennit rule, which it keeps in the functions that it is made of."""
    functions = [template.gradient_mapper, template.reducer, *template.input_modifiers]
    first = template.param_modifiers[0]
    found: dict[str, Any] = {"zero_params": first.zero_params}
    for function in (*functions, first.modifier):
        found.update(_held(function))
    return found


def _is_as_made(template: BasicHook) -> bool:
    """Tell whether a Zennit rule consists of the functions that its class makes of its settings."""
    kind = type(template)
    like = EXAMPLES[kind]
    if any(_codes(getattr(template, name)) != _codes(getattr(like, name)) for name in PIECES):
        return False
    settings = _settings(template)
    settings["stabilizer"] = settings["epsilon"] = settings["stabilizer_fn"]
    again = kind(**{name: settings[name] for name in inspect.signature(kind).parameters})
    return _modifications(template) == _modifications(again)


def _modifications(template: BasicHook) -> list[Any]:
    """Return how a Zennit rule changes the parameters in each of its runs."""
    return [
        (_names(change.zero_params), change.param_keys, change.require_params, _held(change.modifier))
        for change in template.param_modifiers
    ]


def _names(names: ZeroParams) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def _held(function: Any) -> dict[str, Any]:
    return dict(inspect.getclosurevars(function).nonlocals) if inspect.isfunction(function) else {}


def _codes(functions: Any) -> list[Any]:
    several = functions if isinstance(functions, (list, tuple)) else [functions]
    return [getattr(getattr(function, "modifier", function), "__code__", function) for function in several]


PIECES = ("input_modifiers", "param_modifiers", "output_modifiers", "gradient_mapper", "reducer")
EXAMPLES: dict[type[Hook], BasicHook] = {
    kind: kind()
    for kind in (
        zennit_rules.Epsilon,
        zennit_rules.Norm,
        zennit_rules.ZPlus,
        zennit_rules.AlphaBeta,
        zennit_rules.Gamma,
        zennit_rules.WSquare,
        zennit_rules.Flat,
    )
} | {zennit_rules.ZBox: zennit_rules.ZBox(0.0, 1.0)}
TRANSLATIONS: dict[type[Hook], Callable[[dict[str, Any]], Rule]] = {
    zennit_rules.Epsilon: lambda s: Epsilon(s["stabilizer_fn"], s["zero_params"]),
    zennit_rules.Norm: lambda s: Norm(s["stabilizer_fn"]),
    zennit_rules.ZPlus: lambda s: ZPlus(s["stabilizer_fn"], s["zero_params"]),
    zennit_rules.AlphaBeta: lambda s: AlphaBeta(s["alpha"], s["beta"], s["stabilizer_fn"], s["zero_params"]),
    zennit_rules.Gamma: lambda s: Gamma(s["gamma"], s["stabilizer_fn"], s["zero_params"]),
    zennit_rules.ZBox: lambda s: ZBox(s["low"], s["high"], s["stabilizer_fn"], s["zero_params"]),
    zennit_rules.WSquare: lambda s: WSquare(s["stabilizer_fn"], s["zero_params"]),
    zennit_rules.Flat: lambda s: Flat(s["stabilizer_fn"], _without_bias(s["zero_params"])),
}


def _without_bias(zero_params: ZeroParams) -> ZeroParams:
    """Flat has no use for the bias in any case."""
    return [name for name in zero_params or [] if name != "bias"]
