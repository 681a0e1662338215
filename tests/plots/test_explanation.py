"""Figures show what the explanation holds, signed and on stated scales, and leave matplotlib as it was."""

import dataclasses
import itertools

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib._pylab_helpers import Gcf
from matplotlib.colors import to_hex
from PIL import Image

import edgefilter as ef
from drawings import bars, explanation, faults, measured, titled, titles
from edgefilter.attribution.scores import color_names
from edgefilter.plots.explanation import plot_explanation, title_of
from edgefilter.plots.style import OWN, SIGNED


def drawn(figure):
    """Render the figure, so that errors of the layout show, and find nothing wrong with it."""
    assert faults(figure) == []
    return figure


def hatched(axes):
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return [label for label, bar in zip(labels, axes.containers[0], strict=True) if bar.get_hatch()]


def effects(axes):
    """Return the ends of the narrow bars, with their rows."""
    found = [part for part in axes.containers[1:] if hasattr(part, "patches")]
    return [(bar.get_width(), round(bar.get_y() + bar.get_height() / 2)) for part in found for bar in part]


def written(axes):
    return [text.get_text() for text in axes.texts]


def test_bars_are_the_scores():
    """Filters are sorted by size, colors keep their order and wear their own color."""
    e = explanation(bank=ef.complete_bank(3))
    figure = drawn(plot_explanation(e))
    filters = bars(titled(figure, "Relevance by edge filter"))
    expected = sorted(zip(e.filter_labels, e.edge[0].tolist(), strict=True), key=lambda pair: -abs(pair[1]))
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
    (shown,) = titled(plot_explanation(e, smooth=0), "Relevance by pixel").images
    np.testing.assert_allclose(shown.get_array(), e.pixel[0].sum(0), rtol=1e-6)
    assert shown.norm.vmin == -shown.norm.vmax
    assert to_hex(shown.cmap(shown.norm(0.0))) == "#ffffff"
    assert to_hex(shown.cmap(shown.norm(shown.norm.vmax))) == SIGNED[-1]


def test_color_bar_says_where_the_colors_end():
    """Without outliers they end at the largest value; with one, at a percentile that is written there."""
    e = explanation()
    e.pixel.clamp_(-0.5, 0.5)
    plain = titled(plot_explanation(e, smooth=0), "Relevance by pixel")
    assert plain.images[0].norm.vmax == pytest.approx(float(e.pixel.sum(1).abs().max()), rel=1e-6)
    assert "percentile" not in plain.child_axes[0].get_xlabel().replace("\n", " ")
    e.pixel[0, 0, 0, 0] = 1000
    clipped = titled(plot_explanation(e, smooth=0), "Relevance by pixel")
    assert clipped.images[0].norm.vmax < 100
    assert "99.5th percentile" in clipped.child_axes[0].get_xlabel().replace("\n", " ")


def test_maps_are_of_the_top_filters_each_on_its_own_scale():
    """The scale stands below each; a filter with a hundredth of the relevance is as visible as the first."""
    bank = ef.complete_bank(3)
    e = explanation(bank=bank)
    e.response[:, :, 4] *= 100
    figure = drawn(plot_explanation(e, top=4))
    labels = dict(zip(e.filters, e.filter_labels, strict=True))
    largest = sorted(zip(e.edge[0].abs().tolist(), e.filters, strict=True))[-4:]
    assert {labels[name].replace("_", " ") for _, name in largest} <= set(titles(figure))
    for _, name in largest:
        axes = titled(figure, labels[name].replace("_", " "))
        shown = axes.images[0]
        assert np.abs(shown.get_array()).max() >= 0.75 * shown.norm.vmax
        (scale,) = axes.child_axes
        low, zero, high = (label.get_text() for label in scale.get_xticklabels())
        assert zero == "0"
        assert float(high.split("+")[1]) == pytest.approx(shown.norm.vmax, rel=0.01, abs=0.005)
        assert low.startswith("\N{MINUS SIGN}")


