"""Figures show what the explanation holds, signed and on stated scales, and leave matplotlib as it was."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib._pylab_helpers import Gcf
from matplotlib.colors import to_hex
from PIL import Image

import edgefilter as ef
from edgefilter.attribution.scores import color_names
from edgefilter.plots.explanation import plot_explanation
from edgefilter.plots.kernels import plot_kernels
from edgefilter.plots.style import OWN, SIGNED


def explanation(colors=3, filters=9, size=(24, 24), *, scale=1.0, pixel=True, images=1, bank=None):
    generator = torch.Generator().manual_seed(0)
    names = tuple(bank.names) if bank else tuple(f"kernel_{i}" for i in range(filters))
    height, width = size
    response = scale * torch.randn(images, colors, len(names), height // 2, width // 2, generator=generator)
    pixels = scale * torch.randn(images, colors, height, width, generator=generator) if pixel else None
    output = response.sum((1, 2, 3, 4))
    labels = tuple(bank.labels) if bank else ()
    return ef.Explanation(response, pixels, output, (3,) * images, color_names(colors), names, labels)


def titled(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def drawn(figure):
    """Render the figure, so that errors of the layout show, and return its pixels."""
    figure.set_dpi(40)
    figure.canvas.draw()
    figure.savefig("/dev/null", format="png", dpi=40)
    return figure


def bars(axes):
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(labels, [bar.get_width() for bar in axes.patches], strict=True))


def test_bars_are_the_scores():
    """Filters are sorted, colors keep their order and wear their own color."""
    e = explanation(bank=ef.complete_bank(3))
    figure = drawn(plot_explanation(e))
    filters = bars(titled(figure, "Relevance by edge filter"))
    expected = sorted(zip(e.filter_labels, e.edge[0].tolist(), strict=True), key=lambda pair: -pair[1])
    assert list(filters) == [label.replace("_", " ") for label, _ in expected]
    np.testing.assert_allclose(list(filters.values()), [value for _, value in expected], rtol=1e-6)
    axes = titled(figure, "Relevance by color")
    assert bars(axes) == pytest.approx(dict(zip(e.colors, e.color[0].tolist(), strict=True)))
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [OWN[c] for c in ("red", "green", "blue")]


def test_many_filters_are_the_largest_and_others():
    """The bars still add up to the total."""
    e = explanation(filters=49)
    values = bars(titled(drawn(plot_explanation(e)), "Relevance by edge filter"))
    assert len(values) == 13
    assert list(values)[-1] == "37 others"
    assert sum(values.values()) == pytest.approx(float(e.total[0]), rel=1e-4)


def test_pixel_map_is_signed_and_symmetric():
    e = explanation()
    (shown,) = titled(plot_explanation(e), "Relevance by pixel").images
    np.testing.assert_allclose(shown.get_array(), e.pixel[0].sum(0), rtol=1e-6)
    assert shown.norm.vmin == -shown.norm.vmax
    assert to_hex(shown.cmap(shown.norm(0.0))) == "#ffffff"
    assert to_hex(shown.cmap(shown.norm(shown.norm.vmax))) == SIGNED[-1]


def test_color_bar_says_where_the_colors_end():
    """Without outliers they end at the largest value; with one, at a percentile that is written there."""
    e = explanation()
    e.pixel.clamp_(-0.5, 0.5)
    plain = titled(plot_explanation(e), "Relevance by pixel")
    assert plain.images[0].norm.vmax == pytest.approx(float(e.pixel.sum(1).abs().max()), rel=1e-6)
    assert "percentile" not in plain.child_axes[0].get_ylabel()
    e.pixel[0, 0, 0, 0] = 1000
    clipped = titled(plot_explanation(e), "Relevance by pixel")
    assert clipped.images[0].norm.vmax < 100
    assert "99.5th percentile" in clipped.child_axes[0].get_ylabel()


def test_maps_are_of_the_top_filters_on_one_scale():
    e = explanation(bank=ef.complete_bank(3))
    figure = drawn(plot_explanation(e, top=4))
    labels = dict(zip(e.filters, e.filter_labels, strict=True))
    titles = {axes.get_title(loc="left") for axes in figure.axes}
    assert {labels[name].replace("_", " ") for name, _ in e.top(4)[0]} <= titles
    bars_of_color = [axes for axes in figure.axes for axes in axes.child_axes]
    assert len(bars_of_color) == 2  # of the pixels, and one for all maps


def test_zero_keeps_the_gray_of_the_picture():
    """The color of a map is multiplied with the lightened gray picture: white where there is no relevance."""
    e = explanation(1, 1)
    e.response[...] = 0
    e.response[..., 0, 0] = 2.0
    shown = titled(plot_explanation(e, np.full((24, 24), 0.5)), "kernel 0").images[0].get_array()
    np.testing.assert_allclose(shown[10, 10], [0.75] * 3)
    np.testing.assert_allclose(shown[0, 0], 0.75 * np.array(mpl.colors.to_rgb(SIGNED[-1])))


@pytest.mark.parametrize("colors", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(24, 24), (16, 60), (60, 16)])
def test_every_number_of_colors_and_shape_is_drawn(colors, size):
    picture = np.random.default_rng(0).random((*size, colors))
    figure = drawn(plot_explanation(explanation(colors, 5, size), picture))
    assert list(bars(titled(figure, "Relevance by color"))) == [
        name.replace("_", " ") for name in color_names(colors)
    ]


@pytest.mark.parametrize("filters", [1, 2, 16, 17, 256])
def test_every_number_of_filters_is_drawn(filters):
    size = {1: 1, 16: 4, 256: 16}.get(filters)
    bank = ef.complete_bank(size) if size else None
    drawn(plot_explanation(explanation(filters=filters, bank=bank), bank=bank))


@pytest.mark.parametrize("pixel", [True, False])
@pytest.mark.parametrize("picture", [True, False])
def test_panels_without_data_are_left_out(pixel, picture):
    figure = drawn(plot_explanation(explanation(pixel=pixel), np.zeros((24, 24)) if picture else None))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert ("Relevance by pixel" in titles) is pixel
    assert ("Input" in titles) is picture


def test_no_relevance_is_said():
    figure = drawn(plot_explanation(explanation(scale=0.0), np.zeros((24, 24))))
    notes = [text for axes in figure.axes for text in axes.texts if text.get_text() == "no relevance"]
    assert len(notes) == 6


def test_of_a_batch_the_first_is_drawn():
    e = explanation(images=3)
    both = [bars(titled(plot_explanation(x), "Relevance by color")) for x in (e, e[0])]
    assert both[0] == both[1]


def test_pictures_of_all_kinds_look_the_same():
    """Arrays and images of bytes, floats from 0 to 1, and tensors with channels first."""
    values = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    floats = values / 255
    tensor = torch.from_numpy(floats).permute(2, 0, 1)
    kinds = (values, floats, Image.fromarray(values), tensor, tensor[None])
    e = explanation()
    shown = [np.asarray(titled(plot_explanation(e, kind), "Input").images[0].get_array()) for kind in kinds]
    for other in shown:
        np.testing.assert_allclose(other, floats)


def test_kernels_are_drawn_beside_their_names():
    from matplotlib.offsetbox import AnnotationBbox

    bank = ef.complete_bank(3)
    axes = titled(plot_explanation(explanation(bank=bank), bank=bank), "Relevance by edge filter")
    icons = [artist.offsetbox.get_data() for artist in axes.artists if isinstance(artist, AnnotationBbox)]
    order = np.argsort(-explanation(bank=bank).edge[0].numpy(), kind="stable")
    np.testing.assert_array_equal(icons, bank.weight[order])


def test_explanation_plot_passes_its_arguments_on():
    bank = ef.complete_bank(3)
    figure = explanation(bank=bank).plot(np.zeros((24, 24)), top=1, title="A title", bank=bank)
    assert figure.get_suptitle() == "A title"


def test_matplotlib_is_left_as_it_was():
    before = dict(mpl.rcParams)
    drawn(plot_explanation(explanation()))
    drawn(plot_kernels(["sobel_x", "sobel_y"]))
    assert dict(mpl.rcParams) == before
    assert Gcf.get_all_fig_managers() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top must be an integer >= 1; got 0"),
        ({"bank": ef.get_bank("sobel")}, "bank must hold the explanation's 9 filters; got FilterBank"),
        ({"image": np.zeros((2, 24, 24, 3))}, r"image must have shape .*; got \(2, 24, 24, 3\)"),
        ({"image": np.zeros((0, 4))}, r"image must have shape .*; got \(0, 4\)"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plot_explanation(explanation(), **options)


def test_kernels_are_drawn_with_their_numbers():
    axes = drawn(plot_kernels(ef.get_bank("sobel"))).axes
    assert [a.get_title() for a in axes] == ["sobel x", "sobel y"]
    assert [t.get_text() for t in axes[0].texts] == ["-1", "0", "1", "-2", "0", "2", "-1", "0", "1"]


def test_kernels_with_the_same_words_show_their_names():
    axes = plot_kernels(["gram3_dx1_dy0", "gram5_dx1_dy0"]).axes
    assert [a.get_title() for a in axes] == ["gram3 dx1 dy0", "gram5 dx1 dy0"]


def test_no_kernels_is_refused():
    with pytest.raises(ValueError, match="kernels must not be empty"):
        plot_kernels([])
