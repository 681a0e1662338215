"""Show what objects show elsewhere: their view in a notebook, and a report in a frame.

In a page::

    ```{notebook} bank
    ef.get_bank("sobel")
    ```

    ```{report} coffee
    A caption.
    ```
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import demo
import matplotlib as mpl
from docutils import nodes
from docutils.parsers.rst import Directive
from pictures import STYLES

import edgefilter as ef
from edgefilter.classifiers import Classifier, load_classifier

BOX = 'tabindex="0" role="group" aria-label="Output"'
EXTRA = Path("generated") / "extra"  # html_extra_path: copied beside the pages


def digits() -> Classifier:
    """Return the shipped network of the digits."""
    return load_classifier("digits")


def seven() -> Any:
    """Return the drawn seven as its input."""
    return digits().preprocess(demo.seven())


VIEWS: dict[str, Callable[[], Any]] = {
    "bank": lambda: ef.get_bank("sobel"),
    "classifier": digits,
    "explanation": lambda: ef.EdgeFilterAttribution(digits().model).explain(seven(), target=7),
    "report": lambda: ef.check(digits().model, seven()),
}


def views(name: str) -> dict[str, str]:
    """Return the view of an object by the class of its box: one for each ground, if its figure needs two."""
    shown, found = VIEWS[name](), {}
    for ground, style in STYLES.items():
        with mpl.rc_context(style):
            found[f"only-{ground}"] = shown._repr_html_()
    return found if len(set(found.values())) > 1 else {"": found["only-light"]}


class Notebook(Directive):
    """The directive ``notebook``: a cell of code, and the view of an object below it."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """Return the code and the view."""
        name, code = self.arguments[0], "\n".join(self.content)
        if name not in VIEWS:
            raise self.error(f"notebook must be one of {sorted(VIEWS)}; got {name!r}.")
        view = "".join(
            f'<div class="notebook-output {kind}" {BOX}>{html}</div>' for kind, html in views(name).items()
        )
        return [
            nodes.literal_block(code, code, language="python", classes=["notebook-input"]),
            nodes.raw("", view, format="html"),
        ]


class Report(Directive):
    """The directive ``report``: a report in a frame, a link to it, and a caption."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """Return the frame."""
        up = "../" * self.state.document.settings.env.docname.count("/")
        address = f"{up}{self.arguments[0]}_report.html"
        frame = (
            f'<iframe class="report" src="{address}" title="A report" loading="lazy"></iframe>'
            f'<p class="report-link"><a href="{address}">Open the report on a page of its own</a></p>'
        )
        caption = nodes.container(classes=["picture-caption"])
        self.state.nested_parse(self.content, self.content_offset, caption)
        return [nodes.raw("", frame, format="html"), caption]


def write(app: Any) -> None:
    """Write the reports that the pages show."""
    from edgefilter.report import write_report

    folder = Path(app.srcdir) / EXTRA
    folder.mkdir(parents=True, exist_ok=True)
    found = [demo.explanation(), demo.explanation(demo.MUG), demo.explanation(demo.ESPRESSO, demo.MUG)]
    write_report(
        folder / "coffee_report.html", found, demo.picture(), class_names=demo.names(), overwrite=True
    )


def setup(app: Any) -> dict[str, bool]:
    """Add the directives, and write the reports before the pages are read."""
    app.add_directive("notebook", Notebook)
    app.add_directive("report", Report)
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
