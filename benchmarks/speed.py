"""Measure what an explanation costs: time and memory beside the gradient pass, Zennit and Captum.

Five parts, each with its own tables (``--help`` after a part lists its options)::

    python benchmarks/speed.py ratios                          # the main ratios of time and memory in one table
    python benchmarks/speed.py methods --out docs/speed.md
    python benchmarks/speed.py memory --out docs/speed.md
    python benchmarks/speed.py sizes --out docs/speed.md
    python benchmarks/speed.py stem --out docs/speed.md

Times are ratios to the gradient pass, which is one forward and one backward pass to the input of the ordinary network of
torchvision with its parameters frozen; in ``stem``, ratios to the ordinary network. All contenders of a table cell's
setting are in one process and take turns, A B C A B C ...; a ratio is formed within each turn, and given are the median
over the turns and, in parentheses, the quartiles. Weights are PyTorch's initialisation from a fixed seed (no download),
with the statistics of BatchNorm taken from noise and then randomised a little; images are noise.

Contenders::

    gradient            forward and backward to the input; with the edge-filter stem; with the channels last
    ours                explain() of the ordinary network, all scores, with an object that has been called before
    ours, first call    with a new attribution object each time
    ours, default       explain() as it is by default: with the game of the colors and gradients at two points
    ours, ...           the same with one gradient or none, and with the game of the orders as well
    ours, Zennit's ...  explain() with Zennit's EpsilonPlus, whose hooks run at the function calls
    Zennit              alone, on the ordinary network with the canonizer for its family, in one open context
    Captum LRP          z+ on convolutions, epsilon on linear layers
    Captum IG           integrated gradients of 50 steps: ten times the time of 5, a batch of images per step
    Captum Grad-CAM     on the last convolution
    Captum occlusion    windows of 32 x 32 pixels every 16: (windows + 1) / 5 times the time of 4 large windows, as there
                        is one forward pass for each window, whatever its size, and one for the whole image
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import ctypes
import functools
import gc
import json
import math
import multiprocessing
import platform
import re
import resource
import shlex
import statistics
import sys
import time
import unittest.mock
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from captum.attr import LRP, IntegratedGradients, LayerGradCam, Occlusion
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from pages import write
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm
from zennit.canonizers import Canonizer, SequentialMergeBatchNorm
from zennit.composites import EpsilonGammaBox, EpsilonPlus
from zennit.core import Composite
from zennit.torchvision import ResNetCanonizer, VGGCanonizer

import edgefilter as ef
from edgefilter.attribution.partial import PartialRuns
from edgefilter.attribution.partial import Path as WayThere

NETWORKS = ("resnet18", "resnet50", "vgg16", "mobilenet_v2", "efficientnet_b0")
COMPOSITES = ("epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1")
STEPS, STEPS_RUN = 50, 5
WINDOW, STRIDE = 32, 16
FEWEST_TURNS = 3
SHORTEST = 0.05  # seconds: what is shorter runs several times in a turn
MIB = 2**20

Run = Callable[[], object]


class Case(NamedTuple):
    """A network, its images and the explained outputs."""

    name: str
    model: nn.Module
    images: Tensor
    target: Tensor


class Contender(NamedTuple):
    """How to get ready for a case, and by how much the time of a run is to be multiplied."""

    prepare: Callable[[Case], Run]
    scale: Callable[[Case], float] = lambda case: 1.0  # noqa: ARG005


class _Ready(NamedTuple):
    """What a contender does in a turn, how often, and the factor of its time."""

    run: Run
    repeats: int
    scale: float


class Race(NamedTuple):
    """The seconds that every contender took in every turn, or the class of its error."""

    setting: dict[str, Any]
    seconds: dict[str, list[float]]
    errors: dict[str, str]
    reference: str

    def quartiles(self, name: str, reference: str | None = None) -> tuple[float, float, float]:
        """Return the quartiles of the ratio to the reference, the median in the middle."""
        pairs = zip(self.seconds[name], self.seconds[reference or self.reference], strict=True)
        ratios = [seconds / reference for seconds, reference in pairs]
        low, middle, high = (
            statistics.quantiles(ratios, n=4, method="inclusive") if ratios[1:] else ratios * 3
        )
        return low, middle, high

    def cell(self, name: str, reference: str | None = None) -> str:
        """Return the ratio of a contender as it stands in a table."""
        for one in (name, reference):
            if one in self.errors:
                return f"fails ({self.errors[one]})"
        low, middle, high = map(_short, self.quartiles(name, reference))
        return f"{middle} ({low} to {high})"

    def absolute(self) -> str:
        """Return the median of the reference in milliseconds."""
        digits = f"{1e3 * statistics.median(self.seconds[self.reference]):.3g}"
        return f"{float(digits):.0f} ms" if "e" in digits else f"{digits} ms"

    def record(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        ratios = {name: self.quartiles(name) for name in self.seconds}
        return {**self._asdict(), "turns": len(self.seconds[self.reference]), "ratio_quartiles": ratios}


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


# --- the networks ---------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def network(name: str) -> nn.Module:
    """Return a network in evaluation mode, parameters frozen, whose signals neither vanish nor explode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None).eval()
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        for norm in norms:
            norm.train().momentum = 1.0
        with torch.no_grad():
            model(torch.randn(4, 3, 96, 96))
            for norm in norms:
                norm.eval()
                norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
                norm.running_var *= 0.9 + 0.2 * torch.rand_like(norm.running_var)
    return model.requires_grad_(False)


