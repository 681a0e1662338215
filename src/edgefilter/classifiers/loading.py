"""Load a classifier by name, from a description, or from a file of weights that says what it is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgefilter import models
from edgefilter.models.shipped import FORMAT

from .architectures import (
    DEMO,
    TIMM,
    TORCHVISION,
    Architecture,
    Usual,
    architecture,
    classifier_names,
    said_by,
)
from .assembling import Parts, assembled
from .classifier import Classifier
from .description import FILES, Description, described, files_in, read_description, read_values
from .found import facts_in
from .keys import CHECKS
from .weights import SUFFIXES, read_checkpoint

__all__ = ["DEMO", "classifier_names", "files_read", "load_classifier"]


def load_classifier(
    name: str | Path | None = None,
    weights: str | Path | None = None,
    *,
    classes: Sequence[str] | Mapping[str, int] | str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    resize: int | tuple[int, int] | None = None,
    crop: bool | None = None,
    interpolation: str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    channels: Sequence[str] | None = None,
    bits: int | None = None,
    white: float | None = None,
    progress: bool = True,
) -> Classifier:
    """Build a network with its weights, preprocessing and class names.

    Parameters
    ----------
    name : str or Path, optional
        One of :func:`classifier_names` (those of torchvision also as ``"torchvision:NAME"``), ``"timm:NAME"``,
        ``"path/to/file.py:function"`` for a function of your own that returns the network, a description (``"model.toml"`` or
        ``"model.json"``), or a file of weights that says what it is. Default: what the weights say, else "efficientnet_lite0".
    weights : str or Path, optional
        A file of tensors: ``.safetensors``, or a state dict or checkpoint of a trainer in ``.pt``, ``.pth``, ``.ckpt``,
        ``.bin`` or ``.tar``. Code in it is never run. The numbers of classes and of input channels are taken from it. Prefixes
        such as ``module.``, ``_orig_mod.`` and ``model.`` are taken off; averaged weights (EMA) are read only if there are no
        others. Default: the network's own ImageNet weights, downloaded where necessary; those of "digits" and "fruits" come with
        this package.
    classes : sequence of str, mapping, str or Path, optional
        The names of the classes in the order of the outputs; a mapping from name to place, such as ``class_to_idx`` of
        ``ImageFolder``; or a file with a name a line, or a JSON list.
    size : int or (int, int), optional
        Height and width of the network's input in pixels.
    resize : int or (int, int), optional
        What the photo's short side, or its height and width, is resized to before the middle is cut out. Default: ``size``, where
        that is given.
    crop : bool, optional
        False: no part is cut off, the whole photo is resized to ``size``. Default: True.
    interpolation : {"bilinear", "bicubic", "nearest"}, optional
        How photos are resized.
    mean, std : float or sequence of float, optional
        What is taken off values from 0 to 1, and what they are divided by, for each channel in the network's order or for all.
        Numbers above 2 are those of values from 0 to 255.
    channels : sequence of str, optional
        The names of the input channels in the network's order: ``("blue", "green", "red")`` for one that takes them so.
    bits, white : int and float, optional
        The bits of values in photos of more than 8 bits, or the value that becomes 1, as in :func:`~edgefilter.photos.read_photo`.
    progress : bool, default: True
        Whether a download of torchvision's weights shows its progress on stderr.

    Returns
    -------
    classifier : Classifier
        Its ``about`` says where weights and preprocessing come from.

    Raises
    ------
    KeyError
        If the name, or a key of a description, is unknown.
    ValueError, FileNotFoundError
        If a file is not what it should be, or does not fit the network.
    ImportError
        If an extra is not installed.
    RuntimeError
        If the weights cannot be downloaded, or a function of your own fails.

    Warns
    -----
    UserWarning
        If nothing says how photos are preprocessed for these weights, and it is assumed.

    Notes
    -----
    What is not given here is taken from the description, then from a description beside the weights (the same name with the ending
    ``.toml`` or ``.json``), then from the metadata of a safetensors file or the entries of a checkpoint (``class_to_idx``,
    ``hyper_parameters``, ``mean``, ...), and last from the network as its library trained it.

    Examples
    --------
    >>> digits = load_classifier("digits")
    >>> digits.about["preprocessing"]
    'short side to 28 pixels (bilinear), 28 x 28 in the middle, mean 0, std 1; channels gray'
    """
    given = {
        "class_names": classes, "size": size, "resize": resize, "crop": crop, "interpolation": interpolation, "mean": mean,
        "std": std, "channels": channels, "bits": bits, "white": white, "weights": None if weights is None else Path(weights),
    }  # fmt: skip
    parts = _parts(None if name is None else str(name), described(_as_files(given)), progress)
    classifier, doubt = assembled(parts)
    if doubt:
        warnings.warn(doubt, UserWarning, stacklevel=2)
    return classifier


def _as_files(given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as a file has them: tuples as lists."""
    return {key: list(value) if isinstance(value, (tuple, range)) else value for key, value in given.items()}


