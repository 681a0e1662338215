"""The tutorials run as plain scripts, and their notebooks hold what they print and draw."""

import base64
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("plot_*.py"))

TUTORIAL = '''"""
A tutorial
==========

Words.
"""

from edgefilter.plots.figures import new_figure

print("five")
print("  six")

# %%
# More words, with code of their own:
#
# .. code-block:: python
#
#     never("run")


class Shown:
    def _repr_html_(self):
        return "<p>\\n  seven</p>"


Shown()

# %%
# A picture.

figure = new_figure(2, 1)
figure.suptitle("eight")
figure

# %%
# Nothing to see.

kept = 9
'''

CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["sphinx_gallery.gen_gallery", "notebooks"]
html_theme = "basic"
sphinx_gallery_conf = {{
    "examples_dirs": "../scripts", "gallery_dirs": "tutorials", "filename_pattern": "plot_",
    "image_scrapers": ("gallery.scrape",), "ignore_repr_types": r"figures\\.Drawing", "abort_on_example_error": True,
}}
"""


@pytest.mark.tutorial
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_as_a_script_without_a_warning(path, tmp_path):
    found = subprocess.run(
        [sys.executable, "-W", "error", path], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout
    assert not list(tmp_path.iterdir())  # it leaves nothing where it was started


@pytest.fixture(scope="module")
def extensions():
    sys.path.insert(0, str(ROOT / "docs/_ext"))
    yield
    sys.path.remove(str(ROOT / "docs/_ext"))


def test_every_tutorial_has_a_place(extensions):
    import gallery

    assert set(gallery.ORDER) == {path.name for path in TUTORIALS}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A small site of one tutorial, built with the extensions of ours."""
    root = tmp_path_factory.mktemp("site")
    for folder in ("scripts", "docs"):
        (root / folder).mkdir()
    (root / "scripts/GALLERY_HEADER.rst").write_text("Tutorials\n=========\n")
    (root / "scripts/plot_one.py").write_text(TUTORIAL)
    (root / "docs/conf.py").write_text(CONF.format(extensions=str(ROOT / "docs/_ext")))
    (root / "docs/index.rst").write_text("Start\n=====\n\n.. toctree::\n\n   tutorials/index\n")
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", root / "docs", root / "html"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return root / "html"


def test_the_notebook_that_a_page_offers_holds_what_it_printed_and_drew(built):
    (path,) = built.glob("_downloads/*/plot_one.ipynb")
    notebook = json.loads(path.read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3, 4]
    (printed,), (shown,), (drawn,), nothing = (cell["outputs"] for cell in cells)
    assert "".join(printed["text"]) == "five\n  six\n"
    assert "".join(shown["data"]["text/html"]).replace("\n", "").replace(" ", "") == "<p>seven</p>"
    with Image.open(io.BytesIO(base64.b64decode(drawn["data"]["image/png"]))) as picture:
        assert picture.width > 50  # as wide as the words in it
    assert drawn["data"]["text/plain"] == ["eight"]
    assert nothing == []


def test_the_notebook_is_a_valid_one(built):
    nbformat = pytest.importorskip("nbformat")
    (path,) = built.glob("_downloads/*/plot_one.ipynb")
    nbformat.validate(nbformat.read(path, as_version=4))


def test_the_archive_holds_the_same_notebook(built):
    (path,) = built.glob("_downloads/*/plot_one.zip")
    (plain,) = built.glob("_downloads/*/plot_one.ipynb")
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("plot_one.ipynb")) == json.loads(plain.read_text())


def test_a_notebook_of_other_code_than_its_page_is_refused(extensions, tmp_path):
    import notebooks

    cell = {"cell_type": "code", "source": ["1"], "outputs": []}
    (tmp_path / "plot_x.ipynb").write_text(json.dumps({"cells": [cell, cell]}))
    (tmp_path / "plot_x.rst").write_text(".. code-block:: Python\n\n    1\n")
    with pytest.raises(ValueError, match=r"plot_x\.ipynb must have the code of its page; got 2 cells for 1"):
        notebooks.filled(tmp_path / "plot_x.rst", tmp_path)
