"""Show what a command prints: it is run while the page is read, in a folder with a photo, a drawn digit and a description.

In a page::

    ```{terminal} edgefilter explain coffee.png
    ```
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives

WIDTH = 88  # columns that a page has room for
SECONDS = 120
DESCRIPTION = """\
architecture = "digits"
class_names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
"""


@cache
def folder() -> Path:
    """Return the folder that commands run in."""
    import demo

    made = Path(tempfile.mkdtemp(prefix="edgefilter-docs-"))
    demo.photo().save(made / "coffee.png")
    demo.seven().save(made / "seven.png")
    (made / "mine.toml").write_text(DESCRIPTION, encoding="utf-8")
    return made


@cache
def printed(command: str) -> str:
    """Return what a command prints to a terminal, without the part of a progress bar."""
    words = shlex.split(command)
    call = [sys.executable, "-m", "edgefilter", *words[1:]]
    run = subprocess.run(
        call,
        cwd=folder(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"COLUMNS": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"},
        check=False,
    )
    if run.returncode:
        raise ValueError(f"{command!r} must end with 0; got {run.returncode}.\n{run.stderr}")
    return "\n".join(line.rstrip() for line in run.stdout.rstrip().splitlines())


class Terminal(Directive):
    """The directive ``terminal``: a command line of edgefilter, shown with what it prints."""

    required_arguments, final_argument_whitespace = 1, True
    option_spec = {"lines": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        """Return the block."""
        command = self.arguments[0]
        try:
            lines = printed(command).splitlines()
        except ValueError as error:
            raise self.error(str(error)) from error
        most = self.options.get("lines", len(lines))
        shown = [*lines[:most], "..."] if most < len(lines) else lines
        words = f"$ {command}\n" + "\n".join(shown)
        return [nodes.literal_block(words, words, language="console", classes=["terminal"])]


def setup(app: Any) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("terminal", Terminal)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