def case_of(name: str, batch: int, size: int) -> Case:
    model = network(name)
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return Case(name, model, images, model(images).argmax(1))


def plain_copy(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return model


# --- the contenders -------------------------------------------------------------------------------------------


def gradient(model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    leaf = images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    output = model(leaf).gather(1, target[:, None]).sum()
    return torch.autograd.grad(output, leaf)[0]


def plain_gradient(case: Case) -> Run:
    return lambda: gradient(case.model, case.images, case.target)


def stem_gradient(case: Case, bank: ef.FilterBank | None = None) -> Run:
    model = ef.replace_stem(case.model, bank, init="project").requires_grad_(False)
    return lambda: gradient(model, case.images, case.target)


def channels_last_gradient(case: Case) -> Run:
    model = copy.deepcopy(case.model).to(memory_format=torch.channels_last)
    images = case.images.contiguous(memory_format=torch.channels_last)
    return lambda: gradient(model, images, case.target)


def ours(composite: str | Composite, *, bank: ef.FilterBank | None = None) -> Callable[[Case], Run]:
    """Return explanations of the network as it is; with a bank, of the nearest network that has it."""

    def prepare(case: Case) -> Run:
        model = case.model if bank is None else ef.replace_stem(case.model, bank, init="project")
        attribution = ef.EdgeFilterAttribution(model, composite, calibrate=False)
        return lambda: attribution.explain(case.images, case.target)

    return prepare


def measured(calibrate: Any, nodes: int | None = None) -> Callable[[Case], Run]:
    """Return explanations that are calibrated; with another number of gradients, 0 for relevance and colors alone."""

    def prepare(case: Case) -> Run:
        attribution = ef.EdgeFilterAttribution(case.model, calibrate=calibrate)
        if nodes is None:
            return lambda: attribution.explain(case.images, case.target)
        whole = PartialRuns.path_gradient

        def path(runs: PartialRuns) -> WayThere:
            if nodes:
                return whole(runs, nodes)
            zeros = torch.zeros(runs.count, runs.colors, runs.filters, dtype=torch.float64)
            return WayThere(zeros, torch.ones(runs.count, 1, 1, dtype=torch.bool))

        def run() -> ef.Explanation:
            with unittest.mock.patch.object(PartialRuns, "path_gradient", path):
                return attribution.explain(case.images, case.target)

        return run

    return prepare


def ours_anew(case: Case) -> Run:
    return lambda: ef.EdgeFilterAttribution(case.model, "epsilon_plus", calibrate=False).explain(
        case.images, case.target
    )


def canonizer(name: str) -> Canonizer:
    if name.startswith("vgg"):
        return VGGCanonizer()
    return ResNetCanonizer() if name.startswith("resnet") else SequentialMergeBatchNorm()


def zennit_plus(case: Case) -> Run:
    return registered(EpsilonPlus(canonizers=[canonizer(case.name)]), case)


def zennit_box(case: Case) -> Run:
    low, high = (
        edge.expand(1, -1, *case.images.shape[2:])
        for edge in (
            case.images.amin((0, 2, 3), keepdim=True),
            case.images.amax((0, 2, 3), keepdim=True),
        )
    )
    return registered(EpsilonGammaBox(low, high, canonizers=[canonizer(case.name)]), case)


def registered(composite: Composite, case: Case) -> Run:
    """Return a pass through a copy of the network on which a composite stays registered."""
    model = plain_copy(case.model)
    composite.register(model)

    def run() -> Tensor:
        leaf = case.images.clone().requires_grad_()
        output = model(leaf)
        start = nn.functional.one_hot(case.target, output.shape[1]) * output.detach()
        return torch.autograd.grad(output, leaf, start)[0]

    return run


def captum_lrp(case: Case) -> Run:
    model = plain_copy(case.model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.rule = Alpha1_Beta0_Rule()
        if isinstance(module, nn.Linear):
            module.rule = EpsilonRule()
    method = LRP(model)
    return lambda: method.attribute(case.images.clone(), case.target)


def captum_ig(case: Case) -> Run:
    method = IntegratedGradients(case.model)
    options = {"n_steps": STEPS_RUN, "internal_batch_size": len(case.images)}
    return lambda: method.attribute(case.images.clone(), target=case.target, **options)


def captum_gradcam(case: Case) -> Run:
    model = plain_copy(case.model)
    *_, last = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    method = LayerGradCam(model, last)
    return lambda: method.attribute(case.images.clone(), case.target)


def captum_occlusion(case: Case) -> Run:
    method = Occlusion(case.model)
    half = math.ceil(case.images.shape[-1] / 2)  # two windows an axis: the time does not depend on their size
    shapes = {"sliding_window_shapes": (3, half, half), "strides": (3, half, half)}
    return lambda: method.attribute(case.images, target=case.target, **shapes)


def occlusion_scale(case: Case) -> float:
    windows = (math.ceil((case.images.shape[-1] - WINDOW) / STRIDE) + 1) ** 2
    return (windows + 1) / 5


MEASURED = {
    "ours, default": Contender(measured(True)),
    "ours, default with one gradient": Contender(measured(True, 1)),
    "ours, default without gradients": Contender(measured(True, 0)),
    "ours, both games": Contender(measured(("color", "order"))),
}
CONTENDERS = {
    "gradient": Contender(plain_gradient),
    "gradient, edge-filter stem": Contender(stem_gradient),
    "gradient, channels last": Contender(channels_last_gradient),
    **{f"ours, {name}": Contender(ours(name)) for name in COMPOSITES},
    "ours, epsilon_plus, first call": Contender(ours_anew),
    **MEASURED,
    "ours, Zennit's EpsilonPlus": Contender(ours(EpsilonPlus())),
    "Zennit EpsilonPlus": Contender(zennit_plus),
    "Zennit EpsilonGammaBox": Contender(zennit_box),
    "Captum LRP": Contender(captum_lrp),
    "Captum Grad-CAM": Contender(captum_gradcam),
    f"Captum IG, {STEPS} steps": Contender(captum_ig, lambda case: STEPS / STEPS_RUN),  # noqa: ARG005
    "Captum occlusion": Contender(captum_occlusion, occlusion_scale),
}
IN_MEMORY = [name for name in CONTENDERS if not name.startswith(("ours, Zennit", "Captum"))] + ["Captum LRP"]
OURS, FIRST = "ours, epsilon_plus", "ours, epsilon_plus, first call"
HOOKS = ("ours, Zennit's EpsilonPlus", "Zennit EpsilonPlus")


# --- taking turns ---------------------------------------------------------------------------------------------


def race(case: Case, contenders: dict[str, Contender], arguments: argparse.Namespace, **setting: Any) -> Race:
    """Let contenders take turns on a case; the first is the reference."""
    setting = {
        "network": case.name,
        "batch": len(case.images),
        "size": case.images.shape[-1],
        "threads": torch.get_num_threads(),
        **setting,
    }
    ready = {name: prepared(contender, case, name) for name, contender in contenders.items()}
    runs = {name: one for name, one in ready.items() if not isinstance(one, str)}
    errors = {name: error for name, error in ready.items() if isinstance(error, str)}
    title = ", ".join(f"{key} {value}" if key != "network" else value for key, value in setting.items())
    seconds = taking_turns(runs, arguments, title)
    gc.collect()
    return Race(setting, seconds, errors, next(iter(contenders)))


def prepared(contender: Contender, case: Case, name: str) -> _Ready | str:
    """Return a run that has run once, or the class of its error."""
    try:
        run = contender.prepare(case)
        first = seconds_of(run, 1)
    except Exception as error:  # noqa: BLE001
        tqdm.write(f"{case.name}, {name}: {type(error).__name__}: {str(error)[:100]}")
        return type(error).__name__
    repeats = 1 if first > 10 * SHORTEST else math.ceil(SHORTEST / seconds_of(run, 1))
    return _Ready(run, repeats, contender.scale(case))


def taking_turns(
    runs: dict[str, _Ready], arguments: argparse.Namespace, title: str
) -> dict[str, list[float]]:
    """Return the seconds of every run in every turn: A B C A B C ..., until the turns or the seconds are up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    begin = time.perf_counter()
    for turn in tqdm(range(arguments.turns), title, leave=False, disable=None):
        if turn >= FEWEST_TURNS and time.perf_counter() - begin > arguments.seconds:
            break
        for name, ready in runs.items():
            seconds[name].append(ready.scale * seconds_of(ready.run, ready.repeats))
    return seconds


def seconds_of(run: Run, repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - begin) / repeats


# --- the parts ------------------------------------------------------------------------------------------------


def ratios(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Any]]]:
    """Yield one table: time of an explanation, of a first one and of Zennit's hooks, and peaks of memory."""
    batch, size, threads = arguments.batch[0], arguments.size[0], arguments.threads[0]
    torch.set_num_threads(threads)
    chosen = {name: CONTENDERS[name] for name in ("gradient", OURS, FIRST, *HOOKS, *MEASURED)}
    races = [race(case_of(name, batch, size), chosen, arguments) for name in arguments.models]
    names = ("gradient", OURS, next(iter(MEASURED)), *HOOKS[1:])
    jobs = [(model, name) for model in arguments.models for name in names]
    peaks = {job: alone(peak_of, *job, batch, size, threads) for job in tqdm(jobs, "peaks", disable=None)}
    rows = [
        ["gradient", *(f"1 = {one.absolute()}" for one in races)],
        *([name, *(one.cell(name) for one in races)] for name in (OURS, *MEASURED, *HOOKS)),
        ["first call with a new object / repeated call", *(one.cell(FIRST, OURS) for one in races)],
        [
            "peak memory: gradient",
            *(f"1 = {_peak(peaks[model, 'gradient'])} MiB" for model in arguments.models),
        ],
        *(
            [f"peak memory: {name}", *(_peak_ratio(peaks, model, name) for model in arguments.models)]
            for name in names[1:]
        ),
    ]
    title = f"{batch} images of {size} pixels, {_threads(threads)}; ratios to the gradient pass"
    found = [{"network": m, "contender": n, "batch": batch, "size": size, **peaks[m, n]} for m, n in jobs]
    yield table([title, *arguments.models], rows), [*(one.record() for one in races), *found]


def _peak_ratio(peaks: dict[tuple[str, str], dict[str, Any]], model: str, name: str) -> str:
    found, unit = peaks[model, name], peaks[model, "gradient"]
    return _peak(found) if "error" in found else f"{found['peak'] / unit['peak']:.2f}"


def methods(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Any]]]:
    """Yield a table of all contenders for every number of images and of threads."""
    names = arguments.contenders or list(CONTENDERS)
    chosen = {name: CONTENDERS[name] for name in dict.fromkeys(["gradient", *names])}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for batch in arguments.batch:
            races = [
                race(case_of(name, batch, arguments.size[0]), chosen, arguments) for name in arguments.models
            ]
            rows = [
                ["gradient", *(f"1 = {one.absolute()}" for one in races)],
                *([name, *(one.cell(name) for one in races)] for name in list(chosen)[1:]),
            ]
            images = "one image" if batch == 1 else f"{batch} images"
            title = f"{images} of {arguments.size[0]} pixels, {_threads(threads)}; gradient passes"
            yield table([title, *arguments.models], rows), [one.record() for one in races]


def memory(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Any]]]:
    """Yield a table of peaks, what our caches hold, and what many calls leave."""
    batch, size, threads = arguments.batch[0], arguments.size[0], arguments.threads[0]
    names = arguments.contenders or IN_MEMORY
    jobs = [(model, name) for model in arguments.models for name in names]
    found = {job: alone(peak_of, *job, batch, size, threads) for job in tqdm(jobs, "peaks", disable=None)}
    rows = [[name, *(_peak(found[model, name]) for model in arguments.models)] for name in names]
    title = f"MiB above model and images; {batch} images of {size} pixels"
    records = [{"network": m, "contender": n, "batch": batch, "size": size, **found[m, n]} for m, n in jobs]
    yield table([title, *arguments.models], rows), records

    held = {
        name: alone(held_by, name, batch, size) for name in tqdm(arguments.models, "caches", disable=None)
    }
    lines = {"parameters of the network": "parameters", "kept by the attribution object": "held"}
    rows = [[line, *(f"{held[model][key]:.0f}" for model in arguments.models)] for line, key in lines.items()]
    yield (
        table(["MiB between calls", *arguments.models], rows),
        [{"network": k, **v} for k, v in held.items()],
    )

    model, calls = arguments.models[0], arguments.calls
    resident = alone(resident_after, model, calls)
    counts = list(resident)
    rows = [[model, *(f"{resident[count]:.0f}" for count in counts)]]
    heads = [f"after {count} calls" for count in counts]
    yield table(["MiB resident, one image of 64 pixels", *heads], rows), [{"network": model, **resident}]


