"""Names of a package that are loaded when they are first used (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["lazy"]


def lazy(
    package: str, names: Mapping[str, str], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package whose names are loaded on first use.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    names : dict of str to str
        By public name, the module that holds it: relative to the package, such as ``".explanation"``.
    modules : iterable of str
        Submodules that are imported when they are asked for as attributes.

    Examples
    --------
    >>> getattr_, dir_ = lazy("edgefilter.banks", {"Kernel": ".kernel"})
    >>> getattr_("Kernel").__name__, "Kernel" in dir_()
    ('Kernel', True)
    """
    known = set(modules)

    def load(name: str) -> Any:
        if name in known:
            return importlib.import_module(f".{name}", package)
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(names[name], package), name)

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *known, *names})

    return load, listed
