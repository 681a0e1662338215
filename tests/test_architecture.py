"""Who may import whom, read from the source; and what `import edgefilter` must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgefilter

SOURCE = Path(edgefilter.__file__).parent
MODULES = sorted(path.stem for path in SOURCE.rglob("*.py") if path.stem != "__init__")

BASE = {"_checks"}
KERNELS = BASE | {"kernels"}
BANKS = KERNELS | {"banks"}
LAYERS = BANKS | {"layers"}
TRACING = LAYERS | {"tracing"}
STEMS = TRACING | {"stems"}
OPERATIONS = STEMS | {"operations"}
TWINS = OPERATIONS | {"twins"}
REWRITING = TWINS | {"rewriting"}
GRAPH = REWRITING | {"graph"}
LINEAR_MAPS = OPERATIONS | {"linear_maps"}
RULES = LINEAR_MAPS | {"rules", "conserving"}
COMPOSITES = GRAPH | RULES | {"composites"}
RESPONSES = COMPOSITES | {"responses"}
ATTRIBUTION = RESPONSES | {"explanation", "calibration", "attribution"}
CAUSAL = ATTRIBUTION | {"causal"}

MAY_IMPORT = {  # at module level, from this package
    "_checks": set(),
    "kernels": BASE,
    "banks": KERNELS,
    "layers": BANKS,
    "tracing": LAYERS,
    "stems": TRACING,
    "operations": STEMS,
    "twins": OPERATIONS,
    "rewriting": TWINS,
    "graph": REWRITING,
    "linear_maps": OPERATIONS,
    "rules": LINEAR_MAPS,
    "conserving": LINEAR_MAPS | {"rules"},
    "composites": COMPOSITES - {"composites"},
    "responses": COMPOSITES,
    "masks": RESPONSES,
    "explanation": RESPONSES,
    "calibration": LINEAR_MAPS,
    "attribution": RESPONSES | {"explanation", "calibration"},
    "layer_attribution": ATTRIBUTION,
    "causal": ATTRIBUTION,
    "methods": ATTRIBUTION,
    "metrics": ATTRIBUTION | {"methods"},
    "compare": CAUSAL | {"methods", "metrics"},
    "quantus": ATTRIBUTION,
    "report": ATTRIBUTION,
    "moments": BASE,
    "profiles": BASE | {"moments"},
    "photos": BASE,
    "models": LAYERS,
    "classifiers": STEMS | {"photos", "models"},
    "profiling": ATTRIBUTION | {"methods", "photos", "classifiers", "profiles"},
    "plots": BANKS | {"explanation", "causal", "profiles"},
    "cli": CAUSAL
    | {"compare", "methods", "metrics", "photos", "classifiers", "plots", "report", "__version__"}
    | {"models", "profiles", "profiling"},
    "__main__": {"cli"},
}
ONLY_IN = {  # another library: the modules that may import it, be it inside a function
    "torch": set(MAY_IMPORT) - {"_checks", "kernels", "banks"},
    "zennit": {
        "operations",
        "rewriting",
        "graph",
        "rules",
        "conserving",
        "composites",
        "attribution",
        "layer_attribution",
        "quantus",
        "report",
    },
    "captum": {"attribution", "layer_attribution", "methods", "metrics"},
    "matplotlib": {"plots", "explanation", "compare", "profiles", "cli"},
    "typer": {"cli"},
}
NEVER_AT_MODULE_LEVEL = {"matplotlib", "pandas", "skimage", "timm", "efficientnet_lite_pytorch"}
LOADED_ON_USE = {
    "typer",
    "skimage",
    "timm",
    "quantus",
    "edgefilter.quantus",
    "edgefilter.cli",
    "edgefilter.plots",
}
LINES_OF_CODE = 35


def imports(tree: ast.AST, *, deep: bool) -> Iterator[str]:
    """Yield the imported modules, ours with a dot before them; with ``deep``, those inside functions as well."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.replace("edgefilter.", ".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "").replace("edgefilter.", ".")
            yield from [module] if node.module else [module + alias.name for alias in node.names]
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        elif deep or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imports(node, deep=deep)


def faults(module: str, code: str) -> list[str]:
    """Name the imports of a module that break the rules."""
    tree = ast.parse(code)
    found = []
    for name in imports(tree, deep=False):
        top = name.lstrip(".").split(".")[0]
        if name.startswith(".") and top not in MAY_IMPORT.get(module, set()):
            found.append(f"{module} imports .{top}")
        if not name.startswith(".") and top in NEVER_AT_MODULE_LEVEL:
            found.append(f"{module} imports {top} at module level")
    for name in imports(tree, deep=True):
        top = name.split(".")[0]
        if top == "edgefilter":
            found.append(f"{module} names its own package")
        if top in ONLY_IN and module not in ONLY_IN[top]:
            found.append(f"{module} imports {top}")
    return found


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


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_it_may(module):
    """Imports run one way, and each library has its place."""
    assert module in MAY_IMPORT, f"say in {Path(__file__).name} what the new module {module} may import"
    assert faults(module, (SOURCE / f"{module}.py").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "code", "fault"),
    [
        ("kernels", "from .banks import FilterBank", "kernels imports .banks"),
        ("banks", "from . import layers", "banks imports .layers"),
        ("attribution", "from .cli import main", "attribution imports .cli"),
        ("explanation", "from .plots import plot_explanation", "explanation imports .plots"),
        ("banks", "import torch", "banks imports torch"),
        ("banks", "def f():\n    from torch import nn", "banks imports torch"),
        ("stems", "from zennit.core import Hook", "stems imports zennit"),
        ("rules", "import captum.attr", "rules imports captum"),
        ("plots", "import matplotlib.pyplot as plt", "plots imports matplotlib at module level"),
        ("plots", "import typer", "plots imports typer"),
        ("layers", "class A:\n    from .graph import x", "layers imports .graph"),
        ("layers", "try:\n    from .graph import x\nexcept ImportError:\n    pass", "layers imports .graph"),
        ("kernels", "from edgefilter.banks import FilterBank", "kernels imports .banks"),
        ("stems", "import edgefilter", "stems names its own package"),
    ],
)
def test_the_import_check_can_fail(module, code, fault):
    """Each rule finds a module that breaks it."""
    assert fault in faults(module, code)


def test_the_import_check_lets_pass_what_is_allowed():
    """Figures as types only, and drawing inside a function."""
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from matplotlib.figure import Figure\n"
    assert faults("stems", code) == []
    assert faults("plots", "def draw():\n    import matplotlib.pyplot as plt\n") == []


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module):
    """A body has some 25 lines of code, and never more than 35."""
    assert long_functions((SOURCE / f"{module}.py").read_text(encoding="utf-8")) == []


def test_the_length_check_can_fail():
    """A line too many is found; comments and the docstring are free."""
    body = "    # free\n    x = 1\n" * LINES_OF_CODE
    assert long_functions(f"def f():\n    '''Free.'''\n{body}") == []
    assert long_functions(f"def f():\n{body}    y = 2\n") == ["f (36 lines)"]


def test_import_stays_light():
    """Neither the command line nor an extra is loaded by the library itself."""
    assert not loaded_after("import edgefilter") & LOADED_ON_USE


def test_the_light_import_check_can_fail():
    """What is imported is seen."""
    assert "typer" in loaded_after("import edgefilter, typer")
