"""The names of the room."""

import importlib
import pkgutil
import types

import pytest

from edgefilter import methods


@pytest.mark.parametrize("name", methods.__all__)
def test_no_file_hides_a_name(name):
    """Importing a file makes it an attribute of the room: a function in a file of its own name would be gone."""
    for module in pkgutil.iter_modules(methods.__path__):
        importlib.import_module(f"edgefilter.methods.{module.name}")
    assert not isinstance(getattr(methods, name), types.ModuleType)