def test_zero_keeps_the_gray_of_the_picture():
    """The color of a map is multiplied with the lightened gray picture: white where there is no relevance."""
    e = explanation(1, 1)
    e.response[...] = 0
    e.response[..., 0, 0] = 2.0
    shown = titled(plot_explanation(e, np.full((24, 24), 0.5), smooth=0), "kernel 0").images[0].get_array()
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


def test_kernels_stand_between_names_and_bars():
    from matplotlib.offsetbox import AnnotationBbox

    bank = ef.complete_bank(3)
    axes = titled(plot_explanation(explanation(bank=bank), bank=bank), "Relevance by edge filter")
    icons = [artist.offsetbox.get_data() for artist in axes.artists if isinstance(artist, AnnotationBbox)]
    order = np.argsort(-np.abs(explanation(bank=bank).edge[0].numpy()), kind="stable")
    np.testing.assert_array_equal(icons, bank.weight[order])


def test_explanation_plot_passes_its_arguments_on():
    bank = ef.complete_bank(3)
    figure = explanation(bank=bank).plot(np.zeros((24, 24)), top=1, title="A title", bank=bank)
    assert figure.get_suptitle() == "A title"


# --- what is known against the scores -------------------------------------------------------------------------


def test_each_score_has_its_effect_beside_it():
    """As a narrow bar with its number; those that contradict the score are hatched, with a mark and a line that says what it means."""
    figure = drawn(plot_explanation(measured()))
    color, edge = (titled(figure, f"Relevance by {what}") for what in ("color", "edge filter"))
    assert bars(color) == {"red": 4.0, "green": -2.0}
    assert effects(color) == [(3.0, 0), (1.0, 1)]
    assert effects(edge) == [(pytest.approx(0.1), 0), (-2.0, 1)]
    assert written(color) == ["+4.00", "\N{MINUS SIGN}2.00 !", "+3.00", "+1.00"]
    assert (hatched(color), hatched(edge)) == (["green"], ["sobel x"])
    for axes in (color, edge):
        words = axes.get_xlabel().replace("\n", " ")
        assert "effect, what the output loses" in words
        assert "a score not to believe" in words


def test_without_a_contradiction_nothing_is_marked():
    """Where effects were not measured there are none."""
    nothing = torch.full((1, 2), torch.nan)
    for known, many in ((torch.tensor([[4.0, -2.0]]), 2), (None, 0), (nothing, 0)):
        figure = drawn(plot_explanation(measured(effects=known, filter_effects=known)))
        for what in ("color", "edge filter"):
            axes = titled(figure, f"Relevance by {what}")
            assert hatched(axes) == []
            assert len(effects(axes)) == many
            assert "not to believe" not in axes.get_xlabel()
            assert not any("!" in text for text in written(axes))


def test_an_effect_that_was_measured_for_some_alone_is_drawn_for_these():
    e = measured(effects=None, filter_effects=torch.tensor([[torch.nan, -2.0]]))
    assert effects(titled(drawn(plot_explanation(e)), "Relevance by edge filter")) == [(-2.0, 1)]


def test_an_effect_far_beyond_the_bars_ends_in_an_arrow():
    """With its true number: the bars stay readable, as the axis grows by half their width on either side."""
    e = measured(effects=torch.tensor([[-400.0, 200.0]]), filter_effects=None)
    axes = titled(drawn(plot_explanation(e)), "Relevance by color")
    assert effects(axes) == [(-5.0, 0), (7.0, 1)]
    arrows = [
        (line.get_xdata()[0], line.get_marker()) for line in axes.lines if line.get_marker() in ("<", ">")
    ]
    assert arrows == [(-5.0, "<"), (7.0, ">")]
    assert written(axes)[2:] == ["\N{MINUS SIGN}400", "+200"]
    low, high = axes.get_xlim()
    assert -6 < low < -5 < 7 < high < 15


