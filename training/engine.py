"""Train networks with fixed edge filters: what the scripts beside this file share.

One process, or several under ``torchrun``; a checkpoint after every epoch, from which a killed training goes on to the
same result. The result is that of the last epoch, with the weights averaged over the last few hundred steps: the test
set chooses nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler
from tqdm import tqdm

import edgefilter as ef
from edgefilter.models import EdgeNetwork, Preprocessing

AVERAGED_EVERY = 4  # steps
EVALUATED_AT_ONCE = 500  # images
NOT_SETTINGS = ("data", "out", "export", "results", "resume", "workers")  # what does not change the result


@dataclass(frozen=True)
class Workers:
    """The processes that train together, and which of them this is."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0


@dataclass(frozen=True)
class Task:
    """What is trained on what.

    Parameters
    ----------
    name : str
        For the file of results.
    network : EdgeNetwork
        With random weights.
    train, test : iterable
        Batches of images and labels; ``train.sampler`` is told the epoch, ``test`` holds this process's share.
    class_names : sequence of str
    settings : dict
        The arguments that the network was built with.
    preprocess : Preprocessing
    """

    name: str
    network: EdgeNetwork
    train: Any
    test: Iterable[tuple[Tensor, Tensor]]
    class_names: Sequence[str]
    settings: dict[str, Any]
    preprocess: Preprocessing


class TensorBatches:
    """Batches of images that are all in memory, this process's share of them.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W), uint8
    labels : Tensor, shape (N,)
    batch_size : int
        Over all processes.
    workers : Workers
    seed : int
    augment : callable
        From a batch of images from 0 to 1 to one like it.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        workers: Workers,
        seed: int,
        augment: Callable[[Tensor], Tensor],
    ) -> None:
        self.images, self.labels, self.augment = images, labels, augment
        self.size = max(min(batch_size, len(images)) // workers.count, 1)
        self.sampler = DistributedSampler(
            range(len(images)), workers.count, workers.rank, seed=seed, drop_last=True
        )

    def __len__(self) -> int:
        return len(self.sampler) // self.size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.tensor(list(self.sampler))
        for chosen in order[: len(self) * self.size].split(self.size):
            yield self.augment(self.images[chosen].float() / 255), self.labels[chosen]


def share(images: Tensor, labels: Tensor, workers: Workers) -> list[tuple[Tensor, Tensor]]:
    """Return this process's share of a test set in batches, each image in one share."""
    mine = slice(workers.rank, None, workers.count)
    parts = (images[mine].split(EVALUATED_AT_ONCE), labels[mine].split(EVALUATED_AT_ONCE))
    return [(part.float() / 255, truth) for part, truth in zip(*parts, strict=True)]


