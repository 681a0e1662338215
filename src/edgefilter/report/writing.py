"""A report as one file, with all that it needs in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from edgefilter import __version__
from edgefilter._files import new_file, replacing
from edgefilter._html import render

__all__ = ["ENDINGS", "as_json", "checked", "write_page"]

ENDINGS = (".html", ".htm")


def checked(path: str | Path, *, overwrite: bool) -> Path:
    """Return a path that a page can be written to.

    Raises
    ------
    ValueError
        If it has another ending.
    FileExistsError, FileNotFoundError
        If the file is there and must not be replaced, or its folder is not there.
    """
    if Path(path).suffix.lower() not in ENDINGS:
        raise ValueError(f"path must end in {' or '.join(ENDINGS)}; got {str(path)!r}. Change the ending.")
    return new_file(path, overwrite=overwrite)


def as_json(value: Any) -> Markup:
    r"""Return JSON that can stand in a script element: no text in it can end the element or begin a comment.

    Examples
    --------
    >>> print(as_json({"name": "</script>&"}))
    {"name":"\u003c/script\u003e\u0026"}
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 - escaped for where it stands


def write_page(path: Path, template: str, *, data: Any, **values: Any) -> Path:
    """Fill a template in and write it; the file is there when it is complete."""
    text = render(template, data=as_json(data), version=__version__, **values)
    with replacing(path) as place:
        place.write_text(text, encoding="utf-8", newline="\n")
    return path
