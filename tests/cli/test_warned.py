"""Warnings on the command line."""

import warnings

import typer
from typer.testing import CliRunner

from edgefilter.cli.warned import warned


def test_a_warning_is_one_line_without_its_place():
    """A place in the library's sources helps nobody who typed a command; warnings of other libraries stay as they are."""
    app, shown = typer.Typer(), []

    @app.command()
    @warned
    def command() -> None:
        warnings.warn("scores nearly cancel.", UserWarning, stacklevel=1)
        warnings.warn("soon another way.", FutureWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: shown.append(str(message))
        result = CliRunner().invoke(app, [])
        warnings.warn("after the command.", UserWarning, stacklevel=1)
    assert (result.exit_code, result.stderr) == (0, "Warning: scores nearly cancel.\n")
    assert shown == ["soon another way.", "after the command."]
