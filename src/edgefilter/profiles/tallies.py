"""What a run over a folder counts: metrics of torchmetrics that are kept, merged and read together."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric, SumMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from edgefilter.attribution.explanation import Explanation

from .confusion import Confusion, distinct
from .network import Network
from .paired import PairedProfile
from .profile import ClassProfile

__all__ = ["Tallies"]


class Tallies:
    """The metrics of a run; each photo is counted in all of them.

    Parameters
    ----------
    networks : sequence of Network
        The network that is profiled, and the one it is compared with if there is one.
    folders : sequence of str
        The classes of the photos.
    by : {"label", "predicted"}
        The class that photos are counted in.
    pixels : bool
        Whether to keep mean pixel maps.
    """

    def __init__(self, networks: Sequence[Network], folders: Sequence[str], by: str, *, pixels: bool) -> None:
        self.networks, self.by = networks, by
        first = networks[0]
        examples = [network.explain(network.example, torch.tensor([0])) for network in networks]
        names = first.names if by == "predicted" else tuple(folders)
        pixel = examples[0].pixel
        assert pixel is not None
        self.profile = ClassProfile(
            len(names),
            examples[0].colors,
            examples[0].filters,
            class_names=names,
            filter_labels=examples[0].filter_labels,
            pixel_size=(pixel.shape[2], pixel.shape[3]) if pixels else None,
            sync_on_compute=False,
        )
        self.negative = SumMetric(sync_on_compute=False)
        known: dict[str, Metric] = {"profile": self.profile, "negative": self.negative}
        self.matrix: MulticlassConfusionMatrix | None = None
        if first.truth is not None:
            known["confusion"] = self.matrix = MulticlassConfusionMatrix(
                len(first.names), sync_on_compute=False
            )
        self.paired: PairedProfile | None = None
        if len(networks) > 1:
            known["paired"] = self.paired = PairedProfile(
                len(names), *examples, class_names=names, sync_on_compute=False
            )
        self.metrics = nn.ModuleDict(known)
        for metric in known.values():
            metric.persistent(True)

    def count(self, inputs: Sequence[Tensor], labels: Tensor) -> None:
        """Explain a batch of photos, as each network takes them, and take it in.

        Parameters
        ----------
        inputs : sequence of Tensor, shape (N, C, H, W)
            One for each network.
        labels : Tensor, shape (N,)
            The folder of each photo.
        """
        explanations = [
            network.explain(images, labels) for network, images in zip(self.networks, inputs, strict=True)
        ]
        answers = [self._answers(*these) for these in zip(self.networks, inputs, explanations, strict=True)]
        classes = labels if self.by == "label" or answers[0] is None else answers[0]
        self.profile.update(explanations[0], classes)
        self.negative.update((explanations[0].output < 0).sum())
        truth = self.networks[0].truth
        if self.matrix is not None and truth is not None and answers[0] is not None:
            self.matrix.update(answers[0], truth[labels])
        if self.paired is not None:
            right = [
                answer == network.truth[labels]
                for network, answer in zip(self.networks, answers, strict=True)
                if network.truth is not None and answer is not None
            ]
            first, second = explanations
            self.paired.update(first, second, classes, (right[0], right[1]) if len(right) == 2 else None)

    def _answers(self, network: Network, inputs: Tensor, explanation: Explanation) -> Tensor | None:
        """Return what a network predicts, if anybody wants to know."""
        wanted = network.truth is not None or self.by == "predicted"
        return network.predicted(inputs, explanation) if wanted else None

    # --- as one -----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that was counted."""
        return {name: value.clone() for name, value in self.metrics.state_dict().items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what was counted."""
        self.metrics.load_state_dict(tensors)

    def together(self) -> dict[str, Tensor]:
        """Return what all processes of ``torch.distributed`` counted."""
        with contextlib.ExitStack() as stack:
            for metric in self.metrics.values():
                assert isinstance(metric, Metric)
                stack.enter_context(metric.sync_context())
            return self.state()

    def confusion(self) -> Confusion | None:
        """Return which classes are predicted for which, if folders are classes."""
        if self.matrix is None:
            return None
        return Confusion(self.matrix.confmat.clone(), distinct(self.networks[0].names))