def test_whiskers_are_the_errors():
    """None where a score is exact."""
    whiskers = []
    for errors in (torch.tensor([[0.5, 0.0]]), torch.zeros(1, 2)):
        e = measured(errors=errors, effects=None, filter_effects=None)
        axes = titled(drawn(plot_explanation(e)), "Relevance by color")
        whiskers.append([part.get_segments() for part in axes.collections if hasattr(part, "get_segments")])
    ((found,), nothing) = whiskers
    np.testing.assert_allclose(found, [[[3.5, 0], [4.5, 0]]])
    assert nothing == []


@pytest.mark.parametrize("size", [4, 7])
def test_groups_by_order_lead_the_filters_of_a_large_bank(size):
    """Their bars are the sums of the filters of each order, and stand above those of the largest filters."""
    bank = ef.complete_bank(size)
    groups = {"order": bank.groups("order")}
    e = dataclasses.replace(explanation(bank=bank), groups=groups)
    figure = drawn(plot_explanation(e, np.zeros((24, 24)), bank=bank))
    lead, filters = (
        titled(figure, "Relevance by order of the filters"),
        titled(figure, "Relevance by edge filter"),
    )
    orders, edge = np.minimum(bank.orders, 3), e.edge[0].double().numpy()
    words = ("brightness", "edges", "lines and corners", "texture")
    sums = {f"{word} ({(orders == i).sum()})": edge[orders == i].sum() for i, word in enumerate(words)}
    assert bars(lead) == pytest.approx(sums, rel=1e-4, abs=1e-4)
    assert list(bars(lead)) == sorted(sums, key=lambda name: -abs(sums[name]))
    assert list(bars(filters))[-1] == f"{size**2 - 8} others"
    assert sum(bars(filters).values()) == pytest.approx(float(e.total[0]), rel=1e-4)
    assert lead.get_position().y0 > filters.get_position().y1


def test_few_filters_speak_for_themselves():
    bank = ef.complete_bank(3)
    e = dataclasses.replace(explanation(bank=bank), groups={"order": bank.groups("order")})
    assert "Relevance by order of the filters" not in [
        a.get_title(loc="left") for a in plot_explanation(e).axes
    ]


def test_kernels_do_not_overlap_beside_a_wide_image():
    """Nor do the names of many colors: the figure is as tall as its bars need."""
    bank = ef.complete_bank(7)
    e = dataclasses.replace(explanation(12, bank=bank, size=(16, 60)), groups={"order": bank.groups("order")})
    figure = drawn(plot_explanation(e, np.zeros((16, 60)), bank=bank))
    scale = figure.dpi / 72
    filters = titled(figure, "Relevance by edge filter")
    rows = filters.transData.transform([(0, 0), (0, 1)])[:, 1]
    assert abs(rows[0] - rows[1]) > 16 * scale
    names = [label.get_window_extent() for label in titled(figure, "Relevance by color").get_yticklabels()]
    assert all(upper.y0 >= lower.y0 + 9 * scale for upper, lower in itertools.pairwise(names))


def test_a_negative_output_shows_what_is_largest_in_size():
    e = explanation(bank=ef.complete_bank(3))
    turned = dataclasses.replace(e, response=-e.response, output=-e.output)
    titles = [[a.get_title(loc="left") for a in plot_explanation(x).axes] for x in (e, turned)]
    assert titles[0] == titles[1]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "output 3: 2.00, "),
        ({"against": ("rest",)}, "output 3 minus the mean of the others: 2.00, "),
        ({"against": ("odds",)}, "output 3 against chance: 2.00, "),
        ({"against": (1,), "left_out": "softmax"}, "output 3 minus output 1: 2.00, before the final softmax, "),
        ({"left_out": "sigmoid"}, "output 3: 2.00, before the final sigmoid, "),
    ],
)  # fmt: skip
def test_the_title_names_what_is_compared_and_left_out(fields, words):
    assert plot_explanation(measured(**fields)).get_suptitle() == f"{words}100.0 % conserved"


