"""Networks that a function in somebody's own file builds."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from edgefilter._checks import closest
from edgefilter.errors import UnknownNameError

__all__ = ["factory"]


def factory(name: str) -> Callable[..., nn.Module]:
    """Return the function that ``path/to/file.py:function`` names; the file's own code runs.

    The function may take ``num_classes``; then it is called again with the number of classes in the weights. A class of
    networks will do as well.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KeyError
        If the file has no such function.
    RuntimeError
        If the file or the function fails, or it returns no network.
    """
    file, _, wanted = name.rpartition(":")
    given = _attribute(_module(Path(file)), file, wanted)

    def build(**options: int) -> nn.Module:
        if not _takes_classes(given):
            options = {}
        try:
            network = given(**options)
        except Exception as cause:
            raise RuntimeError(
                f"function {wanted!r} of {file!r} must build the network; it raised {_in_words(cause)}. "
                "Let it work without arguments, or with num_classes alone."
            ) from cause
        if not isinstance(network, nn.Module):
            raise RuntimeError(
                f"function {wanted!r} of {file!r} must return an nn.Module; got {type(network).__name__}. Return the network."
            )
        return network

    return build


def _module(path: Path) -> ModuleType:
    """Run a file of Python, which may import its neighbors."""
    if not path.is_file():
        raise FileNotFoundError(
            f"architecture must name an existing file of Python; got {str(path)!r}, which is not there. Check the path."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as cause:
        raise RuntimeError(
            f"architecture must name a file of Python that runs; {str(path)!r} raised {_in_words(cause)}. Run it by itself."
        ) from cause
    finally:
        sys.path.remove(folder)
    return module


def _attribute(module: ModuleType, file: str, wanted: str) -> Callable[..., Any]:
    found: Any = getattr(module, wanted, None)
    if callable(found) and not isinstance(found, nn.Module):
        function: Callable[..., Any] = found
        return function
    own = [
        name
        for name, value in vars(module).items()
        if inspect.isroutine(value) or (inspect.isclass(value) and issubclass(value, nn.Module))
        if value.__module__ == module.__name__ and not name.startswith("_")
    ]
    what = "no function" if found is None else f"a {type(found).__name__}, not a function,"
    raise UnknownNameError(
        f"{file!r} has {what} {wanted!r}{closest(wanted, own)} "
        + (f"It defines {', '.join(own)}." if own else "Define a function in it that returns the network.")
    )


def _takes_classes(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "num_classes" in parameters


def _in_words(cause: Exception) -> str:
    text = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {text[0][:200].rstrip('.')}" if text else type(cause).__name__
