"""The page in a browser: opened from a file, clicked, read back; with keys alone, on a phone, in the dark, in print and without JavaScript."""

from __future__ import annotations

import dataclasses
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import edgefilter as ef
from edgefilter.report import write_report
from edgefilter.report.sprites import reduced
from reports import HOSTILE, drawn

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

PHONE = {"width": 390, "height": 844}
SIZES = {"size": (48, 64), "stem": (24, 32)}


@pytest.fixture(scope="module")
def browser():
    """Return one browser for all tests."""
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        found = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield found
        found.close()


@pytest.fixture(scope="module")
def found():
    """Return three targets of a photo and a contrast."""
    return [drawn((0, 1, 2), **SIZES), drawn((0,), against=(1,), seed=1, **SIZES)]


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
    """Return their page; one class has a name that tries to run a script."""
    names = ["cat", "dog", HOSTILE]
    return write_report(tmp_path_factory.mktemp("report") / "a.html", found, class_names=names)


@pytest.fixture
def open_page(browser):
    """Return what opens a page, and make sure that it asked for nothing, and that no script complained."""
    opened, asked, said = [], [], []

    def show(path, **options):
        context = browser.new_context(**options)
        opened.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True) and page.locator("section.output .controls").count():
            page.wait_for_selector("section.output[data-state=ready]")
        return page

    yield show
    files = [address for address in asked if not address.startswith("data:")]
    assert files
    assert all(re.fullmatch(r"file://.*\.html(#.*)?", address) for address in files)
    assert said == []
    for context in opened:
        context.close()


def section(page):
    """Return the output that is shown."""
    return page.locator("section.output:visible")


def pixels(page):
    """Return what the canvas shows."""
    script = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    return section(page).locator("canvas").evaluate(script)


def status(page):
    """Return what is said to be shown."""
    return section(page).get_by_role("status").inner_text()


def point(page, row, column):
    """Hold the pointer over a place of the map, given in shares of its height and width."""
    canvas = section(page).locator("canvas")
    box = canvas.bounding_box()
    canvas.hover(position={"x": column * box["width"], "y": row * box["height"]})


def number(text):
    """Return the first number of a text with true minus signs."""
    return float(re.search(r"[+\u2212]?\d+\.?\d*", text)[0].replace("\u2212", "-"))


# --- clicks ---------------------------------------------------------------------------------------------------