@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 1), (1, 24, 24)])
def test_images_of_one_channel_are_drawn_in_gray(shape):
    """As arrays with the channel last or none, as a tensor with it first."""
    values = np.random.default_rng(0).random((24, 24))
    picture = torch.from_numpy(values.reshape(shape)) if shape[0] == 1 else values.reshape(shape)
    shown = titled(drawn(plot_explanation(explanation(1, 5), picture)), "Input").images[0]
    np.testing.assert_allclose(shown.get_array(), values)
    assert shown.cmap.name == "gray"


def test_arrays_may_have_their_channels_first():
    """The size of the relevance by pixel tells which axis they are; palettes and bits of PIL are made RGB."""
    values = np.random.default_rng(0).random((3, 24, 24))
    shown = titled(plot_explanation(explanation(), values), "Input").images[0]
    np.testing.assert_allclose(shown.get_array(), values.transpose(1, 2, 0))
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)).quantize(
        8
    )
    shown = titled(plot_explanation(explanation(), photo), "Input").images[0]
    np.testing.assert_allclose(shown.get_array(), np.asarray(photo.convert("RGB")) / 255)


def test_rounding_and_resizing_may_leave_the_range_by_less_than_a_step():
    picture = np.full((24, 24, 3), 1 + 0.9 / 255)
    assert float(titled(plot_explanation(explanation(), picture), "Input").images[0].get_array().max()) == 1.0


def test_without_pixels_a_picture_may_have_any_size():
    assert titled(plot_explanation(explanation(pixel=False), np.zeros((30, 40))), "Input").images


def test_matplotlib_is_left_as_it_was():
    before = dict(mpl.rcParams)
    drawn(plot_explanation(explanation()))
    assert dict(mpl.rcParams) == before
    assert Gcf.get_all_fig_managers() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top must be an integer >= 1; got 0"),
        ({"bank": ef.get_bank("sobel")}, "bank must hold the explanation's 9 filters; got FilterBank"),
        ({"image": np.zeros((2, 24, 24, 3))}, r"image must have shape .*; got \(2, 24, 24, 3\)"),
        ({"image": np.zeros((0, 4))}, r"image must have shape .*; got \(0, 4\)"),
        (
            {"image": np.zeros((24, 25, 3))},
            r"image must have the height and width of the relevance by pixel, \(24, 24\); got \(24, 25\)\. Resize",
        ),
        ({"image": torch.zeros(3, 12, 12)}, r"image must have the height and width .*; got \(12, 12\)"),
        (
            {"image": (torch.rand(3, 24, 24) - 0.5) / 0.2},
            r"image must have values from 0 to 1, .*; got -2.* to 2.*\. Pass the picture as it was before",
        ),
        ({"image": torch.randn(1, 3, 24, 24)}, r"image must have values from 0 to 1"),
        ({"image": np.full((24, 24), np.nan)}, r"image must have values from 0 to 1, .*; got nan to nan"),
        ({"image": np.full((24, 24), 256)}, r"image must have values from 0 to 255, .*; got 256 to 256"),
        ({"image": np.full((24, 24), -1)}, r"image must have values from 0 to 255"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plot_explanation(explanation(), **options)


@pytest.mark.parametrize(
    ("value", "written"),
    [(2.5e-8, "2.5e-08"), (-0.004, "-0.004"), (0.0, "0.00"), (0.25, "0.25"), (3e19, "3e+19")],
)
def test_a_small_or_huge_output_keeps_its_digits(value, written):
    found = ef.Explanation(torch.ones(1, 1, 1, 1, 1), None, torch.tensor([value]), (7,), ("gray",), ("a",))
    assert title_of(found).startswith(f"output 7: {written}")
