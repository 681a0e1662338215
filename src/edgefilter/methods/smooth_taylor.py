"""SmoothTaylor: the first-order Taylor terms of a model around noisy copies of its input, averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from captum._utils.typing import TensorOrTupleOfTensorsGeneric
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from edgefilter.attribution.arguments import Question, Target, as_extra

from .arguments import check_evaluation, generator_of, input_tensors, target_of_each, whole_number
from .outputs import expanded, gradients_of, outputs_of
from .roots import Given, Roots, Stdevs, as_roots
from .stdev_search import Objective, Search, TunedStdevs, as_objective

__all__ = ["SmoothTaylor"]

# Samples that the model gets at a time. EfficientNet-Lite0 on a photo takes 1.8 GB with it, and 85 MB more for each further sample: 13 GB
# for all 150, which are no faster on a CPU.
AT_ONCE = 10


class SmoothTaylor(GradientAttribution):  # type: ignore[misc]
    r"""Average the first-order Taylor terms of a model around noisy copies of the input.

    It needs no baseline and no path. What it estimates is **curvature**: use it to reproduce the paper, or where you want to
    know how the gradient bends around an image. For what an output is made of, use :class:`captum.attr.IntegratedGradients`
    or :class:`edgefilter.EdgeFilterAttribution`.

    .. math:: \Phi = \frac{1}{n} \sum_{i=1}^{n} (x - z_i) \odot \nabla f_c(z_i), \qquad z_i = x + s\,e_i,
        \quad e_i \sim N(0, I)

    Parameters
    ----------
    forward_func : callable or nn.Module
        From the inputs to one output for each example, or to several of which ``target`` picks one.

    Notes
    -----
    **What it estimates.** By Stein's identity the expectation of :math:`\Phi_j` is :math:`-s^2` times the second
    derivative of the smoothed output, :math:`\partial_j^2\, E f_c(x + s e)`: the diagonal of its Hessian. So

    - it is 0, but for noise, where a model is linear, however much a pixel matters there;
    - **its sign misleads where the logit is convex**: a pixel that drives the logit up gets a negative value. On the
      shipped network for digits its ranking is worse than a random one (see *Sanity check*);
    - it goes to 0 with ``s``, not to the input times the gradient.

    **You can already do this.** It is a difference of two of Captum's methods, exactly for one image (of several, ``NoiseTunnel`` draws the
    noise for each anew)::

        noise = {"nt_samples": 150, "stdevs": 0.5, "target": target}
        torch.manual_seed(0)
        smooth = NoiseTunnel(Saliency(model)).attribute(x, abs=False, **noise)
        torch.manual_seed(0)
        product = NoiseTunnel(InputXGradient(model)).attribute(x, **noise)
        phi = x * smooth - product

    This class draws the noise once, takes ``roots`` of your own, and knows the delta.

    **Noise.** The numbers come from one generator on the CPU, sample by sample, in single precision. In each sample all
    examples of a batch get the same unit noise, times their standard deviation. So a map depends neither on the other
    examples, nor on ``n_samples_batch_size``, nor on the device; and errors of the examples are not independent.

    **Cost.** ``n_samples`` forward and backward passes for each example; with the delta, one forward pass more each.

    **Sanity check.** A constant output gives 0 everywhere. Completeness holds to rounding for affine outputs, and not beyond:
    the delta has the size of the curvature. Randomization passes: with new weights above the filter bank of the shipped network
    for digits, the rank correlation of the maps before and after is 0.00 (30 images, 3 draws; ``benchmarks/sanity.py``).
    *Deletion fails*: the mean probability of the class while pixels are deleted by their rank is 0.45, where a random order has
    0.32 and integrated gradients have 0.15 (200 images); by ``-Phi`` 0.38, by its size 0.43. With a standard deviation of 0.1
    (60 images) it is 0.54, against 0.32 and 0.12; SmoothGrad with the same noise has 0.18.

    References
    ----------
    .. [1] Goh, Lapuschkin, Weber, Samek & Binder, "Understanding Integrated Gradients with SmoothTaylor for Deep Neural
       Network Attribution", ICPR 2020 (arXiv 2004.10484).
    .. [2] Stein, "Estimation of the Mean of a Multivariate Normal Distribution", Annals of Statistics 9, 1981.

    Examples
    --------
    The output ``x**2 + 3 y`` has second derivatives 2 and 0; the expectation is minus their product with ``s**2``:

    >>> method = SmoothTaylor(lambda points: points[:, 0] ** 2 + 3 * points[:, 1])
    >>> points = torch.tensor([[1.0, 1.0]])
    >>> method.attribute(points, n_samples=5000, stdevs=0.5).round(decimals=1)
    tensor([[-0.5000, 0.0000]])

    With one root it is the Taylor term there, ``(x - z) * gradient(z)``:

    >>> method.attribute(points, roots=torch.zeros(1, 1, 2))
    tensor([[0., 3.]])
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        if not callable(forward_func):
            raise TypeError(
                f"forward_func must be callable; got {type(forward_func).__name__}. Pass the model."
            )
        GradientAttribution.__init__(self, forward_func)
        self.gradient_func = gradients_of

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether gradients are multiplied by a change of the inputs: True."""
        return True

    def has_convergence_delta(self) -> bool:
        """Whether there is a delta: True."""
        return True

    @overload
    def attribute(
        self,
        inputs: TensorOrTupleOfTensorsGeneric,
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        return_convergence_delta: Literal[True],
        n_samples: int = 150,
        stdevs: Stdevs | TunedStdevs = 0.5,
        n_samples_batch_size: int | None = AT_ONCE,
        seed: int | torch.Generator = 0,
        roots: Given | None = None,
    ) -> tuple[TensorOrTupleOfTensorsGeneric, Tensor]: ...

    @overload
    def attribute(
        self,
        inputs: TensorOrTupleOfTensorsGeneric,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: Literal[False] = False,
        *,
        n_samples: int = 150,
        stdevs: Stdevs | TunedStdevs = 0.5,
        n_samples_batch_size: int | None = AT_ONCE,
        seed: int | torch.Generator = 0,
        roots: Given | None = None,
    ) -> TensorOrTupleOfTensorsGeneric: ...

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        *,
        n_samples: int = 150,
        stdevs: Stdevs | TunedStdevs = 0.5,
        n_samples_batch_size: int | None = AT_ONCE,
        seed: int | torch.Generator = 0,
        roots: Given | None = None,
    ) -> Any:
        """Return the averaged Taylor terms.

        Parameters
        ----------
        inputs : Tensor, shape (N, ...), or tuple of Tensors
            Floating point, preprocessed as for the model.
        target : int, tuple, Tensor or list, optional
            The output to explain, in Captum's forms.
        additional_forward_args : Any, optional
            Further arguments of the model; tensors are expanded with the samples, as in Captum's ``NoiseTunnel``.
        return_convergence_delta : bool, default: False
            Whether to return the delta as well.
        n_samples : int, default: 150
            How many noisy copies of each example, as published.
        stdevs : float, Tensor of shape (N,), tuple of these, or TunedStdevs, default: 0.5
            The standard deviation of the noise in units of the inputs: one, one for each example, or a tuple with either
            for each of several inputs.
        n_samples_batch_size : int or None, default: 10
            How many samples the model gets at a time, each for all examples; None for all at once, the default of ``NoiseTunnel``. Memory
            grows with it, and the map stays the same.
        seed : int or torch.Generator, default: 0
            Of the noise. A generator (on the CPU) goes on where it is.
        roots : Tensor of shape (n_samples, N, ...), tuple of them, or callable, optional
            Points to use in place of the noise; ``stdevs`` and ``seed`` are ignored then. A callable gets ``inputs`` and the
            index of a sample, and returns one point for each example, shaped as ``inputs``. The number of samples is that of the
            tensor; of a callable, ``n_samples``. With ``(n_samples, 1, ...)`` the examples share their points.

        Returns
        -------
        attributions : Tensor or tuple of Tensors, shaped as ``inputs``
            Signed, in units of the output; dtype and device of ``inputs``, detached.
        delta : Tensor, shape (N,)
            As :meth:`compute_convergence_delta` says; if asked for.

        Raises
        ------
        ValueError, TypeError, IndexError, AssertionError
            If an argument does not fit; the message says what does.
        """
        parts, several = input_tensors(inputs)
        check_evaluation(self.forward_func)
        stdevs = stdevs.stdevs if isinstance(stdevs, TunedStdevs) else stdevs
        points = as_roots(roots, parts, several, n_samples, stdevs, seed)
        size = (
            None
            if n_samples_batch_size is None
            else whole_number(n_samples_batch_size, "n_samples_batch_size")
        )
        with torch.inference_mode(mode=False), torch.no_grad():
            question = Question(
                parts, target_of_each(target, len(parts[0])), extra=as_extra(additional_forward_args)
            )
            sums, outputs = self._sums(points, question, size, outputs=bool(return_convergence_delta))
            maps = tuple((part / points.count).to(like) for part, like in zip(sums, parts, strict=True))
            result = maps if several else maps[0]
            if not return_convergence_delta:
                return result
            return result, self._delta(maps, question, outputs / points.count)

    def compute_convergence_delta(
        self,
        attributions: Tensor | tuple[Tensor, ...],
        start_point: Tensor | tuple[Tensor, ...],
        end_point: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> Tensor:
        """Return the sum of the attributions minus ``f(x) - mean f(z)``, the remainder of the first-order terms.

        Parameters
        ----------
        attributions : Tensor or tuple of Tensors, shape (N, ...)
        start_point : Tensor or tuple of Tensors, shape (n_samples, N, ...)
            The roots.
        end_point : Tensor or tuple of Tensors, shape (N, ...)
            The inputs.
        target, additional_forward_args
            As in :meth:`attribute`.

        Returns
        -------
        delta : Tensor, shape (N,)
            0 to rounding for an affine output. More samples do not bring it to 0 for others.

        Raises
        ------
        ValueError, TypeError
            If the points are not shaped as the inputs.
        """
        parts, several = input_tensors(end_point, "end_point")
        maps, _ = input_tensors(attributions, "attributions")
        points = as_roots(start_point, parts, several, 1, 0.0, 0)
        question = Question(
            parts, target_of_each(target, len(parts[0])), extra=as_extra(additional_forward_args)
        )
        with torch.no_grad():
            outputs = torch.stack([self._outputs(rows, question, 1) for _, rows in points.some(1)])
            return self._delta(maps, question, outputs.mean(0))

    def tune_stdev(
        self,
        objective: Objective | str,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: Any = None,
        *,
        start: float | Tensor | None = None,
        step: float = 0.1,
        decay: float = 0.9,
        max_bad_steps: int = 3,
        max_iterations: int = 20,
        n_samples: int = 150,
        n_samples_batch_size: int | None = AT_ONCE,
        seed: int | torch.Generator = 0,
        show_progress: bool = False,
    ) -> TunedStdevs:
        """Search the standard deviation of the noise that an objective likes best, for each image (adaptive noise).

        One step tries a standard deviation that is larger by ``step``, and if the objective is higher there, one that is
        smaller. The search goes on from there even if it is worse than before; steps are then multiplied by ``decay``. It ends
        after ``max_bad_steps`` worse ones in a row and one more, or after ``max_iterations``. The best one seen is returned.

        Parameters
        ----------
        objective : callable, "aupc" or "total_variation"
            From attributions, inputs and target (of one image at a time, in the forms of this call) to a Tensor of shape
            (1,); lower is better. The names are the paper's, :func:`area_under_perturbation_curve` and
            :func:`average_total_variation` with their defaults; for other settings, pass a function that calls them.
        inputs, target, additional_forward_args
            As in :meth:`attribute`.
        start : float or Tensor of shape (N,), optional
            Where the search begins. Default: the mean size of the values of each image, as published.
        step, decay, max_bad_steps, max_iterations : optional
            As published.
        n_samples, n_samples_batch_size, seed : optional
            As in :meth:`attribute`. Each evaluation has the same noise, but for its size.
        show_progress : bool, default: False
            Whether to show a progress bar over the images.

        Returns
        -------
        tuned : TunedStdevs
            Fields ``stdevs`` (N,), ``objectives`` (N,), ``evaluations`` (N,) and ``trace``. Pass it as ``stdevs`` of
            :meth:`attribute`.

        Raises
        ------
        ValueError, TypeError
            If an argument does not fit, or the objective returns anything but one finite number for each image.

        Notes
        -----
        **Cost**: up to ``2 * max_iterations + 1`` attributions for each image, and as many evaluations of the objective.

        Examples
        --------
        >>> method = SmoothTaylor(lambda points: (points**2).sum(1))
        >>> wanted = lambda attributions, inputs, target: (attributions.sum(1) + 0.5).abs()
        >>> tuned = method.tune_stdev(wanted, torch.ones(1, 2), n_samples=50)  # about 0.36**2 * 2 * 2
        >>> tuned.stdevs.round(decimals=1), tuned.evaluations > 10
        (tensor([0.4000]), tensor([True]))
        """
        parts, several = input_tensors(inputs)
        question = Question(
            parts, target_of_each(target, len(parts[0])), extra=as_extra(additional_forward_args)
        )
        judge = as_objective(objective, self.forward_func)
        state = generator_of(seed).get_state()

        def evaluate(one: Question, stdev: float) -> Any:
            images = one.images if several else one.images[0]
            noise = torch.Generator()
            noise.set_state(state)
            found = self.attribute(
                images, one.target, one.extra, n_samples=n_samples, stdevs=stdev, seed=noise,
                n_samples_batch_size=n_samples_batch_size,
            )  # fmt: skip
            return judge(found, images, one.target, one.extra)

        plan = Search(step, decay, max_bad_steps, max_iterations)
        return plan.of_each(question, evaluate, start, show_progress=show_progress)

    def attribute_future(self) -> None:
        """Raise: Captum's asynchronous form is not available."""
        raise NotImplementedError("attribute_future is not implemented for SmoothTaylor")

    def _sums(
        self, points: Roots, question: Question, size: int | None, *, outputs: bool
    ) -> tuple[list[Tensor], Tensor]:
        """Return the sums of the Taylor terms over the samples, and those of the outputs if they are wanted."""
        inputs = question.images
        sums = [
            torch.zeros_like(part, dtype=torch.promote_types(part.dtype, torch.float32)) for part in inputs
        ]
        scores = sums[0].new_zeros(len(inputs[0]))
        for count, rows in points.some(size):
            scores += self._outputs(rows, question, count) if outputs else 0
            target, extra = expanded(question.target, question.extra, count)
            gradients = self.gradient_func(
                forward_fn=self.forward_func,
                inputs=tuple(part.requires_grad_() for part in rows),
                target_ind=target,
                additional_forward_args=extra,
            )
            for total, x, z, gradient in zip(sums, inputs, rows, gradients, strict=True):
                terms = (x.repeat_interleave(count, 0) - z.detach()) * gradient
                total += terms.to(total).reshape(len(x), count, *x.shape[1:]).sum(1)
        return sums, scores

    def _outputs(self, rows: tuple[Tensor, ...], question: Question, count: int) -> Tensor:
        """Return the explained output of each example, summed over its samples, (N,)."""
        found = outputs_of(self.forward_func, rows, count, question.target, question.extra)
        return found.sum(1)

    def _delta(self, maps: tuple[Tensor, ...], question: Question, at_roots: Tensor) -> Tensor:
        """Return what the maps explain in excess of the difference of the outputs."""
        total = sum(part.flatten(1).sum(1) for part in maps)
        return total - (self._outputs(question.images, question, 1) - at_roots).to(maps[0])