# --- what is said, and by whom ------------------------------------------------------------------------------------


def _parts(name: str | None, given: Description, progress: bool) -> Parts:
    """Gather what is said about a network, what was given first."""
    said = given
    if name is not None and name.endswith(FILES):
        said = given.over(read_description(name))
        said = said.over(Description(weights=_beside(Path(name), SUFFIXES)))
    elif name is not None and name.endswith(SUFFIXES) and given.weights is None:
        said = replace(given, weights=name)
    elif name is not None:
        said = replace(given, architecture=name)
    if said.weights is None:
        return Parts(said, architecture(said.architecture or DEMO, progress=progress))
    path = Path(said.weights)
    if name is None or not name.endswith(FILES):
        said = said.over(_told_beside(path, said.architecture))
    checkpoint = read_checkpoint(path)
    found = facts_in(checkpoint.extras)
    if said.architecture is None and checkpoint.extras.get("format") == FORMAT:
        return Parts(said, _written(path), checkpoint)
    named = said.architecture or _named(found)
    network = architecture(named or DEMO, progress=progress)
    whole = said.over(replace(found, class_names=None))
    return Parts(whole, network, checkpoint, named is not None, found.class_names)


def _named(found: Description) -> str | None:
    """Return the network that a file of weights names, if it is one of a library: no code runs because a file says so."""
    name = found.architecture
    library = name is not None and (name in classifier_names() or name.startswith((TIMM, TORCHVISION)))
    return name if library else None


def _beside(path: Path, endings: Sequence[str]) -> str | None:
    """Return the file of the same name with one of these endings, if there is one."""
    return next((str(path.with_suffix(end)) for end in endings if path.with_suffix(end).is_file()), None)


def files_read(name: str | None, weights: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the files that :func:`load_classifier` reads of a network beside those of its arguments, with what they are.

    Raises
    ------
    ValueError
        If a description is no TOML or JSON.
    """
    if name is not None and name.endswith(FILES):
        told: Path | None = Path(name)
        if beside := _beside(Path(name), SUFFIXES):
            yield "weights", Path(beside)
    else:
        if weights is None and name is not None and name.endswith(SUFFIXES):
            weights = Path(name)
        told = None if weights is None else _description_beside(weights)
    if told is not None and told.is_file():
        yield "description", told
        yield from files_in(told)


def _description_beside(weights: Path) -> Path | None:
    """Return the description beside a file of weights; a file without any of its keys is none."""
    there = (path for path in (weights.with_suffix(end) for end in FILES) if path.is_file())
    return next((path for path in there if _describes(read_values(path))), None)


def _describes(values: Mapping[str, Any]) -> bool:
    """Return whether a file has keys of a description, and is no result of this package, which has colors as well."""
    return bool(set(CHECKS) & set(values)) and "versions" not in values


def _told_beside(weights: Path, architecture: str | None) -> Description:
    """Return what the description beside a file of weights says, nothing where there is none."""
    path = _description_beside(weights)
    if path is None:
        return Description()
    found = read_description(path)
    if architecture is None and ".py:" in (found.architecture or ""):
        raise ValueError(
            f"model must be named, as the description beside the weights, {str(path)!r}, would run code of "
            f"{found.architecture!r}; got the weights alone. Pass that description as the model."
        )
    return found


def _written(path: Path) -> Architecture:
    """Return a network that ``models.write`` wrote, which says all of itself."""
    network: Any = models.read(path)
    usual = Usual(replace(said_by(network.preprocess), class_names=network.class_names), network.preprocess)

    def builder(_: object) -> Any:
        return lambda **_: network

    return Architecture(path.stem, builder, lambda: (network, usual), lambda _: usual, lambda _: usual)
