"""Who may import whom, read from the source; and what an import must not load.

Folders are rooms. A module imports from its own room and from rooms below it, and never in a circle; an import inside a
function or for types alone counts as any other. Names at the top of the package are loaded on first use, so that its
``__init__`` stands above all rooms; what a room's ``__init__`` offers comes from its own files.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import edgefilter

SOURCE = Path(edgefilter.__file__).parent
FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path.read_text(
        "utf-8"
    )
    for path in SOURCE.rglob("*.py")
    if path != SOURCE / "__init__.py"
}

FLOORS = (  # from the ground up; rooms of one floor do not import each other
    ("errors", "_checks", "_files", "_html", "_lazy"),
    ("bands", "_notebook"),
    ("photos",),
    ("banks",),
    ("stems", "plots"),
    ("lrp", "models", "report"),
    ("attribution", "classifiers"),
    ("methods",),
    ("evaluation", "profiles", "quantus"),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ONLY_IN = {  # another library: the rooms that may import it, be it inside a function
    "torch": set(FLOOR) - {"errors", "_checks", "_html", "_lazy", "_notebook", "bands", "photos", "banks"},
    "zennit": {"lrp", "attribution", "quantus"},
    "captum": {"attribution", "methods", "evaluation"},
    "torchmetrics": {"profiles"},
    "torchvision": {"lrp", "models", "classifiers", "profiles"},
    "matplotlib": {
        "plots",
        "attribution",
        "evaluation",
        "profiles",
    },  # outside plots: as the type of a result
    "jinja2": {"_html"},
    "typer": {"cli"},
    "rich": {"cli"},
}
NEVER_AT_MODULE_LEVEL = {
    "matplotlib",
    "pandas",
    "skimage",
    "tifffile",
    "timm",
    "efficientnet_lite_pytorch",
    "jinja2",
}
LOADED_ON_USE = {"plots.figures"}  # a class of matplotlib, which nothing imports but functions that draw
LINES_OF_CODE = 35


# --- reading imports ------------------------------------------------------------------------------------------


def statements(tree: ast.AST, *, deep: bool = True) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports; without ``deep``, only those that run when the module is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif deep or not (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            or (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
        ):
            yield from statements(node, deep=deep)


def absolute(node: ast.ImportFrom, module: str, *, package: bool) -> str:
    """Return the module that ``from ... import`` names, from the top."""
    if not node.level:
        return node.module or ""
    parts = ["edgefilter", *module.split(".")]
    base = parts[: len(parts) - node.level + package]
    return ".".join([*base, *filter(None, [node.module])])


def imported(module: str, code: str, files: Mapping[str, str], *, deep: bool = True) -> Iterator[str]:
    """Yield the imported modules, from the top: of ``from room import file``, the file."""
    package = f"edgefilter.{module}." in {f"edgefilter.{name[: len(module) + 1]}" for name in files}
    for node in statements(ast.parse(code), deep=deep):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        name = absolute(node, module, package=package)
        for alias in node.names:
            inner = f"{name}.{alias.name}"
            yield inner if inner.removeprefix("edgefilter.") in files else name


def ours(module: str, code: str, files: Mapping[str, str]) -> Iterator[str]:
    """Yield those of this package, without its name; an empty one for the package itself."""
    for name in imported(module, code, files):
        if name == "edgefilter" or name.startswith("edgefilter."):
            yield name.removeprefix("edgefilter").removeprefix(".")


def room_of(module: str) -> str:
    """Return the room of a module; a file at the top is a room of its own."""
    return module.partition(".")[0]


# --- the rules ------------------------------------------------------------------------------------------------


def faults(module: str, code: str, files: Mapping[str, str] = FILES) -> list[str]:
    """Name the imports of a module that break the rules."""
    room, found = room_of(module), []
    for name in ours(module, code, files):
        other = room_of(name)
        if other == room and name == room:
            found.append(f"{module} imports its own room")
        if not name and "__version__" not in code:
            found.append(f"{module} imports the whole package")
        elif name and other != room and FLOOR[other] >= FLOOR[room]:
            found.append(f"{module} imports {other}")
    found += [
        f"{module} imports {top}"
        for top in {name.partition(".")[0] for name in imported(module, code, files)}
        if room not in ONLY_IN.get(top, FLOOR)
    ]
    found += [
        f"{module} imports {top} at module level"
        for top in {name.partition(".")[0] for name in imported(module, code, files, deep=False)}
        if top in NEVER_AT_MODULE_LEVEL and module not in LOADED_ON_USE
    ]
    return found


def circle(files: Mapping[str, str] = FILES) -> list[str]:
    """Return modules that import each other in a circle, or nothing; what a room's ``__init__`` offers is no part of it."""
    needs = {
        module: [name for name in ours(module, code, files) if name in files and "." in name]
        for module, code in files.items()
    }
    done: set[str] = set()

    def follow(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for name in needs[module]:
            if found := follow(name, [*path, module]):
                return found
        done.add(module)
        return []

    return next(filter(None, (follow(module, []) for module in needs)), [])


def long_functions(code: str) -> list[str]:
    """Name the functions with more lines of code than allowed; docstrings, comments and blank lines are free."""
    lines = code.splitlines()
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            numbers = range(body[0].lineno, (node.end_lineno or 0) + 1) if body else ()
            count = sum(
                1 for n in numbers if lines[n - 1].strip() and not lines[n - 1].strip().startswith("#")
            )
            if count > LINES_OF_CODE:
                found.append(f"{node.name} ({count} lines)")
    return found


def loaded_after(code: str) -> set[str]:
    """Run code in a fresh process and return the modules that are loaded then."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def packages(modules: set[str]) -> set[str]:
    """Return the top-level packages of modules."""
    return {name.partition(".")[0] for name in modules}


# --- the arrows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_it_may(module):
    """Imports run downwards, and each library has its place."""
    assert room_of(module) in FLOOR, f"say in {Path(__file__).name} on which floor the new room stands"
    assert faults(module, FILES[module]) == []


def test_no_modules_import_each_other_in_a_circle():
    """Neither within a room nor between rooms, not even inside functions or for types."""
    assert circle() == []


@pytest.mark.parametrize(
    ("module", "code", "fault"),
    [
        ("banks.kernel", "from edgefilter.stems.layers import x", "banks.kernel imports stems"),
        ("banks.kernel", "def f():\n    from edgefilter.cli import x", "banks.kernel imports cli"),
        ("stems.layers", "from edgefilter import plots", "stems.layers imports plots"),
        ("stems.layers", "import edgefilter.lrp.rules", "stems.layers imports lrp"),
        ("stems.layers", "from .. import lrp", "stems.layers imports lrp"),
        ("plots", "from edgefilter.attribution import x", "plots imports attribution"),
        ("plots.profile", "if TYPE_CHECKING:\n    from ..profiles.profile import x", "plots.profile imports profiles"),
        ("lrp.rules", "class A:\n    from edgefilter.models import x", "lrp.rules imports models"),
        ("quantus", "try:\n    from .profiles import x\nexcept ImportError:\n    pass", "quantus imports profiles"),
        ("banks.bank", "from edgefilter.banks import Kernel", "banks.bank imports its own room"),
        ("banks.bank", "from . import Kernel", "banks.bank imports its own room"),
        ("stems.layers", "import edgefilter", "stems.layers imports the whole package"),
        ("banks.bank", "def f():\n    from torch import nn", "banks.bank imports torch"),
        ("stems.layers", "from zennit.core import Hook", "stems.layers imports zennit"),
        ("plots.style", "import matplotlib.pyplot as p", "plots.style imports matplotlib at module level"),
    ],
)  # fmt: skip
def test_the_import_check_can_fail(module, code, fault):
    """Each rule finds a module that breaks it."""
    assert fault in faults(module, code)


def test_the_import_check_lets_pass_what_is_allowed():
    """Rooms below, files of the same room, figures as types, and drawing inside a function."""
    types = "if TYPE_CHECKING:\n    from matplotlib.figure import Figure\n"
    assert (
        faults("plots.style", f"from .words import spaced\n{types}def draw():\n    import matplotlib\n") == []
    )
    assert faults("cli.explain", "from . import checks\nfrom edgefilter.banks import FilterBank\n") == []


@pytest.mark.parametrize(
    "code", ["from .b import x", "def f():\n    from edgefilter.r.b import x", "from . import b"]
)
def test_the_check_for_circles_can_fail(code):
    """Two files that import each other, however they say so."""
    assert circle({"r": "", "r.a": code, "r.b": "from .a import y"}) == ["r.a", "r.b", "r.a"]
    assert circle({"r": "from .a import y", "r.a": code, "r.b": ""}) == []


# --- what is loaded -------------------------------------------------------------------------------------------


def test_the_package_alone_loads_nothing_heavy():
    """Names are loaded on first use."""
    assert not packages(loaded_after("import edgefilter")) & {
        "numpy",
        "torch",
        "captum",
        "matplotlib",
        "typer",
    }


@pytest.mark.parametrize("module", ["attribution.explanation", "plots", "profiles.profile"])
def test_what_is_read_and_drawn_needs_no_engine(module):
    """Explanations, profiles and figures work without the rules."""
    loaded = loaded_after(f"import edgefilter.{module}")
    assert f"edgefilter.{module}" in loaded
    assert not {name for name in loaded if name.startswith("edgefilter.lrp")}
    assert not packages(loaded) & {"zennit", "captum"}


def test_figures_load_matplotlib_when_they_are_drawn():
    """Nor do they need torch: what is drawn has it."""
    assert not packages(loaded_after("import edgefilter.plots")) & {"matplotlib", "torch"}


def test_the_command_line_is_quick():
    """Help and the list of kernels need no torch."""
    code = "import edgefilter.cli\ntry:\n    edgefilter.cli.app(['kernels', '--bank', 'sobel'])\nexcept SystemExit:\n    pass"
    loaded = loaded_after(code)
    assert "edgefilter.banks.presets" in loaded
    assert not packages(loaded) & {"torch", "matplotlib", "captum", "zennit"}


def test_the_checks_of_what_is_loaded_can_fail():
    """What is imported is seen."""
    assert {"torch", "zennit"} <= packages(loaded_after("import edgefilter.lrp.rules"))
    assert "edgefilter.lrp.rules" in loaded_after("import edgefilter; edgefilter.get_composite")


def test_every_name_that_is_loaded_on_use_is_there():
    """The package and its rooms offer what they list, and nothing else by mistake."""
    for room in (None, "attribution", "evaluation", "lrp", "methods", "profiles"):
        package = edgefilter if room is None else __import__(f"edgefilter.{room}", fromlist=["x"])
        assert set(package.__all__) <= set(dir(package))
        for name in package.__all__:
            assert getattr(package, name) is not None
            path = f"{room or ''}.{name}".removeprefix(".")
            assert path not in FILES or room is None, f"{path}.py hides the name, once it is loaded"
        with pytest.raises(AttributeError, match=r"has no attribute 'nothing'"):
            _ = package.nothing


def test_modules_of_the_package_are_attributes():
    """After ``import edgefilter as ef``: ``ef.models``, ``ef.plots`` and so on."""
    code = "import edgefilter as ef\nfor name in ('classifiers', 'models', 'photos', 'plots'): getattr(ef, name).__all__"
    assert {"edgefilter.models.networks", "edgefilter.plots.style"} <= loaded_after(code)


# --- the size of things ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", FILES)
def test_functions_are_short(module):
    """A body has some 25 lines of code, and never more than 35."""
    assert long_functions(FILES[module]) == []


def test_the_length_check_can_fail():
    """A line too many is found; comments and the docstring are free."""
    body = "    # free\n    x = 1\n" * LINES_OF_CODE
    assert long_functions(f"def f():\n    '''Free.'''\n{body}") == []
    assert long_functions(f"def f():\n{body}    y = 2\n") == ["f (36 lines)"]
