"""Run a user's model as it is, and give every function call that touches the image its relevance rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from zennit.core import Composite, Hook

from edgefilter.errors import UnsupportedModelError
from edgefilter.lrp.gates import ACTIVATED

from .calls import Calls
from .composites import NamedComposite
from .functions import INPLACE, NATIVE, TABLE, Call
from .modules import RuledModules
from .rules import Pass
from .site import kernel_of
from .standins import Passing, of_function
from .stem import NOTHING, Stem
from .steps import NO_RULE, Refused, Step, node
from .surroundings import autocasts, eager, random_states
from .values import Late, Recipe, Value, replaced, tensors_in

__all__ = ["Engine"]

TAG = "_edgefilter"  # the attribute of a tensor that says what is known about it
CUT = "_edgefilter_cut"  # of one that was computed without gradients: where


class Engine(TorchFunctionMode):
    """One run of a model under a composite.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    composite : Composite
    stem : Stem
        Expresses the convolutions that read the image by a bank, and keeps their responses.
    watched : bool, default: False
        Whether the steps note the relevance that they receive and hand on.

    Attributes
    ----------
    steps : list of Step
        In the order of execution.
    calls : Calls
        Counts the functions that the model calls.
    doubtful : bool
        Whether the run may differ from the model's own: something was overwritten that shares its memory.
    """

    def __init__(self, model: nn.Module, composite: Composite, stem: Stem, *, watched: bool = False) -> None:
        super().__init__()
        self.model, self.composite, self.stem = model, composite, stem
        self.modules = RuledModules(
            model, composite, stem.spare(model), opaque=self._enter_whole, transparent=self._leave_whole
        )
        self.attention = getattr(composite, "attention", "constant")
        self.conserves = getattr(composite, "conserves", False)
        self.keeps_constant = isinstance(composite, NamedComposite)
        self.steps: list[Step] = []
        self.doubtful = False
        self._watched = watched
        self._values: list[Value] = []
        self._now: dict[int, tuple[Tensor, Tensor]] = {}
        self._overwritten: dict[int, Tensor] = {}
        self._foreign: dict[int, tuple[Tensor, Value | None]] = {}
        self._leaves: tuple[Tensor, ...] = ()
        self.given = NOTHING
        self._whole: list[tuple[nn.Module, Hook, tuple[Tensor, ...]]] = []
        self.calls = Calls()

    # Running.

    def __call__(
        self, images: tuple[Tensor, ...], extra: tuple[Any, ...], originals: tuple[Tensor, ...] = ()
    ) -> Any:
        """Return what the model returns, with an autograd graph of rules.

        Parameters
        ----------
        images : tuple of Tensors
            Where the graph begins: the model's inputs, or an image in a basis of colors.
        extra : tuple
            Further arguments of the model.
        originals : tuple of Tensors
            The inputs, where the graph begins at something else.
        """
        leaves = tuple(self.tag(image.view_as(image), from_image=True) for image in images)
        self._leaves = leaves
        drawn = random_states()
        with self.modules, eager():
            given = tuple(map(self._made, leaves, originals)) or leaves
            self.given = given[0]
            with self:
                output = self.model(*given, *extra)
        self.doubtful = self.doubtful or random_states() != drawn
        output = replaced(output, self.now)
        for tensor in tensors_in(output):
            self._check_not_cut(tensor)
        return output

    def _made(self, leaf: Tensor, original: Tensor) -> Tensor:
        assert self.stem.recolored is not None
        return self.stem.recolored.given(self, leaf, original)

    def again(self, recipe: Recipe, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the result of a call with other tensors."""
        args, kwargs = replaced(recipe.args, change), replaced(recipe.kwargs, change)
        with self:
            result = recipe.function(*args, **kwargs)
        return result if recipe.part is None else result[recipe.part]  # type: ignore[no-any-return]

    def release(self) -> None:
        """Let go of what the end and the stem were found with, before the relevance goes back."""
        for value in self._values:
            value.late = value.linear = value.recipe = value.squashes = value.parts = None
        self._now, self._overwritten, self._foreign = {}, {}, {}
        self.stem.release()

    def close(self) -> None:
        """Let go of all tensors, so that a graph that somebody else keeps does not keep the run."""
        for value in self._values:
            value.forget()
        for step in self.steps:
            step.forget()
        self.stem.forget()
        self.steps, self._values, self._leaves, self.given = [], [], (), NOTHING
        self._now, self._overwritten, self._foreign = {}, {}, {}

    # Knowing tensors.

    def tag(self, tensor: Tensor, **known: Any) -> Tensor:
        """Note that a tensor depends on the image."""
        value = Value(self, **known)
        value.call = self.calls.now
        self._values.append(value)
        setattr(tensor, TAG, value)
        return tensor

    def value(self, tensor: Any) -> Value | None:
        """Return what is known about a tensor that depends on the image; None for others."""
        if not isinstance(tensor, Tensor):
            return None
        value: Value | None = getattr(tensor, TAG, None)
        if value is not None and value.run is self:
            return value
        if tensor.grad_fn is None or not tensor.is_floating_point():
            return None
        if id(tensor) not in self._foreign:  # computed where no torch function was seen, or before this run
            known = Value(self) if _reaches(tensor.grad_fn, self) else None
            self._foreign[id(tensor)] = (tensor, known)
        return self._foreign[id(tensor)][1]

    def is_near(self, tensor: Tensor) -> bool:
        """Return whether no convolution lies between a tensor and the image."""
        value = self.value(tensor)
        return value is not None and value.from_image

    def known(self, tensor: Tensor) -> Value:
        """Return what is known about a tensor that is known to depend on the image."""
        value = self.value(tensor)
        assert value is not None
        return value

    def now(self, tensor: Tensor) -> Tensor:
        """Return the tensor that has taken the place of one that was changed in place."""
        while id(tensor) in self._now:
            tensor = self._now[id(tensor)][1]
        return tensor

    def constant(self, value: Any) -> Any:
        """Return an argument with its tensors detached."""
        return replaced(value, Tensor.detach)

    def place_of(self, tensor: Tensor) -> int:
        """Return which of the inputs a tensor is made of."""
        if len(self._leaves) == 1:
            return 0
        for place, leaf in enumerate(self._leaves):
            if tensor is leaf:
                return place
        found = torch.autograd.grad(
            tensor, self._leaves, torch.ones_like(tensor), retain_graph=True, allow_unused=True
        )
        return next((place for place, part in enumerate(found) if part is not None), 0)

    def leaf_of(self, tensor: Tensor) -> Tensor:
        """Return the input that a tensor is made of."""
        return self._leaves[self.place_of(tensor)]

    # Making results.

    def step(
        self,
        kind: type[Step],
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        value: Tensor,
        *,
        hook: Hook | None,
        reader: bool | None = None,
        gate: int = 0,
        from_image: bool | None = None,
    ) -> Tensor:
        """Return a value as the result of a step.

        ``reader`` says whether the step reads its inputs steadily; None: as steadily as its result is read.
        """
        known = [found for given in inputs if (found := self.value(given)) is not None]
        if any(value is given for given in inputs):
            value = value.view_as(value)
        kept = () if isinstance(hook, Pass) else tuple(map(self._kept, inputs))
        step = kind(self.modules.name, module, hook, kept, Value(self))
        if isinstance(hook, Pass):
            module.__dict__.pop("function", None)  # it holds the call's arguments
        step.watched = self._watched
        result = node(step, value, inputs)
        near = all(found.from_image for found in known) if from_image is None else from_image
        self.tag(result, gate=gate, from_image=near)
        made: Value = getattr(result, TAG)
        made.step = step
        step.value = made
        self.steps.append(step)
        for found in known:
            found.readers.append(made if reader is None else reader)
        return result

    def _kept(self, given: Tensor) -> Tensor | Late:
        known = self.value(given)
        return given.detach() if known is None or known.late is None else known.late

    def passing(
        self,
        call: Call,
        signal: Tensor,
        value: Tensor,
        *,
        gate: int = 0,
        kind: type[nn.Module] = Passing,
        **settings: Any,
    ) -> Tensor:
        """Return a value whose relevance goes to one of the operands unchanged."""
        module = of_function(kind, call.of(signal))
        module.function.__name__ = call.name  # type: ignore[union-attr]
        hook = self.modules.hook(module) if kind is not Passing else None
        if signal.shape != value.shape:
            signal = self.rearranged(
                call._replace(function=Tensor.expand, args=(signal, value.shape), kwargs={})
            )
        return self.step(Step, module, (signal,), value, hook=hook or PASS, gate=gate, **settings)

    def rearranged(self, call: Call, result: Any = None) -> Any:
        """Return the result of a function whose gradient hands relevance where it belongs."""
        signals = [given for given in tensors_in((call.args, call.kwargs)) if self.value(given) is not None]
        known = [self.known(given) for given in signals]
        if result is None:
            args, kwargs = (replaced(part, self._own) for part in (call.args, call.kwargs))
            with torch.enable_grad():
                result = call.function(*args, **kwargs)
        several = not isinstance(result, Tensor)
        near = all(found.from_image for found in known)
        for part, tensor in enumerate(result if several else (result,)):
            if (
                not isinstance(tensor, Tensor)
                or not tensor.is_floating_point()
                or self.value(tensor) in known
            ):
                continue
            gate = min(found.gate for found in known)
            is_cut = several or tensor.numel() < max(given.numel() for given in signals)
            self.tag(tensor, gate=0 if is_cut and gate == ACTIVATED else gate, from_image=near)
            made: Value = getattr(tensor, TAG)
            made.recipe = Recipe(call.function, call.args, call.kwargs, part if several else None)
            for found in known:
                found.readers.append(made)
                found.viewed = found.viewed or tensor._is_view()
        return result

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor if self.value(tensor) is not None else tensor.detach()

    def refused(self, call: Call, *, gate: int = 0) -> Any:
        """Return the results of a function without a rule: as constants they will do."""
        if call.name == "__set__" or (call.name.rstrip("_") != call.name and not call.name.startswith("__")):
            raise UnsupportedModelError(NO_RULE.format(self._described(call)))
        inputs = [given for given in tensors_in((call.args, call.kwargs)) if self.value(given) is not None]
        near = all(self.known(given).from_image for given in inputs)
        with torch.no_grad():
            result = call.function(*self.constant(call.args), **self.constant(call.kwargs))

        def mark(tensor: Tensor) -> Tensor:
            if not (tensor.is_floating_point() or tensor.is_complex()):
                return tensor
            marked = Refused.apply(self._described(call), [tensor.view_as(tensor)], *inputs)
            return self.tag(marked, from_image=near, gate=gate)

        return replaced(result, mark)

    def _described(self, call: Call) -> str:
        where = self.modules.name
        name = call.name
        if name in ("__get__", "__set__"):  # of a property
            name = f"Tensor.{getattr(call.function, '__self__').__name__}"  # noqa: B009 - unknown to type checkers
        return f"{name} (in {where!r})" if where else name

    # Seeing functions.

    def __enter__(self) -> Any:
        self.calls.depth += 1
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *given: Any) -> None:
        self.calls.depth -= 1
        super().__exit__(*given)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.calls.count(func)
        if func is F.conv2d and self.calls.depth <= 1:
            self.stem.kernels.append(kernel_of(args, kwargs))
        return self._seen(func, args, kwargs)

    def _seen(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Return the result of a function that the model calls."""
        if self._now:
            args, kwargs = replaced(args, self.now), replaced(kwargs, self.now)
        if self._whole or func in NATIVE:
            return func(*args, **kwargs)
        given = list(tensors_in(args)) + (list(tensors_in(kwargs)) if kwargs else [])
        if not given:
            return func(*args, **kwargs)
        device = given[0].device.type
        if autocasts(device):  # rules compute in the precision of the model
            with torch.autocast(device, enabled=False):
                return self._seen(func, args, kwargs)
        if self._overwritten:
            self._check_not_overwritten(given)
        if kwargs.get("out") is not None and any(self.value(tensor) is not None for tensor in given):
            return self._into(func, args, dict(kwargs))
        if func in INPLACE or kwargs.get("inplace"):
            return self._in_place(func, args, dict(kwargs))
        if not any(self.value(tensor) is not None for tensor in given):
            return self._constant_call(func, args, kwargs, given)
        call = Call(self, func, args, kwargs)
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return self._cut(call)
        handler = TABLE.get(func)
        return self.refused(call) if handler is None else handler(call)

    def _constant_call(self, func: Any, args: Any, kwargs: Any, given: list[Tensor]) -> Any:
        """Run a function that the image has no part in as it is."""
        cut = next((tensor for tensor in given if getattr(tensor, CUT, (None,))[0] is self), None)
        if cut is not None and torch.is_grad_enabled():
            self._check_not_cut(cut)
        if any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in given):
            raise UnsupportedModelError(
                f"model must not use torch.func inside forward; got {self._described(Call(self, func, args, kwargs))} under "
                "vmap or another transformation, which hides the image. Write the operation out for the batch."
            )
        with torch.no_grad():
            result = func(*args, **kwargs)
        if cut is not None:
            for tensor in tensors_in(result):
                setattr(tensor, CUT, getattr(cut, CUT))
        return result

    def _cut(self, call: Call) -> Any:
        """Compute without gradients: in an autograd function of the user's, or under ``no_grad``, which cuts relevance off."""
        result = call.value()
        for tensor in tensors_in(result):
            if tensor.is_floating_point():
                setattr(tensor, CUT, (self, self._described(call)))
        return result

    def _check_not_cut(self, tensor: Tensor) -> None:
        run, what = getattr(tensor, CUT, (None, ""))
        if run is self and tensor.grad_fn is None:
            raise UnsupportedModelError(
                f"model must not switch gradients off inside forward; got {what} under torch.no_grad or inference_mode, "
                "which would cut the relevance off. Move no_grad out of forward, or use detach() on what is meant to be "
                "constant."
            )

    def _in_place(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute an in-place function out of place, and let the result take the place of its first argument."""
        kwargs.pop("inplace", None)
        target = args[0] if args else kwargs["input"]
        others = tensors_in((args[1:], kwargs))
        known = self.value(target)
        if known is None and not any(self.value(tensor) is not None for tensor in others):
            with torch.no_grad():
                return func(*args, **kwargs)
        if known is None and target._is_view():
            self._overwritten[id(target._base)] = target._base
        self.doubtful = self.doubtful or known is None or target._is_view() or known.shares_memory()
        result = INPLACE.get(func, func)
        with self:
            result = result(*args, **kwargs)
        if isinstance(result, Tensor) and result is not target:
            self._now[id(target)] = (target, result)
        return result

    def _into(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute a function that writes into given tensors, and let its results take their places."""
        places = list(tensors_in(kwargs.pop("out")))
        with self:
            result = func(*args, **kwargs)
        for place, part in zip(places, tensors_in(result), strict=True):
            self._now[id(place)] = (place, part)
        self.doubtful = True
        return result

    def _check_not_overwritten(self, given: list[Tensor]) -> None:
        for tensor in given:
            if id(tensor) in self._overwritten or id(tensor._base) in self._overwritten:
                raise UnsupportedModelError(
                    "model must not read a tensor after image data were written into a view of it; got one of shape "
                    f"{tuple(tensor.shape)}. Write into the tensor itself: x[:, :3] = y in place of x[:, :3].copy_(y)."
                )

    # Modules that a composite has a hook for as a whole.

    def _enter_whole(self, module: nn.Module, hook: Hook, inputs: Any) -> Any:
        known = tuple(given for given in inputs if self.value(given) is not None)
        if self._whole or not known:
            return None
        self._whole.append((module, hook, inputs))
        return replaced(inputs, Tensor.detach)

    def _leave_whole(self, module: nn.Module, output: Any) -> Any:
        if not self._whole or self._whole[-1][0] is not module:
            return None
        _, hook, inputs = self._whole.pop()
        (first, *_) = inputs
        if not isinstance(output, Tensor) or len(inputs) != 1:
            raise UnsupportedModelError(
                f"module {self.modules.names[id(module)]!r} must take and return one tensor, for the composite has a hook for "
                f"it; got {len(inputs)} inputs and a {type(output).__name__}. Map the modules inside it instead."
            )
        return self.step(Step, self.modules.ruled_twin(module), (first,), output.detach(), hook=hook)


def _reaches(grad_fn: Any, run: Engine) -> bool:
    """Return whether a graph reaches a step of this run."""
    pending, seen = [grad_fn], set()
    while pending:
        found = pending.pop()
        if found is None or found in seen:
            continue
        seen.add(found)
        step = getattr(found, "step", None)
        if isinstance(step, Step) and step.value.run is run:
            return True
        pending += [before for before, _ in found.next_functions]
    return False


PASS = Pass()
