"""How strongly a layer responds to groups of images: means, and the ratio of the least to the largest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgefilter._checks import closest
from edgefilter.attribution.arguments import unwrapped
from edgefilter.errors import InputTypeError
from edgefilter.stems.finding import check_module, submodule

from .arguments import check_evaluation, whole_number
from .group_ratio import GroupRatio, group_ratio, named_groups

__all__ = ["STATISTICS", "activation_ratio", "batches_of"]

Statistic = Callable[[Tensor], Tensor]

STATISTICS: dict[str, Statistic] = {
    "max": lambda activation: activation.reshape(*activation.shape[:2], -1).amax(2).mean(1),
    "mean": lambda activation: activation.flatten(1).mean(1),
    "absolute": lambda activation: activation.abs().flatten(1).mean(1),
}
WORDS = {"max": "largest activation", "mean": "mean activation", "absolute": "mean absolute activation"}


def activation_ratio(
    model: nn.Module,
    layer: str | nn.Module,
    groups: Mapping[str, Tensor | Iterable[Any]],
    *,
    statistic: str | Statistic = "max",
    batch_size: int = 32,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int | torch.Generator = 0,
) -> GroupRatio:
    r"""Compare how strongly a layer responds to groups of images.

    A network that was trained on few images of a group may respond more weakly to that group, even where its accuracy is the same. The ratio
    of the groups' mean activations shows it with few images and no labels. For what the model *uses* in each group, see
    :func:`score_ratio`.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; left as it is.
    layer : str or nn.Module
        A layer of the model, or its path: the filter bank, the last convolution, ... It must run once for each batch.
    groups : mapping of str to Tensor or iterable
        Two groups or more. Each: images of shape (N, C, H, W), or batches of them, such as a ``DataLoader`` (of ``(images, labels)``, the
        images count), or single images of shape (C, H, W), such as a ``Dataset``.
    statistic : {"max", "mean", "absolute"} or callable, default: "max"
        How the activation of an image becomes one number. ``"max"``: of each channel the largest value, averaged over the channels. ``"mean"``: the
        mean of all values. ``"absolute"``: the mean of their absolute values, for layers of both signs such as a bank. A callable takes
        the activations (N, ...) and returns one number for each image, (N,).
    batch_size : int, default: 32
        Images at a time, of a group that is one tensor.
    n_bootstrap : int, default: 1000
    confidence : float, default: 0.95
        Of the percentile intervals, from images drawn anew within each group.
    seed : int or torch.Generator, default: 0

    Returns
    -------
    found : GroupRatio
        ``ratio``, ``low``, ``high``; ``means``, ``lows``, ``highs``, ``counts`` by group; ``summary()``, ``to_dataframe()``.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit, or the layer does not run once; the message says what does.

    Warns
    -----
    UserWarning
        If a group has one image (no interval), or a mean is negative (no ratio).

    Notes
    -----
    With :math:`a_{nchw}` the activation of image :math:`n` of group :math:`g` at channel :math:`c` and place :math:`(h, w)`,

    .. math::

        m_g = \frac{1}{N_g} \sum_{n} \frac{1}{C} \sum_c \max_{h, w} a_{nchw} , \qquad \mathrm{ratio} = \frac{\min_g m_g}{\max_g m_g} .

    InsideBias [1]_ asks this question. Its exact formula was not available: this follows the idea and is not an implementation of it. A ratio below 1 says
    that a layer responds differently, which may be due to the pictures (darker photos) as well as to the training: compare groups that
    differ in nothing else.

    With 15 images a group, a 95 % interval holds the true ratio of two groups in 93 of 100 cases, of three equal groups in 90 and of five in
    87; with 50 images in 94 of two and 93 of three (measured with log-normal values of coefficient of variation 0.5).

    **Cost**: one forward pass for each image.

    References
    ----------
    .. [1] Serna, Peña, Morales & Fierrez, "InsideBias: Measuring Bias in Deep Networks and Application to Face Gender Biometrics", ICPR
       2020, arXiv:2004.06592.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)).eval()
    >>> bright = torch.rand(15, 1, 6, 6)
    >>> found = activation_ratio(net, "1", {"bright": bright, "dark": bright / 2})
    >>> found.ratio, found.least, found.counts
    (0.5, 'dark', {'bright': 15, 'dark': 15})
    """
    check_module(model)
    model = unwrapped(model)
    check_evaluation(model)
    named = named_groups(groups)
    measure, words = _statistic(statistic)
    whole_number(batch_size, "batch_size")
    module = submodule(model, layer, "layer") if isinstance(layer, str) else _own(model, layer)
    path = next(name for name, one in model.named_modules() if one is module) or type(model).__name__
    values = {
        name: torch.cat(
            [
                _measured(model, module, images, measure, path)
                for images in batches_of(group, name, batch_size)
            ]
        )
        for name, group in named.items()
    }
    return group_ratio(
        values, f"{words} of {path!r}", n_bootstrap=n_bootstrap, confidence=confidence, seed=seed
    )


def batches_of(group: Any, name: str, batch_size: int) -> Iterator[Tensor]:
    """Yield the images of a group in batches.

    Parameters
    ----------
    group : Tensor or iterable
        As in :func:`activation_ratio`.
    name : str
        What messages call it.
    batch_size : int
        Images at a time, of a tensor.

    Raises
    ------
    InputTypeError, ValueError
        If it holds anything but images, or none.

    Examples
    --------
    >>> [tuple(batch.shape) for batch in batches_of(torch.rand(3, 1, 4, 4), "a", 2)]
    [(2, 1, 4, 4), (1, 1, 4, 4)]
    """
    if isinstance(group, Tensor):
        group = [group] if group.dim() == 3 else torch.split(group, batch_size)
    if hasattr(group, "__getitem__") and hasattr(group, "__len__") and not isinstance(group, Iterable):
        group = map(group.__getitem__, range(len(group)))  # a data set
    if isinstance(group, (str, bytes, Mapping)) or not isinstance(group, Iterable):
        _refuse(group, name)
    found = 0
    for given in group:
        images = given[0] if isinstance(given, (tuple, list)) and given else given
        if not isinstance(images, Tensor):
            _refuse(images, name)
        images = images[None] if images.dim() == 3 else images
        if images.dim() != 4 or not images.is_floating_point():
            raise ValueError(
                f"groups must hold floating-point images of shape (N, C, H, W); got {images.dtype} of shape {tuple(images.shape)} in "
                f"{name!r}. Preprocess them as for the model."
            )
        found += len(images)
        if len(images):
            yield images.detach()
    if not found:
        raise ValueError(f"groups must hold images; got none in {name!r}. Drop the group, or add images.")


def _refuse(given: Any, name: str) -> None:
    raise InputTypeError(
        f"groups must hold tensors of images, or batches of them; got {type(given).__name__} in {name!r}. Pass a tensor of shape (N, C, H, W)."
    )


def _own(model: nn.Module, layer: Any) -> nn.Module:
    """Return a layer, or raise unless it is a part of the model."""
    if not isinstance(layer, nn.Module):
        raise TypeError(
            f"layer must be a module of the model or its path; got {type(layer).__name__}. Pass for example 'features.0'."
        )
    if not any(module is layer for module in model.modules()):
        raise ValueError(
            f"layer must be a module of the model; got another {type(layer).__name__}. Pass its path."
        )
    return layer


def _statistic(statistic: Any) -> tuple[Statistic, str]:
    if callable(statistic):
        return statistic, getattr(statistic, "__name__", "statistic").strip("<>")
    if statistic not in STATISTICS:
        raise ValueError(
            f"statistic must be one of {', '.join(STATISTICS)}, or a callable; got {statistic!r}{closest(str(statistic), STATISTICS)}"
        )
    return STATISTICS[statistic], WORDS[statistic]


def _measured(model: nn.Module, layer: nn.Module, images: Tensor, statistic: Statistic, path: str) -> Tensor:
    """Return one number for each image, from a layer's activation in one run."""
    found: list[Tensor] = []

    def noted(
        _module: nn.Module, _inputs: Any, output: Any
    ) -> None:  # at once: what follows may work in place
        found.append(_numbers(output, statistic, len(images), path))

    handle = layer.register_forward_hook(noted)
    weight = next((p for p in model.parameters() if p.is_floating_point()), images)
    try:
        with torch.no_grad():
            model(images.to(weight.device))
    finally:
        handle.remove()
    if len(found) != 1:
        raise ValueError(
            f"layer must run once for each batch; {path!r} ran {len(found)} times. Name the module around it."
        )
    return found[0]


def _numbers(activation: Any, statistic: Statistic, count: int, path: str) -> Tensor:
    """Return a statistic of an activation, and check both."""
    if not isinstance(activation, Tensor) or activation.dim() < 2 or len(activation) != count:
        got = tuple(activation.shape) if isinstance(activation, Tensor) else type(activation).__name__
        raise ValueError(
            f"layer must return one tensor with a row for each of the {count} images; got {got} from {path!r}. Name another layer."
        )
    values = statistic(activation)
    if not isinstance(values, Tensor) or values.shape != (count,):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"statistic must return one number for each of the {count} images; got {got}. Average over the other axes."
        )
    return values.double().cpu()
