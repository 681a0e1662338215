"""Relevance at the output of the filter bank, as one of Captum's layer methods."""

from __future__ import annotations

from typing import Any

from captum.attr import GradientAttribution, LayerAttribution
from captum.log import log_usage
from torch import Tensor, nn
from zennit.core import Composite

from edgefilter.banks.bank import FilterBank

from .arguments import Against, Target
from .attribution import EdgeFilterAttribution

__all__ = ["LayerEdgeFilterAttribution"]


class LayerEdgeFilterAttribution(LayerAttribution, GradientAttribution):  # type: ignore[misc]
    """The twin of :class:`EdgeFilterAttribution` among Captum's layer methods: relevance of each response.

    Parameters
    ----------
    model : nn.Module
        Any image classifier in evaluation mode; left as it is.
    layer : nn.Module or str, optional
        The filter bank (``layer.filters``), the edge-filter layer that holds it, or the path of one; of a model without
        one, the convolution that is seen as a bank and a mixing. Default: the only one of the model.
    composite, bank
        As in :class:`EdgeFilterAttribution`.
    device_ids : list of int, optional
        Taken for the sake of Captum's signature; without effect.

    Attributes
    ----------
    layer : nn.Module or None
        May be exchanged between calls, as TCAV does.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument does not fit; the message says what does.

    Notes
    -----
    Responses are those of the model's channels, whatever they are called: groups and another basis are for
    :class:`EdgeFilterAttribution`, or for the sums of :meth:`Explanation.from_responses`.

    For TCAV name the bank itself, such as ``"conv1.filters"``: the activations of the layer around it have other
    channels.

    Examples
    --------
    >>> import torch
    >>> import edgefilter as ef
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)).eval()
    >>> model, images = ef.replace_stem(net), torch.rand(2, 3, 6, 6)
    >>> relevance = LayerEdgeFilterAttribution(model, model[0]).attribute(images, target=7)
    >>> relevance.shape, model[0].filters(images).shape
    (torch.Size([2, 27, 4, 4]), torch.Size([2, 27, 4, 4]))
    """

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module | str | None = None,
        composite: Composite | str | None = None,
        *,
        bank: FilterBank | str | None = None,
        device_ids: list[int] | None = None,
    ) -> None:
        own = EdgeFilterAttribution(model, composite, bank=bank, layer=layer, calibrate=False)
        model = own.model
        module = own.layer = model.get_submodule(layer) if isinstance(layer, str) else layer
        self._attribution = own
        GradientAttribution.__init__(self, model)
        LayerAttribution.__init__(self, model, module, device_ids)
        self.model = model

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether relevance is a share of the output, not a sensitivity to it: True."""
        return True

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        *,
        against: Against = None,
        internal_batch_size: int | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the relevance at the output of the filter bank, or at its input.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W), or tuple of Tensors
        target : int, tuple, Tensor or list, optional
        additional_forward_args : Any, optional
            As in :meth:`EdgeFilterAttribution.attribute`.
        attribute_to_layer_input : bool, default: False
            Whether to go on to the input of the bank: the pixels, where the bank comes first.
        against : int, tuple, Tensor, list, "rest" or "odds", optional
        internal_batch_size : int, optional
            As in :meth:`EdgeFilterAttribution.attribute`.

        Returns
        -------
        attributions : Tensor, shape (N, C*K, H', W') or (N, C, H, W); in a tuple where ``inputs`` is one
            Shaped as the output, or the input, of the bank. Channel ``c*K + k`` is color ``c`` through filter ``k``:
            :meth:`Explanation.from_responses` sums them to scores. Detached and contiguous.

        Raises
        ------
        ValueError, TypeError, IndexError, AssertionError
            If inputs or target do not fit the model; the message says what does.
        UnsupportedModelError
            If the model holds an operation without a relevance rule.
        """
        relevance = self._follow().at_bank(
            inputs,
            target,
            additional_forward_args,
            against=against,
            of_input=attribute_to_layer_input,
            internal_batch_size=internal_batch_size,
        )
        return (relevance,) if isinstance(inputs, tuple) else relevance

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError("attribute_future is not implemented for LayerEdgeFilterAttribution")

    def _follow(self) -> EdgeFilterAttribution:
        """Return the attribution of the layer that is set now."""
        own = self._attribution
        if own.layer is not self.layer:
            own = EdgeFilterAttribution(
                self.model, own.composite, bank=own.bank, layer=self.layer, calibrate=False
            )
            self._attribution = own
        return own
