"""LIME with a kernel surrogate, and with superpixels that are sampled together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from captum.log import log_usage
from torch import Tensor
from tqdm.auto import tqdm

from edgefilter._checks import closest, counted, is_number
from edgefilter.attribution.arguments import Question, Target

from .arguments import generator_of, one_input, whole_number
from .feature_masks import FeatureMask, feature_masks
from .fragmenting import fragments
from .masking import MaskedAttribution, MaskedScores
from .sampling import SAMPLERS, adjacency, connected_sets, independent_sets
from .surrogates import Kernel, Surrogate, as_kernel, fitted

__all__ = ["KernelLIME", "LimeExplanation"]

N_SAMPLES, N_SEGMENTS = 1000, 50


class LimeExplanation(NamedTuple):
    """What surrogates say of a batch of predictions.

    Attributes
    ----------
    attributions : Tensor, shape (N, C, H, W)
        What the surrogate loses without the feature of each value, signed, in units of the output.
    values : Tensor, shape (N, K)
        The same by feature; 0 for labels that an image does not have.
    fidelity : Tensor, shape (N,), float64
        R2 of each surrogate for sets of features that it was not fitted to (leave one out); NaN if the output is constant.
    surrogates : tuple of Surrogate
    """

    attributions: Tensor
    values: Tensor
    fidelity: Tensor
    surrogates: tuple[Surrogate, ...]

    def __repr__(self) -> str:
        fits = ", ".join(f"{value:.2f}" for value in self.fidelity[:6].tolist())
        return (
            f"LimeExplanation({counted(len(self.values), 'image')}, {counted(self.values.shape[1], 'feature')}, "
            f"fidelity {fits}{', ...' * (len(self.fidelity) > 6)})"
        )


class KernelLIME(MaskedAttribution):
    r"""LIME with a kernel surrogate, fitted to connected sets of superpixels.

    By default, connected sets of SLIC superpixels are shown to the model, and a radial kernel is fitted to its outputs. Use
    :class:`captum.attr.FeatureAblation` with the same ``feature_mask`` for the exact effect of hiding one feature (``K + 1`` passes), and a
    gradient method where there are gradients.

    Parameters
    ----------
    forward_func : callable
        A model, or any function that takes images and returns one score for each, or one row of outputs.

    Notes
    -----
    A set :math:`z_m \in \{0, 1\}^K` keeps some of ``K`` features and replaces the others with the baseline; the model's output is
    :math:`y_m`. The surrogate :math:`g(z) = b + \sum_m \alpha_m k(z, z_m)` minimizes

    .. math::

        \sum_m w_m \bigl( y_m - g(z_m) \bigr)^2 + \lambda \, \alpha^T G \alpha , \qquad
        \phi_k = g(\mathbf 1) - g(\mathbf 1 - e_k) ,

    with the kernel's values :math:`G` among the sets, and :math:`\phi_k` goes to each pixel of feature :math:`k`. With a linear kernel :math:`\phi` are the coefficients of LIME: with
    ``sampling="independent"`` it equals :class:`captum.attr.Lime` on the same sets. A set that is drawn more than once is shown to the model
    once, and counts as often as it was drawn.

    The paper's kernel, weights and number of samples were not available: this is in its spirit, and not an implementation of it. ``fidelity`` in
    :meth:`explain` says how well a surrogate predicts the model; look at it before you trust the map.

    EfficientNet-Lite0 on the demo photo (40 superpixels, 1000 samples), the default against simpler choices:

    ===========  =========  ========  ======================================
    sampling     kernel     fidelity  correlation with the exact drops
    ===========  =========  ========  ======================================
    connected    rbf        0.95      0.92 (300 samples: 0.74; 3000: 0.96)
    connected    quadratic  0.90      0.52
    connected    linear     0.81      0.25
    independent  rbf        0.66      0.47
    independent  linear     0.58      0.30
    ===========  =========  ========  ======================================

    Fidelity is that for sets of the kind that was sampled.

    **Cost**: up to ``n_samples`` forward passes for each image and no backward pass; and one eigenvalue problem of that size.

    **Sanity check**: passes. A constant output gives exactly zero. With the layers above the first randomized, the map correlates with the one
    before by 0.0 (shipped digits network, 4 digits, 8 draws), with another seed by 0.95. It is not complete: drops of single features do not
    add up where features interact.

    References
    ----------
    Shi et al., "Kernel-based LIME with feature dependency sampling", ICPR 2020. Ribeiro et al., "Why should I trust you?", KDD 2016.

    Examples
    --------
    A score of three stripes: the first one counts 3, and the other two count 2 if they are shown together.

    >>> stripes = torch.tensor([[0, 1, 2]])
    >>> score = lambda x: 3 * x[:, 0, 0, 0] + 2 * x[:, 0, 0, 1] * x[:, 0, 0, 2]
    >>> lime = KernelLIME(score)
    >>> lime.attribute(torch.ones(1, 1, 1, 3), feature_mask=stripes, kernel="quadratic", ridge=1e-9).round(decimals=4)
    tensor([[[[3., 2., 2.]]]])
    >>> lime.explain(torch.ones(1, 1, 1, 3), feature_mask=stripes, kernel="linear")
    LimeExplanation(1 image, 3 features, fidelity 0.66)
    """

    def get_name(self) -> str:
        """Return the method's name, for progress bars and figures."""
        return "Kernel LIME"

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        n_samples: int = N_SAMPLES,
        kernel: str | Kernel = "rbf",
        sampling: str | Tensor = "connected",
        ridge: float | None = None,
        similarity_func: Callable[..., Any] | None = None,
        n_segments: int = N_SEGMENTS,
        perturbations_per_eval: int = 1,
        seed: int | torch.Generator = 0,
        show_progress: bool = False,
        return_input_shape: bool = True,
    ) -> Tensor | tuple[Tensor, ...]:
        r"""Return what the surrogate loses without each feature.

        Parameters
        ----------
        inputs : Tensor, shape (N, C, H, W), or a tuple of one
        baselines : number or Tensor of shape (N, C, H, W) or (1, C, H, W), optional
            What hidden features are replaced with. Default: 0.
        target, additional_forward_args : optional
            As in all methods of Captum; a score alone needs no target.
        feature_mask : Tensor of whole numbers, shape (H, W) or (N or 1, C or 1, H, W), optional
            The feature of each value, as in Captum's ``Lime``. Default: SLIC superpixels of each image.
        n_samples : int, default: 1000
            How many sets of features to draw for each image.
        kernel : {"rbf", "linear", "quadratic"} or callable, default: "rbf"
            :math:`\exp(-\|z - z'\|^2 / K)`, :math:`z \cdot z'` or :math:`(1 + z \cdot z')^2`. A callable takes two batches of sets, (M, K)
            and (S, K) in float64, and returns (M, S).
        sampling : {"connected", "independent"} or Tensor of shape (M, K), default: "connected"
            Connected sets, of sizes from 1 to ``K``; or each feature with probability 1/2; or sets of your own.
        ridge : float, optional
            The factor of the penalty, at least 0. Default: of the powers of ten from 1e-6 to 1000, the one with the best leave-one-out
            predictions.
        similarity_func : callable, optional
            How much a set counts, as in Captum's ``Lime``: takes the image, its masked copy and the set (1, K). Default: each the same.
        n_segments : int, default: 50
            About how many superpixels there are by default.
        perturbations_per_eval : int, default: 1
            How many masked copies of an image go through the model at a time.
        seed : int or torch.Generator, default: 0
            Of the sets. Images with the same features get the same sets, whatever else is in the batch.
        show_progress : bool, default: False
        return_input_shape : bool, default: True
            Whether the values are written to the pixels of their features.

        Returns
        -------
        attributions : Tensor, shape (N, C, H, W), or a tuple of one; or shape (N, K) with ``return_input_shape=False``
            Signed, in units of the output; dtype and device of ``inputs``.

        Raises
        ------
        TypeError, ValueError, AssertionError, IndexError
            If an argument or the output does not fit; the message says what does.
        ImportError
            If there is no ``feature_mask`` and scikit-image is not installed.
        """
        options: dict[str, Any] = {
            "n_samples": n_samples,
            "kernel": kernel,
            "sampling": sampling,
            "ridge": ridge,
            "similarity_func": similarity_func,
            "n_segments": n_segments,
            "perturbations_per_eval": perturbations_per_eval,
            "seed": seed,
            "show_progress": show_progress,
        }
        found = self.explain(inputs, baselines, target, additional_forward_args, feature_mask, **options)
        if not return_input_shape:
            return found.values
        return (found.attributions,) if isinstance(inputs, tuple) else found.attributions

    def explain(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Target = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        *,
        n_segments: int = N_SEGMENTS,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **options: Any,
    ) -> LimeExplanation:
        """Return the attributions with the surrogates and how well they predict the model; arguments as in :meth:`attribute`.

        Returns
        -------
        explanation : LimeExplanation
            ``.attributions``, ``.values``, ``.fidelity``, ``.surrogates``.
        """
        images, _ = one_input(inputs)
        scores = MaskedScores(
            self.forward_func, images, baselines, target, additional_forward_args, perturbations_per_eval
        )
        settings = _Settings(**options).checked()
        whole_number(n_segments, "n_segments", 2)
        masks = feature_masks(
            fragments(images, [n_segments])[0][:, None] if feature_mask is None else feature_mask, images
        )
        masks = masks * (len(images) // len(masks))
        sets = [settings.sets(mask) for mask in masks]
        total = sum(len(one) for one, _ in sets)
        bar = tqdm(total=total, desc=f"{self.get_name()} attribution", disable=not show_progress)
        with bar, torch.no_grad():
            surrogates = tuple(
                settings.fit(single, mask, *some, bar)
                for single, mask, some in zip(_singles(scores), masks, sets, strict=True)
            )
        values = images.new_zeros(len(images), 1 + max(int(mask.columns.max()) for mask in masks))
        attributions = torch.empty_like(images)
        for place, (surrogate, mask) in enumerate(zip(surrogates, masks, strict=True)):
            drops = surrogate.drops().to(images)
            values[place, mask.columns.to(images.device)] = drops
            attributions[place] = drops[mask.labels.to(images.device)]
        fidelity = torch.tensor([one.fidelity for one in surrogates], dtype=torch.float64)
        return LimeExplanation(attributions, values, fidelity, surrogates)


class _Settings(NamedTuple):
    """How sets are drawn, and what is fitted to the outputs."""

    n_samples: int = N_SAMPLES
    kernel: str | Kernel = "rbf"
    sampling: str | Tensor = "connected"
    ridge: float | None = None
    similarity_func: Callable[..., Any] | None = None
    seed: int | torch.Generator = 0

    def checked(self) -> _Settings:
        """Return them with the kernel as a function and the seed as a number; raise if one is wrong."""
        whole_number(self.n_samples, "n_samples", 2)
        if not isinstance(self.sampling, Tensor) and self.sampling not in SAMPLERS:
            raise ValueError(
                f"sampling must be one of {', '.join(SAMPLERS)}, or a Tensor of sets; got {self.sampling!r}"
                f"{closest(str(self.sampling), SAMPLERS)}"
            )
        if self.ridge is not None and not (is_number(self.ridge) and 0 <= self.ridge < float("inf")):
            raise ValueError(
                f"ridge must be a number of at least 0, or None; got {self.ridge!r}. Pass for example ridge=0.01."
            )
        if self.similarity_func is not None and not callable(self.similarity_func):
            raise TypeError(
                f"similarity_func must be callable; got {type(self.similarity_func).__name__}. Pass a function as for captum.attr.Lime."
            )
        seed = int(torch.randint(2**62, (1,), generator=generator_of(self.seed)))
        return self._replace(kernel=as_kernel(self.kernel), seed=seed)

    def sets(self, mask: FeatureMask) -> tuple[Tensor, Tensor]:
        """Return the different sets for an image, (M, K) bool, and how often each was drawn."""
        features = len(mask.columns)
        generator = torch.Generator().manual_seed(self.seed)  # type: ignore[arg-type]
        if isinstance(self.sampling, Tensor):
            drawn = self.sampling.detach().cpu()
            if (
                drawn.dim() != 2
                or drawn.shape[1] != features
                or not bool(((drawn == 0) | (drawn == 1)).all())
            ):
                raise ValueError(
                    f"sampling must be a Tensor of 0 and 1 of shape (samples, {features}), one column per feature; got shape "
                    f"{tuple(drawn.shape)}. Pass one row per set."
                )
        elif self.sampling == "connected":
            drawn = connected_sets(adjacency(mask.labels), self.n_samples, generator)
        else:
            drawn = independent_sets(features, self.n_samples, generator)
        found, counts = torch.unique(drawn.bool(), dim=0, return_counts=True)
        if len(found) < 2:
            raise ValueError("n_samples must give two different sets or more; got 1. Draw more samples.")
        return found, counts

    def fit(
        self, scores: MaskedScores, mask: FeatureMask, sets: Tensor, counts: Tensor, bar: Any
    ) -> Surrogate:
        """Run the model with each set of one image, and fit a surrogate to its outputs."""
        outputs, similar = [], []
        for some in torch.split(sets, scores.copies):
            masks = some[:, mask.labels]
            outputs.append(scores.of(masks[:, None])[:, 0])
            if self.similarity_func is not None:
                pairs = zip(some, masks, strict=True)
                similar += [self._similarity(scores, one, kept) for one, kept in pairs]
            bar.update(len(some))
        importance = counts.double() * (torch.tensor(similar, dtype=torch.float64) if similar else 1.0)
        return fitted(sets, torch.cat(outputs), importance, self.kernel, self.ridge)  # type: ignore[arg-type]

    def _similarity(self, scores: MaskedScores, chosen: Tensor, kept: Tensor) -> float:
        image = scores.images
        shown = torch.where(kept.to(image.device), image, scores.baselines)
        found = float(self.similarity_func(image, shown, chosen[None].long()))  # type: ignore[misc]
        if not 0 <= found < float("inf"):
            raise ValueError(
                f"similarity_func must return a number of at least 0; got {found}. Look at its value for an image that is all baseline."
            )
        return found


def _singles(scores: MaskedScores) -> Iterator[MaskedScores]:
    """Yield what gives the scores of each image alone, so that surrogates do not depend on the others in the batch."""
    count = len(scores.images)
    pieces, _ = Question((scores.images,), scores.target, None, scores.extra).pieces(1)
    for place, piece in enumerate(pieces):
        own = scores.baselines.dim() == 4 and len(scores.baselines) == count
        baselines = scores.baselines[place : place + 1] if own else scores.baselines
        yield MaskedScores(
            scores.forward_func, piece.images[0], baselines, piece.target, piece.extra, scores.copies
        )
