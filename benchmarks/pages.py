"""Pages of the documentation, of which a benchmark writes a part: between marks, so that the words around it stay."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, part: str, text: str) -> None:
    """Put a part between its marks in a page that has them, else write it as a page."""
    begin, end = f"<!-- {part}: generated, do not edit -->", f"<!-- end of {part} -->"
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin in page and end in page:
        first, rest = page.split(begin, 1)
        text = f"{first}{begin}\n\n{text}\n\n{end}{rest.split(end, 1)[1]}"
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
