"""Networks as files: the trained ones that come with this package, and those that users write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from edgefilter._checks import closest
from edgefilter._files import replacing
from edgefilter.errors import UnknownNameError

from .networks import EdgeNetwork, edge_cnn, edge_resnet18, edge_resnet50
from .preprocessing import Preprocessing

__all__ = ["FORMAT", "load", "names", "read", "write"]

WEIGHTS = Path(__file__).parent / "weights"
FORMAT = "edgefilter network 1"


def names() -> list[str]:
    """Return the names that ``load`` takes.

    Examples
    --------
    >>> names()
    ['digits', 'fruits']
    """
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def load(name: str) -> EdgeNetwork:
    """Return a trained network that comes with this package; nothing is downloaded.

    Parameters
    ----------
    name : str
        One of :func:`names`: "digits" (MNIST, gray, 28 x 28 pixels) or "fruits" (24 classes of Fruits-360, color).

    Returns
    -------
    network : EdgeNetwork
        In evaluation mode, with its ``class_names`` and ``preprocess``.

    Raises
    ------
    KeyError
        If the name is unknown.

    Notes
    -----
    The page *Networks* of the documentation has the model cards: data, licence, accuracy and limits.

    Examples
    --------
    >>> from PIL import Image
    >>> digits = load("digits")
    >>> digits.class_names
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    >>> digits(digits.preprocess(Image.new("RGB", (28, 28)))).shape
    torch.Size([1, 10])
    """
    if name not in names():
        raise UnknownNameError(
            f"unknown network {name!r}{closest(name, names())} models.names() lists those that come with edgefilter: "
            f"{', '.join(names())}."
        )
    return read(WEIGHTS / f"{name}.safetensors")


def read(path: str | Path) -> EdgeNetwork:
    """Read a network that ``write`` wrote; code in the file is never run.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    network : EdgeNetwork
        In evaluation mode.

    Raises
    ------
    ValueError, FileNotFoundError
        If the file is none of ours, or not there.

    Examples
    --------
    >>> read(WEIGHTS / "digits.safetensors").preprocess.size
    28
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as cause:
        raise ValueError(
            f"path must be a safetensors file; got {str(path)!r}: {cause}. Pass one that models.write wrote."
        ) from cause
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"path must be a file of models.write; got {str(path)!r}, which says nothing about its network. "
            "Load the weights into a network of your own with load_state_dict."
        )
    settings = json.loads(metadata["network"])
    network = BUILDERS[settings.pop("model")](**settings)
    network.load_state_dict(state)
    network.class_names = tuple(json.loads(metadata["classes"]))
    preprocessing = json.loads(metadata["preprocessing"])
    mean, std = (tuple(preprocessing.pop(key)) for key in ("mean", "std"))
    network.preprocess = Preprocessing(mean=mean, std=std, **preprocessing)
    return network.eval()


def write(
    network: EdgeNetwork,
    path: str | Path,
    settings: dict[str, Any],
    class_names: Sequence[str],
    preprocess: Preprocessing,
) -> None:
    """Write a trained network to a safetensors file, with all that is needed to use it.

    Parameters
    ----------
    network : EdgeNetwork
    path : str or Path
        Overwritten.
    settings : dict
        Under ``"model"`` the name of the function that built the network, and its arguments, with the bank by name.
    class_names : sequence of str
        One for each output.
    preprocess : Preprocessing

    Examples
    --------
    >>> import tempfile
    >>> network = edge_cnn(2, in_channels=1, bank="sobel")
    >>> settings = {"model": "edge_cnn", "num_classes": 2, "in_channels": 1, "bank": "sobel"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "mine.safetensors")
    ...     write(network, path, settings, ["no", "yes"], Preprocessing(16, 1, (0.0,), (1.0,)))
    ...     read(path).class_names
    ('no', 'yes')
    """
    metadata = {
        "format": FORMAT,
        "network": json.dumps(settings),
        "classes": json.dumps(list(class_names)),
        "preprocessing": json.dumps(vars(preprocess)),
    }
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    with replacing(path) as place:
        save_file(state, place, metadata=metadata)


BUILDERS: dict[str, Callable[..., EdgeNetwork]] = {
    build.__name__: build for build in (edge_cnn, edge_resnet18, edge_resnet50)
}
