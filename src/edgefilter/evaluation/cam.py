"""Our maps in the place of class activation maps: for pytorch-grad-cam and for torchcam, and for what they measure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from edgefilter.attribution.attribution import EdgeFilterAttribution

__all__ = ["EdgeFilterCAM", "EdgeFilterExtractor"]

# Targets of pytorch-grad-cam that name one class: its logit is explained, whatever they make of it.
ONE_OUTPUT = ("ClassifierOutputTarget", "ClassifierOutputSoftmaxTarget", "ClassifierOutputReST")


class EdgeFilterCAM:
    """Explain as :class:`edgefilter.EdgeFilterAttribution` does, in the form of the classes of pytorch-grad-cam.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode. It runs as it is, and is left as it is: there is no target layer, and no hook.
    kind : {"positive", "signed", "absolute"}, default: "positive"
    smooth : float or bool, optional
        As in :meth:`edgefilter.Explanation.map`.
    **options
        As in :class:`edgefilter.EdgeFilterAttribution`: ``composite``, ``bank``, ``calibrate``, ``layer``.

    Notes
    -----
    The library's metrics (ROAD, confidence, insertion and deletion) take the maps as they are. ``show_cam_on_image`` takes those that are
    not signed.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> with EdgeFilterCAM(net, smooth=1) as cam:
    ...     maps = cam(input_tensor=torch.rand(2, 3, 6, 6), targets=[7, 1])
    >>> maps.shape, maps.dtype, float(maps.max())
    ((2, 6, 6), dtype('float32'), 1.0)
    """

    def __init__(
        self, model: nn.Module, *, kind: str = "positive", smooth: float | bool | None = None, **options: Any
    ) -> None:
        self.attribution = EdgeFilterAttribution(model, **options)
        self.attribution.with_levels = False
        self.model, self.kind, self.smooth = self.attribution.model, kind, smooth

    def __call__(
        self,
        input_tensor: Tensor,
        targets: Sequence[Any] | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> npt.NDArray[np.float32]:
        """Return one map for each image.

        Parameters
        ----------
        input_tensor : Tensor, shape (N, C, H, W)
        targets : sequence, optional
            One for each image: a ``ClassifierOutputTarget`` (or another target of one class: its logit is explained), or an index.
            Default: the largest output of each image.
        aug_smooth, eigen_smooth : bool, default: False
            Taken for the sake of the signature; refused if they are set.

        Returns
        -------
        maps : ndarray, shape (N, H, W), float32
            In [0, 1], the largest of each image 1; signed ones in [-1, 1].

        Raises
        ------
        ValueError, TypeError
            If an argument does not fit; the message says what does.
        """
        if aug_smooth or eigen_smooth:
            raise ValueError(
                f"aug_smooth and eigen_smooth must be False; got {aug_smooth!r} and {eigen_smooth!r}. Make the object with smooth=..."
            )
        target = None if targets is None else [_class_of(one) for one in targets]
        explanation = self.attribution.explain(input_tensor, target)
        maps: npt.NDArray[np.float32] = (
            explanation.map(self.kind, smooth=self.smooth, normalize=True).float().cpu().numpy()
        )
        return maps

    def __enter__(self) -> EdgeFilterCAM:
        """Return the object; nothing is registered on the model."""
        return self

    def __exit__(self, *error: object) -> Literal[False]:
        """Let errors pass."""
        return False


class EdgeFilterExtractor:
    """Explain as :class:`edgefilter.EdgeFilterAttribution` does, in the form of the extractors of torchcam.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode. A hook notes the images that it is given, until ``remove_hooks()`` or the end of a ``with`` block.
    kind : {"positive", "signed", "absolute"}, default: "positive"
    smooth : float or bool, optional
        As in :meth:`edgefilter.Explanation.map`.
    **options
        As in :class:`edgefilter.EdgeFilterAttribution`: ``composite``, ``bank``, ``calibrate``, ``layer``.

    Notes
    -----
    For ``torchcam.metrics.ClassificationMetric`` and ``DeletionInsertionMetric`` as for any extractor of that library.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> with EdgeFilterExtractor(net) as extractor:
    ...     scores = net(torch.rand(2, 3, 6, 6))
    ...     maps = extractor(scores.argmax(1).tolist(), scores)
    >>> len(maps), maps[0].shape
    (1, torch.Size([2, 6, 6]))
    """

    def __init__(
        self, model: nn.Module, *, kind: str = "positive", smooth: float | bool | None = None, **options: Any
    ) -> None:
        self.attribution = EdgeFilterAttribution(model, **options)
        self.attribution.with_levels = False
        self.model, self.kind, self.smooth = model, kind, smooth
        self._images: Tensor | None = None
        self._notes = True
        self._handle = model.register_forward_pre_hook(self._noted)

    def __call__(
        self,
        class_idx: int | list[int] | None = None,
        scores: Any = None,  # noqa: ARG002 - the library's own argument
        normalized: bool = True,
        *,
        targets: Any = None,
    ) -> list[Tensor]:
        """Return the maps of the images that the model was given last.

        Parameters
        ----------
        class_idx : int or list of int, optional
            The class to explain, of all images or of each. Default: the largest output of each image.
        scores : Tensor, optional
            The model's output: not needed.
        normalized : bool, default: True
            Whether the maps are in [0, 1] (signed ones in [-1, 1]).
        targets : optional
            Functions of the output: refused, they have no relevance.

        Returns
        -------
        maps : list of one Tensor, shape (N, H, W)

        Raises
        ------
        ValueError
            If the model has not run since the extractor was made, or ``targets`` are given.
        """
        if targets is not None:
            raise ValueError(
                "targets must be None: a function of the output has no relevance; got some. Pass class_idx."
            )
        if self._images is None:
            raise ValueError(
                "model must have run before its maps are made; got no images yet. Call scores = model(images) first, with the extractor."
            )
        with self._hooks_off():
            explanation = self.attribution.explain(self._images, class_idx)
        return [explanation.map(self.kind, smooth=self.smooth, normalize=normalized)]

    def remove_hooks(self) -> None:
        """Take the hook from the model, and let go of the images."""
        self._handle.remove()
        self._images = None

    @staticmethod
    def fuse_cams(cams: list[Tensor], target_shape: tuple[int, int] | None = None) -> Tensor:
        """Return the only map, resized if it is asked for."""
        if target_shape is None or tuple(cams[0].shape[1:]) == tuple(target_shape):
            return cams[0]
        return nn.functional.interpolate(cams[0][:, None], target_shape, mode="bilinear")[:, 0]

    @contextlib.contextmanager
    def _hooks_off(self) -> Iterator[None]:
        """Note no images for a while; torchcam's metrics call it by this name."""
        before, self._notes = self._notes, False
        try:
            yield
        finally:
            self._notes = before

    def _noted(self, _model: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._notes and inputs and isinstance(inputs[0], Tensor):
            self._images = inputs[0].detach()

    def __enter__(self) -> EdgeFilterExtractor:
        """Return the extractor."""
        return self

    def __exit__(self, *error: object) -> Literal[False]:
        """Take the hook from the model, and let errors pass."""
        self.remove_hooks()
        return False


def _class_of(target: Any) -> int:
    """Return the index of the output that a target names."""
    index = getattr(target, "category", None) if type(target).__name__ in ONE_OUTPUT else target
    if isinstance(index, bool) or not isinstance(index, (int, np.integer, Tensor)):
        raise TypeError(
            f"targets must hold indices of outputs, or targets of one class such as ClassifierOutputTarget(3); got "
            f"{type(target).__name__}. A function of several outputs has no relevance."
        )
    return int(index)
