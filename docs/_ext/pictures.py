"""Draw the pictures of the how-tos with the library itself while the pages are read, for a light and a dark ground.

In a page::

    ```{picture} photo
    :alt: What the picture shows, for those who cannot see it.

    A caption.
    ```

``photo`` is a function of ``picture_list``: it returns a figure, and is called twice, under two styles of matplotlib.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from PIL import Image

import edgefilter

PICTURES: dict[str, Callable[[], Any]] = {}
DOTS = 144  # per inch: sharp on screens of double density at the width of a page
QUALITY = {"quality": 88}  # of WebP: a fifth of the bytes of PNG, and no difference to see


def style(ink: str, ground: str, quiet: str) -> dict[str, Any]:
    """Return what matplotlib draws with; the ground is left transparent when the picture is saved."""
    names = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
    lines = ("axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    grounds = ("figure.facecolor", "axes.facecolor", "legend.facecolor", "savefig.facecolor")
    return dict.fromkeys(names, ink) | dict.fromkeys(lines, quiet) | dict.fromkeys(grounds, ground)


STYLES = {  # the inks and grounds of the theme
    "light": style("#1c1e21", "#ffffff", "#8a8f98"),
    "dark": style("#e3e5e8", "#131416", "#7d828b"),
}


def picture(function: Callable[[], Any]) -> Callable[[], Any]:
    """Register a picture under its function's name."""
    return PICTURES.setdefault(function.__name__, function)


@cache
def newest() -> float:
    """Return when the sources of the library and of these pages were changed last."""
    here = Path(__file__).parent
    sources = [
        *here.glob("*.py"),
        *(here.parent / "_static").iterdir(),
        *Path(edgefilter.__file__).parent.rglob("*.*"),
    ]
    return max(source.stat().st_mtime for source in sources if "__pycache__" not in source.parts)


def draw(name: str, folder: Path) -> dict[str, str]:
    """Write a picture for each ground, unless it is newer than all sources, and return the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {ground: f"{name}-{ground}.webp" for ground in STYLES}
    for ground, file in files.items():
        path = folder / file
        if not path.exists() or path.stat().st_mtime < newest():
            draw_one(name, path, STYLES[ground])
    return files


def draw_one(name: str, path: Path, settings: dict[str, Any]) -> None:
    """Write a picture in one style; a warning of the library fails the build."""
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "color scores should come from|relevance should stay of the size")
        figure = PICTURES[name]()
        figure.savefig(
            path, dpi=DOTS, transparent=True, bbox_inches="tight", pad_inches=0.04, pil_kwargs=QUALITY
        )


class Picture(Directive):
    """The directive ``picture``."""

    required_arguments, has_content = 1, True
    option_spec = {"alt": directives.unchanged_required, "class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        """Return the pair of images, of which the theme shows one, and the caption."""
        name, environment = self.arguments[0], self.state.document.settings.env
        if name not in PICTURES:
            raise self.error(f"picture must be one of {sorted(PICTURES)}; got {name!r}.")
        if not self.options.get("alt"):
            raise self.error(f"picture {name!r} must have a text for those who cannot see it. Add :alt:.")
        folder = Path(environment.srcdir) / "generated" / "pictures"
        files = draw(name, folder)
        box = nodes.container(classes=["picture", *self.options.get("class", [])])
        for ground, file in files.items():
            image = nodes.image(uri=f"/generated/pictures/{file}", alt=self.options["alt"])
            image["classes"].append(f"only-{ground}")
            if "narrow" in box["classes"]:
                image["width"] = f"{96 * Image.open(folder / file).width / DOTS:.0f}px"
            box += image
        caption = nodes.container(classes=["picture-caption"])
        self.state.nested_parse(self.content, self.content_offset, caption)
        for source in ("pictures.py", "picture_list.py"):
            environment.note_dependency(str(Path(__file__).with_name(source)))
        return [box, caption]


def setup(app: Any) -> dict[str, bool]:
    """Add the directive, and load the pictures."""
    import picture_list  # noqa: F401  # registers them
    import trust  # noqa: F401

    app.add_directive("picture", Picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