PARTS = {
    "color 1": (lambda one: one.pixel_map("green"), "color green"),
    "filter 2": (lambda one: one.edge_map(one.filters[2]), "filter edge y"),
    "pair 2 1": (lambda one: one.response[:, 2, 1], "blue seen through edge x"),
    "group 1": (
        lambda one: sum(one.edge_map(name) for name in one.groups["order"]["edges"]),
        "filters edges",
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_click_shows_where_a_part_mattered(open_page, path, found, part):
    """The map changes to that of the part, whose score is said; a second click shows all again."""
    page, (relevance, name) = open_page(path), PARTS[part]
    whole = pixels(page)
    button = section(page).locator(f"button[data-part='{part}']")
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert section(page).locator("button[aria-pressed=true]").count() == 1
    assert pixels(page) != whole
    assert name in status(page)
    expected = float(relevance(found[0][0])[0].sum())
    assert number(status(page).partition("score")[2]) == pytest.approx(expected, rel=0.01)
    button.click()
    assert pixels(page) == whole
    assert "all colors and filters" in status(page)


def test_the_button_for_all_and_escape_show_all_again(open_page, path):
    """From any part."""
    page = open_page(path)
    whole = pixels(page)
    for again in (lambda: section(page).locator(".whole").click(), lambda: page.keyboard.press("Escape")):
        section(page).locator("button[data-part='color 0']").click()
        assert pixels(page) != whole
        again()
        assert pixels(page) == whole
        assert section(page).locator(".whole").get_attribute("aria-pressed") == "true"


def test_targets_and_contrasts_are_tabs(open_page, path):
    """With a mouse and with arrow keys; each has its own map and numbers, and the hidden ones are hidden."""
    page = open_page(path)
    tabs = page.get_by_role("tab")
    assert tabs.all_inner_texts() == ["cat", "dog", HOSTILE, "Why cat, not dog"]
    first = pixels(page)
    tabs.nth(3).click()
    page.wait_for_selector("section.output[data-state=ready]:visible")
    assert section(page).count() == 1
    assert section(page).locator("h2").inner_text() == "Why cat, not dog"
    assert "rather than dog" in section(page).locator(".legend").inner_text()
    assert pixels(page) != first
    page.keyboard.press("ArrowRight")
    assert section(page).locator("h2").inner_text() == "cat"
    assert tabs.nth(0).get_attribute("aria-selected") == "true"
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert section(page).locator("h2").inner_text() == HOSTILE


def test_keys_alone_reach_every_part(open_page, path):
    """Tab enters a table, arrows move in it, Enter and the space bar show; focus can be seen."""
    page = open_page(path)
    whole = pixels(page)
    section(page).locator("button[data-part='color 0']").focus()
    page.keyboard.press("ArrowDown")
    focused = page.evaluate("document.activeElement.dataset.part")
    assert focused == "color 1"
    page.keyboard.press("Enter")
    assert "green" in status(page)
    assert pixels(page) != whole
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    section(page).locator("table.pairs button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    color, filter_ = map(int, page.evaluate("document.activeElement.dataset.part").split()[1:])
    second = section(page).locator("table.pairs tbody tr").nth(1)
    assert (color, filter_) == (1, int(second.get_attribute("data-filter")))
    page.keyboard.press("Space")
    assert "green seen through" in status(page)
    stops = section(page).locator("table.pairs button[tabindex='0']").count()
    assert stops == 1


# --- values ---------------------------------------------------------------------------------------------------


def test_the_value_under_the_pointer_is_that_of_the_explanation(open_page, path, found):
    """To the precision that is said beside it, for the pixels and for a pair at the first layer."""
    page = open_page(path)
    one = found[0][0]
    readout = section(page).locator(".readout")
    point(page, 0.6, 0.3)
    shown = section(page).locator("canvas").evaluate("c => [c.height, c.width]")
    place = int(0.6 * shown[0]), int(0.3 * shown[1])
    expected = reduced(one.pixel[0].double().numpy(), shown)[:, place[0], place[1]]
    value, precision = (float(readout.get_attribute(f"data-{name}")) for name in ("value", "precision"))
    assert abs(value - expected.sum()) <= precision
    assert precision < np.abs(one.pixel[0].numpy()).max() / 20
    text = readout.inner_text()
    for name, part in zip(one.colors, expected, strict=True):
        assert abs(number(text.partition(f"{name} ")[2]) - part) <= precision
    section(page).locator("button[data-part='pair 1 0']").click()
    point(page, 0.6, 0.3)
    shown = section(page).locator("canvas").evaluate("c => [c.height, c.width]")
    expected = reduced(one.response[0, 1, :1].double().numpy(), shown)[
        0, int(0.6 * shown[0]), int(0.3 * shown[1])
    ]
    assert abs(float(readout.get_attribute("data-value")) - expected) <= float(
        readout.get_attribute("data-precision")
    )


def test_arrow_keys_read_the_map(open_page, path):
    """Place by place, said to a screen reader."""
    page = open_page(path)
    section(page).locator("canvas").focus()
    before = section(page).locator(".readout").inner_text()
    page.keyboard.press("ArrowRight")
    after = section(page).locator(".readout")
    assert after.inner_text() != before
    assert "column" in after.inner_text()
    assert after.get_attribute("aria-live") == "polite"


def test_the_sliders_change_the_picture(open_page, path):
    """Opacity fades the map, smoothing changes its colors and not its values."""
    page = open_page(path)
    canvas, opacity = section(page).locator("canvas"), section(page).locator(".opacity")
    assert canvas.evaluate("c => getComputedStyle(c).opacity") == "1"
    opacity.fill("30")
    assert canvas.evaluate("c => getComputedStyle(c).opacity") == "0.3"
    sharp, said = pixels(page), status(page)
    section(page).locator(".smooth").fill("8")
    assert pixels(page) != sharp
    assert status(page) == said
    assert "Smoothed by 8 pixels" in section(page).locator(".legend").inner_text()


# --- without JavaScript, on paper, on a phone -----------------------------------------------------------------


def test_without_javascript_all_can_be_read(open_page, path):
    """All targets, their maps as pictures, their numbers; and no control that does nothing."""
    page = open_page(path, java_script_enabled=False)
    assert section(page).count() == 4
    for place in range(4):
        one = section(page).nth(place)
        assert one.locator("img.still").is_visible()
        assert one.locator("table").count() == 5
    assert page.locator("button:visible, input:visible, select:visible, canvas").count() == 0
    assert "JavaScript is off" in page.locator("body").inner_text()


def test_in_print_all_outputs_are_there(open_page, path):
    """Whichever was chosen; controls are not, and paper is white."""
    page = open_page(path, color_scheme="dark")
    section(page).locator("button[data-part='color 1']").click()
    page.emulate_media(media="print", color_scheme="dark")
    assert section(page).count() == 4
    assert page.locator("nav:visible, input:visible, .whole:visible, .readout:visible").count() == 0
    assert (
        "color green" in page.get_by_role("status").first.inner_text()
    )  # what the map shows is said on paper as well
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 10_000


def test_the_dark_page_is_dark(open_page, path):
    """Where the system asks for it."""
    page = open_page(path, color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", dark))) < 64


def test_on_a_phone_nothing_sticks_out(open_page, path):
    """Tables scroll in boxes of their own, and the map stays in sight."""
    page = open_page(path, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    section(page).locator("table.pairs button").last.click()
    box = section(page).locator("canvas").bounding_box()
    assert 0 <= box["y"] < PHONE["height"] / 2


def test_on_a_phone_every_column_of_the_scores_is_in_sight(open_page, found, tmp_path):
    """The effect and what it says of the score, too: a column beyond the border looks as if there were none."""
    several = found[0]
    against = dataclasses.replace(several, filter_effects=-10 * several.edge.sign() - several.edge)
    path = write_report(tmp_path / "a.html", [against], class_names=["cat", "dog", "cow"])
    page = open_page(path, viewport=PHONE)
    assert "disagrees" in section(page).locator("table.scores").nth(1).inner_text()
    boxes = section(page).locator(".scroll:has(table.scores)")
    hidden = boxes.evaluate_all("all => all.map(box => box.scrollWidth - box.clientWidth)")
    assert hidden
    assert max(hidden) <= 1


# --- accessibility --------------------------------------------------------------------------------------------


def violations(page):
    """Return what axe finds wrong."""
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in axe.Axe().run(page).response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 900}, PHONE])
def test_axe_finds_nothing_wrong(open_page, path, scheme, viewport):
    """With a part chosen, in light and dark, wide and narrow."""
    page = open_page(path, color_scheme=scheme, viewport=viewport)
    section(page).locator("button[data-part='color 1']").click()
    assert violations(page) == []


def test_axe_can_find_something(open_page, tmp_path):
    """A picture without words, and gray on gray."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<html><title>a</title><main><img src='data:,'><p style='color:#999;background:#aaa'>gray</p></main></html>"
    )
    assert {"image-alt", "color-contrast"} <= {name for name, _ in violations(open_page(path))}


# --- several photos, profiles, comparisons ----------------------------------------------------------------------


def test_of_several_photos_one_is_chosen(open_page, tmp_path):
    """By its picture, with mouse or keys; a link opens the one that it names."""
    found = [drawn((0, 1), seen=seen, seed=seen, **SIZES) for seen in range(3)]
    path = write_report(tmp_path / "a.html", found, names=["a", "b", "c"])
    page = open_page(path, viewport=PHONE)
    assert section(page).count() == 1
    page.get_by_role("link", name="b").click()
    assert page.locator("section.photo:visible h2").first.inner_text() == "b"
    assert page.locator("section.photo:visible canvas").count() >= 1
    assert violations(page) == []
    page.goto(f"{path.as_uri()}#photo-2-output-1")
    page.reload()
    assert page.locator("section.photo:visible h2").first.inner_text() == "c"


def test_a_profile_shows_the_class_that_is_chosen(open_page, tmp_path):
    """By a link in the table of classes."""
    images = drawn((0,) * 6, **SIZES)
    profile = ef.ClassProfile(
        2, images.colors, images.filters, class_names=["cat", HOSTILE], pixel_size=SIZES["size"]
    )
    profile.update(images, torch.tensor([0, 1, 0, 1, 0, 1]))
    for scheme, viewport in (("light", {"width": 1280, "height": 900}), ("dark", PHONE)):
        page = open_page(profile.to_html(tmp_path / f"{scheme}.html"), color_scheme=scheme, viewport=viewport)
        assert section(page).locator("h2").inner_text().startswith("cat")
        page.get_by_role("link", name=HOSTILE).click()
        assert section(page).count() == 1
        assert section(page).locator("h2").inner_text().startswith(HOSTILE)
        assert violations(page) == []


def test_a_comparison_can_be_read_by_all(open_page, tmp_path):
    """In light and dark, wide and narrow."""
    values = pd.DataFrame(
        {"infidelity": [1.0, 2.0], "infidelity_se": [0.1, 0.2]}, index=["edgefilter", HOSTILE]
    )
    maps = dict.fromkeys(values.index, torch.randn(2, 3, 8, 8))
    found = ef.Comparison(
        values, pd.DataFrame(), maps, torch.rand(2, 3, 8, 8), (0, 1), pd.DataFrame(), (), {"seed": 0}
    )
    path = found.to_html(tmp_path / "a.html")
    for scheme, viewport in (("light", {"width": 1280, "height": 900}), ("dark", PHONE)):
        page = open_page(path, color_scheme=scheme, viewport=viewport)
        assert page.locator("img:visible").count() == 6
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert violations(page) == []


def test_an_unknown_score_is_called_so(open_page, tmp_path):
    """And not 0."""
    explanation = drawn(**SIZES)
    explanation = dataclasses.replace(explanation, response=explanation.response * np.nan)
    page = open_page(explanation.to_html(tmp_path / "a.html"))
    section(page).get_by_role("button", name="red", exact=True).click()
    assert section(page).get_by_text("Shown: color red, score unknown").count() == 1
    page.keyboard.press("Escape")