def affine(images: Tensor, turn: float, scale: float, shift: float, *, flip: bool = False) -> Tensor:
    """Turn, scale and shift each image of a batch by random amounts: radians, share, pixels."""
    count, _, height, width = images.shape
    turns, scales, tall, wide = (torch.rand(4, count) * 2 - 1).unbind()
    angle, size = turns * turn, 1 + scales * scale
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if flip else torch.ones(count)
    cos, sin = angle.cos() * size, angle.sin() * size
    rows = (
        torch.stack((cos * mirror, -sin, wide * 2 * shift / width), 1),
        torch.stack((sin * mirror, cos, tall * 2 * shift / height), 1),
    )
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def arguments(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all scripts take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="default: the environment variable EDGEFILTER_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the checkpoints")
    parser.add_argument("--results", type=Path, help="folder for a JSON file of results")
    parser.add_argument("--export", type=Path, help="safetensors file for the trained network")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument("--stem", choices=("fixed", "learned"), default="fixed", help="the first layer")
    parser.add_argument(
        "--bank", default="edges", choices=ef.bank_names(), metavar="BANK", help="its filters"
    )
    parser.add_argument("--mixing", action="store_true", help="mix the responses by a 1x1 convolution")
    parser.add_argument(
        "--signs", choices=("split", "relu"), default="split", help="what becomes of negatives"
    )
    for name, value in (("epochs", 8), ("batch-size", 128), ("lr", 0.1), ("weight-decay", 5e-4)):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--smoothing", type=float, default=0.1, help="of the labels")
    parser.add_argument("--average", type=float, default=0.99, help="decay of the averaged weights")
    parser.add_argument("--evaluate-every", type=int, default=1, help="epochs; the last one always counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="train in half precision where it is safe")
    parser.set_defaults(**defaults)
    return parser


def data_path(given: Path | None, name: str) -> Path:
    """Return where the data is: as given, or a name in the folder EDGEFILTER_DATA."""
    folder = os.environ.get("EDGEFILTER_DATA")
    path = given or (Path(folder, name) if folder else None)
    if path is None or not path.exists():
        raise SystemExit(
            f"--data must be an existing path; got {path}. Pass --data PATH, or set EDGEFILTER_DATA to the folder "
            f"with {name}."
        )
    return path


@contextmanager
def processes() -> Iterator[Workers]:
    """Join the other processes of ``torchrun``, if there are any."""
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if count > 1:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Workers(rank, count, device)
    finally:
        if count > 1:
            distributed.destroy_process_group()


def learned(network: EdgeNetwork) -> EdgeNetwork:
    """Return the same network with a first layer of the same shape that is trained, as the control."""
    network = copy.deepcopy(network)
    path = network.get_submodule("stem.filters")
    holder, name = (path, "filters") if isinstance(path, ef.EdgeFilterConv2d) else (network.stem, "filters")
    bank = getattr(holder, name)
    like = bank.conv
    conv = nn.Conv2d(
        like.in_channels,
        like.out_channels,
        like.kernel_size,
        like.stride,
        like.padding,
        groups=like.groups,
        bias=False,
        padding_mode=like.padding_mode,
    )
    setattr(holder, name, conv if bank.pad is None else nn.Sequential(bank.pad, conv))
    return network


class Average:
    """A running average of a network's weights and statistics."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay, self.count = copy.deepcopy(network).eval(), decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the present weights in: a plain average at first, then one that forgets."""
        self.count += 1
        weight = max(1 - self.decay, 1 / self.count)
        for mine, new in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            mine.lerp_(new, weight) if mine.is_floating_point() else mine.copy_(new)


class Training:
    """One training of a task, epoch by epoch.

    Parameters
    ----------
    task : Task
    options : argparse.Namespace
        Of :func:`arguments`.
    workers : Workers
    """

    def __init__(self, task: Task, options: argparse.Namespace, workers: Workers) -> None:
        self.task, self.options, self.workers = task, options, workers
        network = task.network if options.stem == "fixed" else learned(task.network)
        self.network = network.to(workers.device, memory_format=torch.channels_last)
        self.average = Average(self.network, options.average)
        several = workers.count > 1
        self.trained: nn.Module = DistributedDataParallel(self.network) if several else self.network
        self.optimizer = torch.optim.SGD(
            [p for p in network.parameters() if p.requires_grad],
            options.lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=options.weight_decay,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, options.lr, total_steps=options.epochs * len(task.train), pct_start=0.25
        )
        self.history: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        """What tells this training from the others."""
        options = self.options
        kind = [self.task.name, options.bank, *(["mixing"] if options.mixing else [])]
        kind += [options.signs] if options.signs != "split" else []
        return "-".join([*kind, options.stem, f"seed{options.seed}"])

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return Path(self.options.out, f"{self.name}.pt")

    def run(self) -> dict[str, Any]:
        """Train to the last epoch and return the results."""
        if self.options.resume and self.path.exists():
            self.load()
        steps = self.options.epochs * len(self.task.train)
        start = len(self.history)
        with tqdm(
            total=steps,
            initial=start * len(self.task.train),
            desc=self.name,
            unit="step",
            mininterval=2,
            disable=not self.workers.first,
        ) as bar:
            for epoch in range(start, self.options.epochs):
                self.history.append(self.epoch(epoch, bar))
                if (epoch + 1) % self.options.evaluate_every == 0 or epoch + 1 == self.options.epochs:
                    self.history[-1] |= self.evaluate()
                    bar.set_postfix(accuracy=f"{self.history[-1]['accuracy']:.2%}")
                self.save()
        return self.results()

    def epoch(self, epoch: int, bar: tqdm) -> dict[str, float]:  # type: ignore[type-arg]
        """Train one epoch; its random numbers depend on nothing but seed, epoch and process."""
        torch.manual_seed((self.options.seed * 1000 + epoch) * 1000 + self.workers.rank)
        self.task.train.sampler.set_epoch(epoch)
        self.trained.train()
        wall, busy = time.perf_counter(), time.process_time()
        for step, (images, labels) in enumerate(self.task.train):
            loss = self.step(images, labels)
            if step % AVERAGED_EVERY == 0:
                self.average.update(self.network)
            bar.update()
        before = self.history[-1] if self.history else {"wall_seconds": 0.0, "cpu_seconds": 0.0}
        return {
            "epoch": epoch + 1,
            "loss": float(loss),
            "wall_seconds": before["wall_seconds"] + time.perf_counter() - wall,
            "cpu_seconds": before["cpu_seconds"] + time.process_time() - busy,
        }

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Change the weights by one batch and return its loss."""
        device = self.workers.device
        inputs = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.options.bfloat16):
            outputs = self.trained(inputs)
        smoothing = self.options.smoothing
        loss = F.cross_entropy(outputs.float(), labels.to(device), label_smoothing=smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return the averaged network's share of right answers, and of those among the first five."""
        counts = torch.zeros(3, device=self.workers.device)
        if self.workers.count > 1:  # each process has statistics of its own images
            for buffer in self.average.network.buffers():
                distributed.broadcast(buffer, 0)
        for images, labels in self.task.test:
            inputs = images.to(self.workers.device, memory_format=torch.channels_last)
            outputs = self.average.network(inputs)
            ranked = outputs.topk(min(5, outputs.shape[1])).indices.cpu() == labels[:, None]
            counts += torch.tensor([ranked[:, 0].sum(), ranked.sum(), len(labels)], device=counts.device)
        if self.workers.count > 1:
            distributed.all_reduce(counts)
        right, five, total = counts.tolist()
        return {"accuracy": right / total, "top5": five / total}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if not self.workers.first:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: getattr(self, name).state_dict() for name in ("network", "optimizer", "schedule")}
        state |= {"average": self.average.network.state_dict(), "averaged": self.average.count}
        torch.save(
            state | {"history": self.history, "settings": self.settings()}, self.path.with_suffix(".part")
        )
        self.path.with_suffix(".part").replace(self.path)

    def load(self) -> None:
        """Go on from the checkpoint."""
        state = torch.load(self.path, map_location=self.workers.device, weights_only=True)
        if state["settings"] != self.settings():
            raise SystemExit(
                f"--resume must have the settings of the checkpoint; got others than {self.path} has: "
                f"{state['settings']}. Train anew without --resume."
            )
        for name in ("network", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.average.network.load_state_dict(state["average"])
        self.average.count, self.history = state["averaged"], state["history"]

    def settings(self) -> dict[str, Any]:
        """Return what the result depends on."""
        return {key: value for key, value in vars(self.options).items() if key not in NOT_SETTINGS}

    def results(self) -> dict[str, Any]:
        """Return what is written about the training."""
        last = self.history[-1]
        versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        return {
            "task": self.task.name,
            **self.settings(),
            "parameters": sum(p.numel() for p in self.network.parameters() if p.requires_grad),
            "processes": self.workers.count,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            **versions,
            "edgefilter": ef.__version__,
            "accuracy": last["accuracy"],
            "top5": last["top5"],
            "cpu_seconds": round(last["cpu_seconds"], 1),
            "wall_seconds": round(last["wall_seconds"], 1),
            "history": [
                {key: round(value, 4) for key, value in line.items()}
                for line in self.history
                if "accuracy" in line
            ],
        }


def train(task: Task, options: argparse.Namespace, workers: Workers) -> dict[str, Any]:
    """Train, write what was asked for, and return the results."""
    training = Training(task, options, workers)
    results = training.run()
    if not workers.first:
        return results
    if options.results:
        options.results.mkdir(parents=True, exist_ok=True)
        path = options.results / f"{training.name}.json"
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.export:
        network = training.average.network.to("cpu", memory_format=torch.contiguous_format)
        ef.models.write(network, options.export, task.settings, task.class_names, task.preprocess)
    print(f"{training.name}: accuracy {results['accuracy']:.2%}, {results['cpu_seconds']:.0f} s")
    return results