def alone(task: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a task gives in a process of its own, where nothing else has been in memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(task, *arguments).result()


def peak_of(model: str, contender: str, batch: int, size: int, threads: int) -> dict[str, Any]:
    """Return the peak in MiB above the model and its images, after a small gradient pass that loads the operators."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    small = case_of(model, 1, 64)
    gradient(small.model, small.images, small.target)
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    case = Case(model, small.model, images, small.target.expand(batch).contiguous())
    try:
        run = CONTENDERS[contender].prepare(case)
        resident = resident_mib()
        forget_peak()
        before = peak_mib()
        for _ in range(2):
            run()
    except Exception as error:  # noqa: BLE001
        return {"error": type(error).__name__}
    return {"peak": peak_mib() - resident, "hidden": peak_mib() == before}


def _peak(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"fails ({found['error']})"
    return f"{'at most ' if found['hidden'] else ''}{found['peak']:.0f}"


def held_by(model: str, batch: int, size: int) -> dict[str, float]:
    """Return the MiB of the network's parameters and of the tensors that a call leaves besides its result."""
    warnings.simplefilter("ignore")
    case = case_of(model, batch, size)
    attribution = ef.EdgeFilterAttribution(case.model, "epsilon_plus", calibrate=False)
    before = storages()
    attribution.explain(case.images, case.target)
    after = storages()
    held = sum(size for place, size in after.items() if place not in before)
    parameters = sum(value.nbytes for value in case.model.parameters())
    return {"parameters": parameters / MIB, "held": held / MIB}


def storages() -> dict[int, int]:
    """Return where the memory of the living tensors is, and how many bytes there."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
    places = [tensor.untyped_storage() for tensor in tensors]
    return {place.data_ptr(): place.nbytes() for place in places}


def resident_after(model: str, calls: int) -> dict[int, float]:
    """Return the MiB of the process after ten small calls, and after many."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    run = ours("epsilon_plus")(case_of(model, 1, 64))
    found = {}
    for call in range(1, calls + 1):
        run()
        if call in (10, calls // 10, calls):
            found[call] = resident_mib()
    return found


def resident_mib() -> float:
    """Return what the process has in memory once all that is free has been handed back (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB


def peak_mib() -> float:
    """Return the largest resident size of this program so far, or since :func:`forget_peak` (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def forget_peak() -> None:
    """Set the peak back to the present size, if the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def sizes(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Any]]]:
    """Yield tables of ours and of the gradient through the stem, by size of the image, by batch and by filters."""
    torch.set_num_threads(arguments.threads[0])
    contenders = {"gradient": Contender(plain_gradient), **by_bank(None)}
    size, batch = 224, 4
    for head, axis in (("pixels", [(batch, s) for s in arguments.size]),
                       ("images", [(b, size) for b in arguments.batch])):  # fmt: skip
        races = {
            (name, *pair): race(case_of(name, *pair), contenders, arguments)
            for name in arguments.models
            for pair in axis
        }
        rows = [
            [
                str(pair[head == "pixels"]),
                *(cell for n in arguments.models for cell in cells(races[(n, *pair)])),
            ]
            for pair in axis
        ]
        fixed = f"{batch} images" if head == "pixels" else f"{size} pixels"
        yield (
            table([f"{head} ({fixed})", *heads(arguments.models)], rows),
            [r.record() for r in races.values()],
        )
    for name in arguments.models:
        case = case_of(name, batch, size)
        races = {
            bank: race(
                case, {"gradient": Contender(plain_gradient), **by_bank(bank)}, arguments, filters=len(bank)
            )
            for bank in banks(case.model)
        }
        rows = [[f"{len(bank)} ({bank.name})", *cells(one)] for bank, one in races.items()]
        yield table(["filters", *heads([name])], rows), [one.record() for one in races.values()]


def by_bank(bank: ef.FilterBank | None) -> dict[str, Contender]:
    explained = {name: Contender(ours(name, bank=bank)) for name in COMPOSITES[::2]}
    return {**explained, "edge-filter stem": Contender(functools.partial(stem_gradient, bank=bank))}


def heads(models: Iterable[str]) -> list[str]:
    columns = ("gradient", *by_bank(None))
    return [f"{model}: {column}" for model in models for column in columns]


def cells(one: Race) -> list[str]:
    return [one.absolute(), *(one.cell(name) for name in by_bank(None))]


def banks(model: nn.Module) -> list[ef.FilterBank]:
    """Return banks of few and of many filters that fit the stem of a network."""
    size = model.get_submodule(ef.find_stem(model)).kernel_size[0]
    complete = ef.complete_bank(size)
    if size == 3:
        return [
            ef.get_bank("sobel"),
            ef.get_bank("sobel4"),
            complete,
            ef.get_bank("edges"),
            ef.get_bank("general"),
        ]
    parts = [
        ef.FilterBank(complete.kernels[:k], size=size, name=f"first {k}")
        for k in (9, 25)
        if k < len(complete)
    ]
    extra = (
        [ef.FilterBank([*complete, *ef.get_bank("gabor7")], name="complete and gabor7")] if size == 7 else []
    )
    return [*parts, complete, *extra]


def stem(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Any]]]:
    """Yield a table of the ordinary, the edge-filter and the folded stem, alone and in the network."""
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for batch in arguments.batch:
            rows: dict[str, list[str]] = {}
            records = []
            for name in arguments.models:
                case = case_of(name, batch, arguments.size[0])
                for what, contenders in stem_contenders().items():
                    one = race(case, contenders, arguments, what=what)
                    records.append(one.record())
                    rows.setdefault(f"{what}, ordinary", []).append(f"1 = {one.absolute()}")
                    for kind in ("edge filters", "folded"):
                        rows.setdefault(f"{what}, {kind}", []).append(one.cell(kind))
            images = "one image" if batch == 1 else f"{batch} images"
            title = f"{images} of {arguments.size[0]} pixels, {_threads(threads)}"
            yield table([title, *arguments.models], [[key, *row] for key, row in rows.items()]), records


def stem_contenders() -> dict[str, dict[str, Contender]]:
    """Return what is measured, and for each the three forms of the stem."""
    forms: dict[str, Callable[[nn.Module], nn.Module]] = {
        "ordinary": copy.deepcopy,
        "edge filters": ef.replace_stem,
        "folded": lambda model: ef.fold_stem(ef.replace_stem(model)),
    }
    tasks = {
        "network, forward": (forward, False), "network, training step": (training, False),
        "stem, forward": (forward, True), "stem, training step": (training, True),
    }  # fmt: skip

    def prepare(case: Case, form: str, task: Any, only_stem: bool) -> Run:
        model = copy.deepcopy(case.model).requires_grad_()
        model = model.get_submodule(ef.find_stem(model)) if only_stem else model
        return task(forms[form](model), case)

    return {
        what: {
            form: Contender(functools.partial(prepare, form=form, task=task, only_stem=only_stem))
            for form in forms
        }
        for what, (task, only_stem) in tasks.items()
    }


def forward(model: nn.Module, case: Case) -> Run:
    return torch.no_grad()(lambda: model.eval()(case.images))


def training(model: nn.Module, case: Case) -> Run:
    """Return a step of stochastic gradient descent, so small that the weights stay as they are."""
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-12)

    def step() -> None:
        optimizer.zero_grad()
        output = model(case.images)
        loss = nn.functional.cross_entropy(output, case.target) if output.dim() == 2 else output.mean()
        loss.backward()
        optimizer.step()

    return step


# --- what is written ------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def environment() -> dict[str, Any]:
    """Return what the numbers depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", text)
    return {
        "versions": {name: version(name) for name in ("torch", "torchvision", "zennit", "captum")},
        "python": platform.python_version(),
        "processor": model[1] if model else platform.processor(),
    }


def command() -> str:
    """Return the command without the places it writes to."""
    parts = iter(sys.argv[1:])
    kept = []
    for part in parts:
        if part in ("--out", "--json"):
            next(parts)
        elif not part.startswith(("--out=", "--json=")):
            kept.append(part)
    return f"python benchmarks/speed.py {shlex.join(kept)}"


BOTH = ["resnet18", "mobilenet_v2"]  # stems of 7x7 and 3x3
DEFAULTS = {"models": list(NETWORKS), "batch": [4], "size": [224], "threads": [1], "turns": 9, "seconds": 30}
PARTS: dict[str, tuple[Callable[[argparse.Namespace], Iterator[tuple[str, list[Any]]]], dict[str, Any]]] = {
    "ratios": (ratios, {**DEFAULTS, "models": ["resnet18", "resnet50", "vgg16"]}),
    "methods": (methods, DEFAULTS),
    "memory": (memory, DEFAULTS),
    "sizes": (
        sizes,
        {**DEFAULTS, "models": BOTH, "batch": [1, 4, 16], "size": [96, 160, 224, 320, 448], "seconds": 15},
    ),
    "stem": (stem, {**DEFAULTS, "turns": 25, "seconds": 10}),
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    for name, (part, defaults) in PARTS.items():
        sub = parts.add_parser(
            name, description=part.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.add_argument(
            "--models", nargs="+", default=defaults["models"], help="names of torchvision.models"
        )
        sub.add_argument("--batch", nargs="+", type=int, default=defaults["batch"], help="numbers of images")
        sub.add_argument(
            "--size", nargs="+", type=int, default=defaults["size"], help="pixels along each side"
        )
        sub.add_argument(
            "--threads", nargs="+", type=int, default=defaults["threads"], help="numbers of threads"
        )
        if name in ("methods", "memory"):
            sub.add_argument(
                "--contenders", nargs="+", choices=CONTENDERS, metavar="NAME", help="default: all"
            )
        if name == "memory":
            sub.add_argument("--calls", type=int, default=1000, help="small calls that should leave nothing")
        else:
            sub.add_argument("--turns", type=int, default=defaults["turns"], help="turns at most")
            sub.add_argument(
                "--seconds",
                type=float,
                default=defaults["seconds"],
                help=f"no new turn after; {FEWEST_TURNS} at least",
            )
        sub.add_argument(
            "--out", type=Path, help="Markdown file; tables go between their marks where it has them"
        )
        sub.add_argument("--json", type=Path, help="file for every single time")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    warnings.simplefilter("ignore")
    part, _ = PARTS[arguments.part]
    tables: list[str] = []
    records: list[Any] = []
    begin = time.perf_counter()
    for text, found in part(arguments):
        tables.append(text)
        records += found
        print(f"\n{text}", flush=True)
        minutes = (time.perf_counter() - begin) / 60
        versions = ", ".join(f"{name} {number}" for name, number in environment()["versions"].items())
        note = f"Made by `{command()}` in {minutes:.0f} minutes ({versions})."
        if arguments.out:
            write(arguments.out, arguments.part, "\n\n".join([note, *tables]))
        if arguments.json:
            summary = {"command": command(), "minutes": minutes, **environment(), "records": records}
            arguments.json.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    print(f"\n{(time.perf_counter() - begin) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
