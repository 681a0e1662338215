"""The options that say which network it is, and what it was trained with: one set for all commands."""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .checks import say
from .options import DEMO
from .printing import new_console
from .stopping import loading

if TYPE_CHECKING:
    from edgefilter.classifiers.classifier import Classifier

__all__ = ["NETWORK", "NetworkOptions", "with_network"]

Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help=f"A network of torchvision, timm:NAME, {DEMO}, digits or fruits; a description, model.toml or model.json; your own code, "
        f"net.py:build; or a file of weights that says what it is. Default: what the weights say, else {DEMO}.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Its weights: a .safetensors, .pt, .pth or .ckpt file. Code in it is never run."),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The names of its classes, one a line in the order of the outputs, or as JSON."
    ),
]
Size = Annotated[
    str | None, typer.Option(metavar="PIXELS|HxW", help="The size of its input, such as 64 or 64x96.")
]
Resize = Annotated[
    str | None,
    typer.Option(
        metavar="PIXELS|HxW",
        help="What the photo's short side is resized to before the middle is cut out. Default with --size: as large.",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER,...",
        help="What is subtracted from values from 0 to 1 (from 0 to 255, if it is above 2): a number for each channel or one for all.",
    ),
]
Std = Annotated[str | None, typer.Option(metavar="NUMBER,...", help="What they are divided by.")]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="The names of its channels in its order, such as blue,green,red or B02,B03,B04,B08.",
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(
        metavar="1-16",
        min=1,
        max=16,
        help="The bits of photos of more than 8: 12 for most X-rays, 16 for one that is dark. Default: what the file says, "
        "or the fewest that hold all values, with a warning.",
    ),
]
White = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="The value of bands that becomes 1, such as 10000 for the reflectance of many satellites. Default: by the bits.",
    ),
]


@dataclass(frozen=True)
class NetworkOptions:
    """Which network, as it was typed."""

    model: Model = None
    weights: Weights = None
    classes: Classes = None
    size: Size = None
    resize: Resize = None
    mean: Mean = None
    std: Std = None
    channels: Channels = None
    bits: Bits = None
    white: White = None
    doubts: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def files(self) -> list[tuple[str, Path | None]]:
        """The files that are read, with the options that name them, and those that a description names; nothing may be written onto them."""
        model = (
            None if self.model is None else Path(self.model.removesuffix(f":{self.model.rpartition(':')[2]}"))
        )
        return [
            *self._told,
            ("model", model if model is not None and model.is_file() else None),
            ("weights", self.weights),
            ("classes", self.classes),
        ]

    @property
    def _told(self) -> list[tuple[str, Path | None]]:
        """The files that are read without being typed; a description that is none is refused when it is loaded."""
        if self.model is None and self.weights is None:
            return []
        with loading():
            from edgefilter.classifiers.loading import files_read
        with contextlib.suppress(ValueError, OSError):
            return list(files_read(self.model, self.weights))
        return []

    def other(self, model: str | None, weights: Path | None) -> NetworkOptions | None:
        """Return a second network: another one, or the same with other weights; a description says for itself what it takes."""
        if model is None and weights is None:
            return None
        if model is not None and model.casefold().endswith((".toml", ".json")):
            return NetworkOptions(model=model, weights=weights, bits=self.bits)
        return replace(self, model=self.model if model is None else model, weights=weights)

    def load(self, *, quiet: bool = False) -> Classifier:
        """Load the network; what is assumed about it is kept, to be said where it is read."""
        with loading():
            from edgefilter.classifiers.loading import load_classifier

        options: dict[str, Any] = {
            "classes": self.classes,
            "size": _pixels("size", self.size),
            "resize": _pixels("resize", self.resize),
            "mean": _numbers("mean", self.mean),
            "std": _numbers("std", self.std),
            "channels": _names(self.channels),
            "white": self.white,
        }
        with (
            new_console(stderr=True, quiet=quiet).status(f"Loading {self.model or self.weights or DEMO} ..."),
            warnings.catch_warnings(record=True) as found,
        ):
            warnings.simplefilter("always", UserWarning)
            classifier = load_classifier(self.model, self.weights, **options, progress=not quiet)
        self.doubts.extend(f"Warning: {warning.message}" for warning in found)
        return classifier

    def say_doubts(self) -> None:
        """Print what is assumed about the network, a line each on stderr, once."""
        while self.doubts:
            say(self.doubts.pop(0))


NETWORK = NetworkOptions()


def with_network(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the network where it takes ``network: NetworkOptions``."""
    signature = inspect.signature(command, eval_str=True)
    own = inspect.signature(NetworkOptions, eval_str=True).parameters
    parameters = [
        one
        for given in signature.parameters.values()
        for one in (own.values() if given.annotation is NetworkOptions else [given])
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        network = NetworkOptions(**{name: given.pop(name) for name in own})
        try:
            command(network=network, **given)
        finally:
            network.say_doubts()  # below the results, where it is read

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _names(given: str | None) -> list[str] | None:
    """Split names at commas."""
    return None if given is None else [name.strip() for name in given.split(",")]


def _pixels(what: str, given: str | None) -> int | tuple[int, int] | None:
    """Return a size that was typed: 64, 64x96 or 64,96."""
    if given is None:
        return None
    parts = given.casefold().replace("x", ",").split(",")
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ValueError(
            f"{what} must be a number of pixels, or height and width; got {given!r}. Pass for example 64 or 64x96."
        )
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def _numbers(what: str, given: str | None) -> list[float] | None:
    """Return numbers that were typed with commas between them."""
    try:
        return None if given is None else [float(part) for part in given.split(",")]
    except ValueError:
        raise ValueError(
            f"{what} must be a number, or one for each channel; got {given!r}. Pass for example 0.5 or 0.485,0.456,0.406."
        ) from None
