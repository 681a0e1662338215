"""The commands together, and what stands before them."""

from __future__ import annotations

from typing import Annotated

import typer

from edgefilter import __version__

from .check import check
from .compare import compare
from .explain import explain
from .kernels import kernels
from .models import models
from .profile import profile
from .report import report
from .stopping import guarded
from .warned import warned

__all__ = ["app"]

app = typer.Typer(
    name="edgefilter",
    help="Explain image classifiers by color channel, by edge filter and by pixel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (explain, report, compare, profile, kernels, check, models):  # as --help lists them
    app.command()(guarded(warned(command)))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgefilter {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
