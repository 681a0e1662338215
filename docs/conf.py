"""How the pages are built: `tox -e docs`."""

from __future__ import annotations

import sys
from pathlib import Path

import edgefilter

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "edgefilter"
author = "The edgefilter developers"
copyright = author
version = release = edgefilter.__version__

extensions = [
    "myst_parser",
    "notebooks",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "checked",
    "drawings",
    "kernel_pages",
    "live",
    "mathml",
    "pictures",
    "readable",
    "terminal",
]
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|torchmetrics|captum|zennit|matplotlib|numpy)\..*"),  # their pages lie elsewhere
    (
        r"py:class",
        r"edgefilter\.(attribution\.(views\.ScoreViews|spatial\.SpatialViews)|profiles\.views\.ProfileViews)",
    ),  # what Explanation and ClassProfile are made of; their members stand there
    (
        r"py:class",
        r"edgefilter\.methods\.masking\.MaskedAttribution",
    ),  # the black-box methods' base: it tells Captum what they are
    (r"py:class", r"edgefilter\..*\._\w+"),  # private bases
    (r"py:func", r"load_classifier|profile_folder"),  # in a summary, which does not know its module
]
exclude_patterns = ["_build", "generated/extra", "generated/kernels*.md", "tutorials/GALLERY_HEADER.rst"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_dmath_allow_digits = False  # "$5 or $10" is no formula
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
add_module_names = False
numpydoc_show_class_members = False

html_theme = "furo"
html_title = "edgefilter"
html_static_path = ["_static"]
html_extra_path = ["generated/extra"]  # reports, written before the pages are read
(HERE / "generated" / "extra").mkdir(parents=True, exist_ok=True)
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_copy_empty_lines = False
viewcode_line_numbers = True
html_theme_options = {"navigation_with_keys": True}

sphinx_gallery_conf = {
    "examples_dirs": "../tutorials",
    "gallery_dirs": "tutorials",
    "filename_pattern": r"plot_",
    "within_subsection_order": "gallery.TutorialOrder",
    "image_scrapers": ("gallery.scrape",),
    "reset_modules": ("matplotlib", "gallery.both_grounds"),
    "ignore_repr_types": r"figures\.Drawing",  # the scraper shows drawings
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "show_signature": False,
}
