"""Put what the tutorials printed and drew into the notebooks that their pages offer.

Sphinx-Gallery runs each tutorial for its page and writes a notebook without results beside it. The page holds the results already, so
nothing runs twice: each cell of the notebook gets what the page shows under the same code.
"""

from __future__ import annotations

import base64
import json
import re
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CODE = re.compile(r"^\.\. code-block:: Python\n", re.MULTILINE)
END = re.compile(r"^\.\. (GENERATED FROM|_sphx_glr_download)", re.MULTILINE)
IMAGE = re.compile(r"^ *\.\. image-sg:: /(\S+)\n *:alt: (.*)$", re.MULTILINE)
PRINTED = re.compile(r"^ \.\. code-block:: none\n\n((?: {4}.*\n|\n)+)", re.MULTILINE)
SHOWN = re.compile(r'^ {4}<div class="output_subarea.*\n((?:.*\n)*?) {4}</div>\n {4}<br />$', re.MULTILINE)


def setup(app: Any) -> dict[str, bool]:
    """Fill the notebooks once Sphinx-Gallery has run, before Sphinx copies them."""
    app.connect("builder-inited", fill_notebooks, priority=900)
    return {"parallel_read_safe": True}


def fill_notebooks(app: Any) -> None:
    """Fill the notebooks of all tutorials."""
    source = Path(app.srcdir)
    for page in sorted((source / "tutorials").glob("plot_*.rst")):
        filled(page, source)


def filled(page: Path, source: Path) -> Path:
    """Write the results on a page into the notebook beside it, and both into its archive; return the notebook.

    Raises
    ------
    ValueError
        If the notebook has other code than the page.
    """
    path = page.with_suffix(".ipynb")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    results = [list(outputs_of(block, source)) for block in blocks_of(page.read_text(encoding="utf-8"))]
    if len(cells) != len(results):
        raise ValueError(
            f"{path.name} must have the code of its page; got {len(cells)} cells for {len(results)}."
        )
    for count, (cell, outputs) in enumerate(zip(cells, results, strict=True), 1):
        cell["execution_count"] = count
        cell["outputs"] = [
            dict(one, execution_count=count) if one["output_type"] == "execute_result" else one
            for one in outputs
        ]
    path.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")
    archive = page.with_suffix(".zip")
    if archive.exists():
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
            for file in (page.with_suffix(".py"), path):
                written.write(file, file.name)
    return path


def blocks_of(page: str) -> list[str]:
    """Return each code block of a page with what follows it, up to the next block."""
    parts = CODE.split(page)[1:]
    return [END.split(part)[0] for part in parts]


def outputs_of(block: str, source: Path) -> Iterator[dict[str, Any]]:
    """Yield what a block printed, drew and returned, as a notebook stores it."""
    for found in PRINTED.finditer(block):
        text = textwrap.dedent(found[1]).strip("\n") + "\n"
        yield {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}
    for found in IMAGE.finditer(block):
        picture = base64.b64encode((source / found[1]).read_bytes()).decode()
        data = {"image/png": picture, "text/plain": [found[2]]}
        yield {"output_type": "display_data", "data": data, "metadata": {}}
    for found in SHOWN.finditer(block):
        html = textwrap.dedent(found[1]).strip("\n")
        data = {"text/html": html.splitlines(keepends=True), "text/plain": ["shown as HTML"]}
        yield {"output_type": "execute_result", "data": data, "metadata": {}}
