"""The page of a 224 photo stays below 1 MB, whatever the network."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import edgefilter as ef
from edgefilter.report import write_report
from reports import drawn

MEGABYTE = 1_000_000


@pytest.mark.parametrize(("channels", "filters"), [(3, 9), (3, 49), (13, 9), (13, 49), (3, 256)])
def test_three_targets_and_a_contrast_stay_below_a_megabyte(tmp_path, channels, filters):
    """Of noise, which no compression makes smaller: photos and their maps take less."""
    colors = ("red", "green", "blue") if channels == 3 else tuple(f"B{place:02}" for place in range(channels))
    sizes = {"colors": colors, "filters": filters, "size": (224, 224), "stem": (112, 112)}
    found = [drawn((0, 1, 2), **sizes), drawn((0,), against=(1,), seed=1, **sizes)]
    path = write_report(tmp_path / "a.html", found)
    assert path.stat().st_size < MEGABYTE
    assert path.read_text(encoding="utf-8").count('<table class="pairs"') == 4  # no part is left out


def test_a_large_photo_is_shown_smaller(tmp_path, read):
    """And the page says so."""
    one = drawn((0,), size=(600, 400), stem=(300, 200), inputs=torch.rand(1, 3, 600, 400))
    page = read(one.to_html(tmp_path / "a.html"))
    assert len(page.text) < MEGABYTE
    assert "600 pixels, shown smaller" in page.words()


def test_a_comparison_of_all_methods_stays_below_a_megabyte(tmp_path):
    """Of noise, for one photo."""
    names = [f"method {place}" for place in range(10)]
    values = pd.DataFrame({"infidelity": [1.0] * 10, "infidelity_se": [0.1] * 10}, index=names)
    maps = {name: torch.randn(1, 3, 224, 224) for name in names}
    images = torch.rand(1, 3, 224, 224)
    found = ef.Comparison(values, pd.DataFrame(), maps, images, (0,), pd.DataFrame(), (), {})
    assert found.to_html(tmp_path / "a.html").stat().st_size < MEGABYTE
