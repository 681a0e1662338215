"""Nothing leaks past the rules: the autograd graph holds steps and rearrangements, or the model is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from edgefilter.errors import UnsupportedModelError

from .steps import NO_RULE, Refused, Step

__all__ = ["check_graph"]

# Autograd nodes whose gradient moves, copies or selects values.
REARRANGEMENTS = {
    "AccumulateGrad", "AdaptiveMaxPool2D", "AdaptiveMaxPool3D", "Alias", "AsStrided", "BackwardHookFunction", "Cat", "Clone", "Concat",
    "ConstantPadNd", "CopyBackwards", "Copy", "CopySlices", "Cummax", "Cummin", "Diagonal", "Expand", "Flip", "FractionalMaxPool2D",
    "Gather", "Im2Col", "IndexFill", "IndexPut", "Index", "IndexSelect", "Kthvalue", "MaskedFill", "MaskedScatter", "MaskedSelect",
    "Max", "MaxPool2DWithIndices", "MaxPool3DWithIndices", "MaxPool2D", "MaxPool3D", "MaxUnpool2D", "MaxUnpool3D", "Maximum", "Median",
    "Min", "Minimum", "Mode", "MkldnnMaxPool2D", "NativeChannelShuffle", "ChannelShuffle", "Permute", "PixelShuffle", "PixelUnshuffle",
    "ReflectionPad1D", "ReflectionPad2D", "ReflectionPad3D", "RepeatInterleave", "Repeat", "ReplicationPad1D", "ReplicationPad2D",
    "ReplicationPad3D", "ReshapeAlias", "Roll", "Rot90", "Scatter", "SelectScatter", "Select", "Slice", "SliceScatter", "Sort",
    "SplitWithSizes", "Split", "Squeeze", "Stack", "TakeAlongDim", "ToCopy", "Topk", "Transpose", "Tril", "Triu", "T", "Unbind",
    "Unfold", "UnsafeSplit", "UnsafeView", "Unsqueeze", "View", "Where",
}  # fmt: skip


def check_graph(output: Tensor, responses: Iterable[Tensor], leaf: Tensor) -> bool:
    """Refuse a graph in which relevance would meet anything but rules; return whether the image is read past the bank.

    Raises
    ------
    UnsupportedModelError
        Names all that has no rule.
    """
    ends = {response.grad_fn for response in responses}
    past = False
    pending: list[tuple[Any, bool]] = [(output.grad_fn, True)]
    seen: dict[Any, bool] = {}
    refused: dict[str, None] = {}
    while pending:
        found, above = pending.pop()
        if found is None or seen.get(found, not above) is above or seen.get(found):
            continue
        seen[found] = above
        if getattr(found, "variable", None) is leaf:
            past = past or above
            continue
        refused.update(dict.fromkeys(_names(found)))
        beyond = above and found not in ends
        pending += [(before, beyond) for before, _ in found.next_functions]
    if refused:
        raise UnsupportedModelError(NO_RULE.format(", ".join(sorted(refused))))
    return past


def _names(found: Any) -> list[str]:
    if isinstance(getattr(found, "step", None), Step):
        return []
    kind = type(found).__name__
    if kind == f"{Refused.__name__}Backward":
        return [found.refusal]
    name = found.name().removeprefix("torch::autograd::")
    plain = name.rstrip("0123456789").removesuffix("Backward")
    if plain in REARRANGEMENTS or plain.removesuffix("Backward") in REARRANGEMENTS:
        return []
    return [
        f"{plain} (computed where torch functions cannot be seen: a scripted part or an operator of its own)"
    ]
