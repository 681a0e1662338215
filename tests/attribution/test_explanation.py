"""The views of one relevance tensor, saving and loading."""

from __future__ import annotations

import dataclasses
import json
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from captum.attr import (
    LayerConductance,
    LayerDeepLift,
    LayerFeatureAblation,
    LayerGradientXActivation,
    LayerIntegratedGradients,
)
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.attribution.explanation import Explanation

COLORS, FILTERS = ("red", "green", "blue"), ("sobel_x", "sobel_y")


@pytest.fixture
def explanation(generator):
    response = torch.randn(3, 3, 2, 4, 5, generator=generator, dtype=torch.float64)
    pixel = torch.randn(3, 3, 6, 7, generator=generator, dtype=torch.float64)
    return Explanation(
        response,
        pixel,
        torch.tensor([1.0, 2.0, 0.0]).double(),
        (7, (1, 2), None),
        COLORS,
        FILTERS,
        ("x", "y"),
        torch.tensor([0.5, -1.0, 0.25]).double(),
        "sigmoid",
    )


def test_scores_are_sums(explanation):
    r = explanation.response.numpy()
    assert_close(explanation.color.numpy(), r.sum((2, 3, 4)))
    assert_close(explanation.edge.numpy(), r.sum((1, 3, 4)))
    assert_close(explanation.color_edge.numpy(), r.sum((3, 4)))
    assert_close(explanation.total.numpy(), r.sum((1, 2, 3, 4)))
    assert_close(explanation.delta, explanation.base + explanation.total - explanation.output)
    assert_close(explanation.conserved_share, explanation.total / (explanation.output - explanation.base))


def test_without_a_base_scores_should_add_up_to_the_output(explanation):
    e = explanation
    plain = Explanation(e.response, e.pixel, e.output, e.target, e.colors, e.filters)
    assert torch.equal(plain.base, torch.zeros(3).double())
    assert_close(plain.delta, plain.total - plain.output)
    assert plain.left_out == ""
    with pytest.raises(ValueError, match=r"base must have the shape of output, \(3,\); got \(2,\)"):
        dataclasses.replace(explanation, base=torch.zeros(2).double())


def test_base_and_left_out_go_wherever_the_output_goes(explanation, tmp_path):
    """To one image of the batch, to shares of the total, to JSON, to a file and back."""
    for one in (explanation[1], explanation[1:2]):
        assert torch.equal(one.base, explanation.base[1:2])
        assert one.left_out == "sigmoid"
    shares = explanation.normalized()
    assert_close(shares.base, explanation.base / explanation.total)
    assert_close(shares.delta, explanation.delta / explanation.total)
    assert explanation.to_dict()["base"] == [0.5, -1.0, 0.25]
    assert explanation.to_dict()["left_out"] == "sigmoid"
    loaded = Explanation.load(explanation.save(tmp_path / "e.safetensors"))
    assert torch.equal(loaded.base, explanation.base)
    assert torch.equal(loaded.delta, explanation.delta)
    assert loaded.left_out == "sigmoid"


def test_maps_by_name(explanation):
    assert torch.equal(explanation.edge_map("sobel_y"), explanation.response[:, :, 1].sum(1))
    assert torch.equal(explanation.edge_map("y"), explanation.edge_map("sobel_y"))
    assert torch.equal(explanation.color_map("blue"), explanation.response[:, 2].sum(1))
    with pytest.raises(KeyError, match=r"unknown filter 'sobel-x'; did you mean 'sobel_x'\?"):
        explanation.edge_map("sobel-x")
    with pytest.raises(KeyError, match=r"unknown color 'gren'; did you mean 'green'\?"):
        explanation.color_map("gren")


@pytest.mark.parametrize("score", ["edge", "color", "color_edge"])
def test_top_is_sorted_and_named(explanation, score):
    table = getattr(explanation, score).flatten(1)
    for ranked, values in zip(explanation.top(99, score), table, strict=True):
        assert [value for _, value in ranked] == sorted(values.tolist(), reverse=True)
    names = {name for name, _ in explanation.top(99, score)[0]}
    assert (
        names
        == {
            "edge": set(FILTERS),
            "color": set(COLORS),
            "color_edge": {f"{c} {f}" for c in COLORS for f in FILTERS},
        }[score]
    )
    assert len(explanation.top(1, score)[0]) == 1


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_top_needs_a_count(explanation, k):
    with pytest.raises(ValueError, match="k must be an integer >= 1; got"):
        explanation.top(k)


def test_top_needs_a_known_score(explanation):
    with pytest.raises(KeyError, match=r"unknown score 'edges'; did you mean 'edge'\?"):
        explanation.top(1, "edges")


def test_normalized_scores_sum_to_one_and_zeros_stay(explanation):
    explanation.response[2] = 0
    shares = explanation.normalized()
    ones = torch.tensor([1.0, 1.0, 0.0]).double()
    for score in (shares.color, shares.edge, shares.color_edge, shares.response):
        assert_close(score.flatten(1).sum(1), ones)
    assert_close(shares.output[:2], explanation.output[:2] / explanation.total[:2])


@pytest.mark.parametrize("index", [0, 1, -1, np.int64(2), slice(1, 3)])
def test_indexing_gives_a_batch(explanation, index):
    part = explanation[index]
    wanted = range(3)[index] if isinstance(index, slice) else [range(3)[index]]
    assert torch.equal(part.response, explanation.response[list(wanted)])
    assert torch.equal(part.pixel, explanation.pixel[list(wanted)])
    assert part.target == tuple(explanation.target[i] for i in wanted)
    assert len(part) == len(wanted)


def test_indexing_stops_at_the_end(explanation):
    with pytest.raises(IndexError, match="index must be below 3, the number of images; got 3"):
        explanation[3]
    assert len(list(explanation)) == 3


def test_to_dict_is_json(explanation):
    read = json.loads(json.dumps(explanation.to_dict()))
    assert read["target"] == [7, [1, 2], None]
    assert_close(torch.tensor(read["color_edge"], dtype=torch.float64), explanation.color_edge)
    assert read["filters"] == list(FILTERS)


def test_to_dataframe_has_a_row_per_image_color_and_filter(explanation):
    table = explanation.to_dataframe()
    assert list(table.columns) == ["image", "target", "output", "color", "filter", "label", "relevance"]
    assert len(table) == 3 * 3 * 2
    assert table["relevance"].tolist() == explanation.color_edge.flatten().tolist()
    assert table.loc[1, ["image", "color", "filter"]].tolist() == [0, "red", "sobel_y"]


@pytest.mark.parametrize("pixel", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_save_and_load_round_trip(explanation, tmp_path, pixel, dtype):
    response, maps = explanation.response.to(dtype), explanation.pixel.to(dtype) if pixel else None
    before = Explanation(response, maps, explanation.output, explanation.target, COLORS, FILTERS, ("x", "y"))
    after = Explanation.load(before.save(tmp_path / "e.safetensors"))
    assert torch.equal(after.response, before.response)
    assert (after.pixel is None) == (not pixel)
    assert after.pixel is None or torch.equal(after.pixel, before.pixel)
    assert torch.equal(after.output, before.output)
    for name in ("target", "colors", "filters", "filter_labels"):
        assert getattr(after, name) == getattr(before, name)


def test_saving_overwrites_nothing_unasked(explanation, tmp_path):
    path = explanation.save(tmp_path / "e.safetensors")
    with pytest.raises(FileExistsError, match=r"path must be a new file; got .* Pass overwrite=True"):
        explanation[0].save(path)
    assert len(Explanation.load(path)) == 3
    explanation[0].save(path, overwrite=True)
    assert len(Explanation.load(path)) == 1


def test_saving_needs_a_folder(explanation, tmp_path):
    with pytest.raises(FileNotFoundError, match="path must lie in a folder that exists"):
        explanation.save(tmp_path / "nowhere" / "e.safetensors")


def test_loading_garbage_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must be a file that save\(\) wrote"):
        Explanation.load(tmp_path / "none")
    (tmp_path / "garbage").write_bytes(b"not safetensors at all")
    with pytest.raises(ValueError, match="path must be a safetensors file"):
        Explanation.load(tmp_path / "garbage")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ValueError, match="path must be a safetensors file"):
        Explanation.load(tmp_path / "empty")
    save_file({"x": torch.ones(1)}, tmp_path / "other")
    with pytest.raises(
        ValueError, match=r"path must be a file that Explanation.save\(\) wrote; got .*, another file"
    ):
        Explanation.load(tmp_path / "other")


def test_parts_that_do_not_fit_are_refused():
    response, output = torch.zeros(1, 3, 2, 4, 4), torch.zeros(1)
    with pytest.raises(
        ValueError, match=r"response must have shape \(1, 3, 2, height, width\).*got \(1, 2, 3, 4, 4\)"
    ):
        Explanation(response.transpose(1, 2), None, output, (0,), COLORS, FILTERS)
    with pytest.raises(ValueError, match="output, pixel and filter_labels must fit the 1 images"):
        Explanation(response, None, torch.zeros(2), (0,), COLORS, FILTERS)
    with pytest.raises(ValueError, match="output, pixel and filter_labels must fit"):
        Explanation(response, torch.zeros(1, 2, 4, 4), output, (0,), COLORS, FILTERS)


@pytest.mark.parametrize(
    "target",
    [2, (2,), torch.tensor(2), torch.tensor([2]), [2, 2], torch.tensor([2, 2]), [(2,), (2,)]],
    ids=str,
)
def test_target_forms_are_kept_one_per_image(small_net, generator, target):
    images = torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)
    explanation = ef.EdgeFilterAttribution(ef.replace_stem(small_net)).explain(images, target)
    assert explanation.target in ((2, 2), ((2,), (2,)))
    json.dumps(explanation.to_dict())


# From the attributions of any method

METHODS = {
    "conductance": LayerConductance,
    "integrated_gradients": LayerIntegratedGradients,
    "deep_lift": LayerDeepLift,
    "gradient_x_activation": LayerGradientXActivation,
    "feature_ablation": LayerFeatureAblation,
}


@pytest.fixture
def model(small_net):
    return ef.replace_stem(small_net)


@pytest.fixture
def images(generator):
    return torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_any_attribution_of_the_bank_gets_scores(model, images, method):
    """The scores are the sums of Captum's attributions; pixels have the same total."""
    extra = {"layer_mask": ef.filter_mask(model[0])} if method == "feature_ablation" else {}
    found = METHODS[method](model, model[0].filters).attribute(images, target=1, **extra).detach()
    result = Explanation.from_responses(found, model[0], images, target=1)
    assert torch.equal(result.response.flatten(1, 2), found)
    by_hand = found.numpy().reshape(2, 3, 9, 12, 12)
    assert_close(result.color.numpy(), by_hand.sum((2, 3, 4)))
    assert_close(result.edge.numpy(), by_hand.sum((1, 3, 4)))
    assert_close(result.pixel.sum((2, 3)), result.color, rtol=0, atol=1e-9 * float(found.abs().sum()))
    assert result.pixel.shape == images.shape
    assert (result.filters, result.filter_labels) == (
        tuple(model[0].bank.names),
        tuple(model[0].bank.labels),
    )
    assert (result.colors, result.target) == (COLORS, (1, 1))


@pytest.mark.parametrize("stem", [{}, {"padding": 1, "stride": 2}, {"padding_mode": "reflect", "padding": 2}])
def test_from_responses_gives_back_an_explanation(images, stem):
    """Relevance of our own method as (N, C*K, H', W') and (N, C, K, H', W'): the same pixels as by the full pass."""
    net = nn.Sequential(nn.Conv2d(3, 4, 5, **stem), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = ef.replace_stem(net.double().eval())
    expected = ef.EdgeFilterAttribution(model, calibrate=False).explain(images, [0, 3])
    for response in (expected.response, expected.response.flatten(1, 2)):
        for layer in (model[0], model[0].filters, ef.split(model)[0]):
            got = Explanation.from_responses(
                response, layer, images, output=expected.output, target=torch.tensor([0, 3])
            )
            assert torch.equal(got.response, expected.response)
            assert_close(got.pixel, expected.pixel, rtol=0, atol=1e-12)
            assert torch.equal(got.delta, expected.delta)
            assert got.target == expected.target


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_from_responses_keeps_dtype_and_model(model, images, dtype):
    """Attributions of another precision than the model, in inference mode; the layer is only read."""
    with torch.inference_mode():
        found = torch.ones(2, 27, 12, 12, dtype=dtype)
        result = Explanation.from_responses(found, model[0], images)
        assert torch.is_inference_mode_enabled()
    assert result.pixel.dtype == result.output.dtype == dtype
    assert not result.pixel.requires_grad
    assert model[0].filters.conv.weight.dtype == torch.float64
    assert "forward" not in vars(model[0].filters.conv)


def test_an_unknown_output_stays_unknown(model, images, tmp_path):
    """Output, delta and share are NaN, None in JSON; everything else works as ever."""
    found = torch.randn(2, 27, 12, 12, dtype=torch.float64, requires_grad=True)
    result = Explanation.from_responses(found, model[0])
    assert result.pixel is None
    assert not result.response.requires_grad
    for unknown in (result.output, result.delta, result.conserved_share, result.normalized().output):
        assert unknown.isnan().all()
    assert result.target == (None, None)
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["output"] == content["delta"] == [None, None]
    assert_close(result.normalized().color.sum(1), torch.ones(2).double())
    assert len(result.top(2)) == 2
    assert result.to_dataframe()["output"].isna().all()
    loaded = Explanation.load(result.save(tmp_path / "e.safetensors"))
    assert torch.equal(loaded.response, result.response)
    assert loaded.output.isnan().all()
    figure = result.plot()
    assert figure.get_suptitle() == f"attributions add up to {float(result.total[0]):.2f}"
    plt.close(figure)


ONES = torch.ones(2, 27, 12, 12)
UNFIT = {
    "pooled": (
        (ONES[:, :1],),
        ValueError,
        r"attributions must have shape \(N, 27, height, width\) or .*; got \(2, 1, 12, 12\)\. Attribute the",
    ),
    "swapped": ((ONES.reshape(2, 9, 3, 12, 12),), ValueError, r"for 3 colors and 9 filters; got \(2, 9, 3"),
    "flat": ((ONES[0],), ValueError, "attributions must have shape .*; got .27, 12, 12"),
    "integers": ((ONES.long(),), TypeError, "attributions must be a floating-point tensor; got torch.int64"),
    "tuple": (((ONES,),), TypeError, "attributions must be a floating-point tensor; got tuple. Pass"),
    "images": (
        (ONES, torch.ones(1, 3, 12, 12)),
        ValueError,
        r"inputs must have shape \(2, 3, height, width\)",
    ),
    "size": (
        (ONES, torch.ones(2, 3, 9, 9)),
        ValueError,
        r"inputs must be the images that were attributed; got .*responses of \(9, 9\) places, not \(12, 12\)",
    ),
}


@pytest.mark.parametrize(("arguments", "error", "match"), UNFIT.values(), ids=UNFIT)
def test_unfit_attributions_are_refused(model, arguments, error, match):
    with pytest.raises(error, match=match):
        Explanation.from_responses(arguments[0], model[0], *arguments[1:])


def test_absolute_values_are_noticed_where_the_output_tells(model, images):
    """Relevance of one sign adds up to the output and passes, as does what nobody knows the output of."""
    attribution, output = ef.EdgeFilterAttribution(model, "epsilon"), model(images).detach()[:, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of epsilon's colors
        signed = attribution.explain(images, 1).response
    with pytest.warns(UserWarning, match="attributions must be signed"):
        Explanation.from_responses(signed.abs(), model[0], output=output)
    one_sign = output.abs()[:, None, None, None, None] * torch.ones(1, 3, 9, 1, 1) / 27
    too_much = 30 * output.sign()[:, None, None, None, None] * signed
    assert bool((too_much < 0).any())
    assert bool((too_much.sum((1, 2, 3, 4)) > 2 * output.abs()).all())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Explanation.from_responses(signed, model[0], output=output)
        Explanation.from_responses(signed.abs(), model[0])
        Explanation.from_responses(one_sign, model[0], output=output)
        Explanation.from_responses(too_much, model[0], output=output)
        Explanation.from_responses(signed.abs()[:0], model[0], output=output[:0])


def test_from_responses_refuses_other_layers_and_targets(model):
    with pytest.raises(
        TypeError, match=r"layer must be an EdgeFilterBank2d or an EdgeFilterConv2d; got Sequential"
    ):
        Explanation.from_responses(ONES, model)
    with pytest.raises(
        ValueError, match=r"target must be one, or one for each of the 2 images; got 3\. Pass"
    ):
        Explanation.from_responses(ONES, model[0], target=[1, 2, 3])
    with pytest.raises(ValueError, match="output, pixel and filter_labels must fit the 2 images"):
        Explanation.from_responses(ONES, model[0], output=torch.zeros(3))


# --- what was measured beside the scores ----------------------------------------------------------------------


def measured(**changes):
    """An explanation of one image by hand: red is contradicted by its effect, sobel_y is not."""
    response = torch.tensor([[5.5, 0.0], [1.0, 1.0], [0.0, 0.5]]).reshape(1, 3, 2, 1, 1)
    fields = {
        "base": torch.tensor([1.0]),
        "effects": torch.tensor([[-1.0, 2.0, 0.04]]),
        "errors": torch.tensor([[0.5, 0.0, 0.0]]),
        "interactions": torch.ones(1, 3, 3),
        "filter_effects": torch.tensor([[6.0, 0.1]]),
    }
    return Explanation(response, None, torch.tensor([9.0]), (2,), COLORS, FILTERS, **(fields | changes))


def test_doubts_name_what_an_effect_contradicts():
    assert measured().doubts() == [
        {
            "red": "scores +5.5, but has an effect of -1 when it is silenced alone",
            "blue": "scores +0.5, but has an effect of +0.04 when it is silenced alone",
            "sobel_y": "scores +1.5, but has an effect of +0.1 when it is silenced alone",
        }
    ]
    assert measured(effects=None, filter_effects=None).doubts() == [{}]
    assert measured(effects=torch.tensor([[5.0, 2.0, 0.05]]), filter_effects=None).doubts() == [{}]


def test_summary_says_it_in_words():
    text = measured(against=(None,)).summary(class_names=["a", "b", "cherry"])
    assert text.splitlines() == [
        "The color red and the filter sobel x speak most for cherry.",
        "Output cherry is 9.00; 1.00 of it is there without the image.",
        "Colors: red +5.50 ± 0.50, green +2.00, blue +0.50.",
        "Filters: sobel_x +6.50, sobel_y +1.50.",
        "Careful: red scores +5.5, but has an effect of -1 when it is silenced alone.",
        "Careful: blue scores +0.5, but has an effect of +0.04 when it is silenced alone.",
        "Careful: sobel_y scores +1.5, but has an effect of +0.1 when it is silenced alone.",
    ]
    with pytest.raises(ValueError, match="class_names must have a name for each output; got 2, but output 2"):
        measured().summary(class_names=["a", "b"])
    assert "red +5.50 ± <0.01, green" in measured(errors=torch.tensor([[0.001, 0.0, 0.0]])).summary()
    rest = measured(against=("rest",)).summary().splitlines()
    assert rest[0] == "The color red and the filter sobel x speak most for output 2 rather than the others."
    assert rest[1].startswith("Output 2 minus the mean of the others is 9.00")
    odds = measured(against=("odds",)).summary().splitlines()
    assert odds[0] == "The color red and the filter sobel x speak most for output 2 against chance."
    assert odds[1].startswith("Output 2 against chance (log odds) is 9.00; ")
    other = measured(against=(1,)).summary(class_names=["a", "b", "cherry"]).splitlines()
    assert other[0] == "The color red and the filter sobel x speak most for cherry rather than b."
    assert other[1].startswith("Output cherry minus b is")


@pytest.mark.parametrize(("response", "words"), [
    ([[1.0, 0.9], [0.0, 0.0]], "The color red and the filters sobel x and sobel y speak most for output 2."),
    ([[-1.0, 0.5], [0.0, 0.1]], "The color green and the filter sobel y speak most for output 2."),
    ([[-1.0, -2.0], [-0.5, 0.0]], "Nothing speaks for output 2; red speaks against it most."),
    ([[0.0, 0.0], [0.0, 0.0]], ""),
])  # fmt: skip
def test_the_first_sentence_names_what_speaks_most(response, words):
    response = torch.tensor(response).reshape(1, 2, 2, 1, 1)
    found = Explanation(response, None, response.sum().reshape(1), (2,), COLORS[:2], FILTERS)
    assert found.summary().splitlines()[0] == (
        words or "Output 2 is 0.00; 0.00 of it is there without the image."
    )


def test_small_numbers_are_not_printed_as_nothing():
    """A network of small outputs: two digits of the largest, or an exponent."""

    def lines(scale):
        response = scale * torch.tensor([[3.0, 1.0], [-0.5, 0.0]]).reshape(1, 2, 2, 1, 1)
        return (
            Explanation(response, None, response.sum().reshape(1), (2,), COLORS[:2], FILTERS)
            .summary()
            .splitlines()
        )

    assert lines(1e-3)[1:3] == [
        "Output 2 is 0.0035; 0.0000 of it is there without the image.",
        "Colors: red +0.0040, green -0.0005.",
    ]
    assert lines(0.1)[2] == "Colors: red +0.40, green -0.05."
    assert lines(1e-9)[1:3] == [
        "Output 2 is 3.5e-09; 0 of it is there without the image.",
        "Colors: red +4e-09, green -5e-10.",
    ]


def test_summary_names_filters_in_words_and_counts_the_other_doubts():
    """Of many filters, only what is said of those that are named is doubted by name."""
    bank = ef.complete_bank(3)
    response = torch.arange(9.0, 0.0, -1.0).reshape(1, 1, 9, 1, 1)
    effects = response.reshape(1, 9).clone()
    effects[0, 1], effects[0, 7:], effects[0, 5] = 0.5, -1.0, float("nan")
    found = Explanation(response, None, torch.tensor([45.0]), (0,), ("gray",), tuple(bank.names), tuple(bank.labels),
                        filter_effects=effects)  # fmt: skip
    lines = found.summary().splitlines()
    words = dict(zip(bank.names, bank.labels, strict=True))
    first, second = (f"{words[name].replace('_', ' ')} ({name})" for name in bank.names[:2])
    assert lines[0] == "The filters blur and edge x speak most for output 0."
    assert lines[3].startswith(f"Filters: {first} +9.00, {second} +8.00, ")
    assert lines[4] == f"Careful: {second} scores +8, but has an effect of +0.5 when it is silenced alone."
    assert lines[5:] == ["Of the other filters, 2 have an effect that contradicts the score."]
    assert found.to_dict()["filter_effects"][0][5] is None


def test_what_was_measured_is_saved_and_cut(tmp_path):
    before = measured(against=((1, 2),), about={"composite": "zplus", "bank": "sobel"})
    after = Explanation.load(before.save(tmp_path / "e.safetensors"))
    for name in ("effects", "errors", "interactions", "filter_effects", "base"):
        assert torch.equal(getattr(after, name), getattr(before, name))
        assert torch.equal(getattr(after[0], name), getattr(before, name))
    assert (after.against, after.about) == (before.against, before.about)
    assert after.to_dict()["doubts"] == before.doubts()
    assert measured(errors=None).to_dict()["errors"] is None


def test_shares_scale_what_was_measured():
    shares = measured().normalized()
    assert_close(shares.effects, measured().effects / 8)
    assert_close(shares.color.sum(1), torch.ones(1))
    assert shares.doubts()[0].keys() == measured().doubts()[0].keys()


def test_the_difference_of_two_explanations():
    one, other = measured(), measured(base=torch.tensor([0.25]), errors=torch.tensor([[0.0, 0.0, 2.0]]))
    found = one - other
    assert not found.response.any()
    assert not found.output.any()
    assert found.base.tolist() == [0.75]
    assert found.errors.tolist() == [[0.5, 0.0, 2.0]]
    assert found.against == other.target
    assert (one - measured(effects=None)).effects is None
    with pytest.raises(ValueError, match="must be of outputs, not of comparisons"):
        one - found
    with pytest.raises(ValueError, match="of the same images, colors and filters to be subtracted"):
        one - Explanation(torch.ones(1, 3, 1, 1, 1), None, torch.ones(1), (0,), COLORS, ("sobel_x",))
    with pytest.raises(TypeError):
        one - 3


def test_classes_are_named_by_a_list_or_by_number():
    explanation = Explanation(torch.ones(1, 1, 1, 1, 1), None, torch.ones(1), (3,), ("gray",), ("a",))
    by_number = explanation.summary(0, {3: "owl"})
    assert by_number == explanation.summary(0, ["cat", "dog", "cow", "owl"])
    assert "owl" in by_number
    assert explanation.plot(classes={3: "owl"}).get_suptitle().startswith("owl")
    with pytest.raises(ValueError, match="class_names must be a sequence of names; got 'owls'"):
        explanation.summary(0, "owls")


def test_explanations_of_other_images_are_not_subtracted():
    response, images = torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2)
    one, same, other = (
        Explanation(response, None, torch.ones(1), (target,), ("gray",), ("a", "b"), inputs=inputs)
        for target, inputs in enumerate((images, images.double(), images + 1))
    )
    assert float((one - same).output) == 0
    with pytest.raises(
        ValueError, match=r"explanations must be of the same images to be subtracted; got other inputs\."
    ):
        one - other


def test_against_is_the_difference_of_two(small_net, generator):
    """Colors and effects are linear in the output; filters are nearly so, for their evidence is another."""
    images = torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)
    attr = ef.EdgeFilterAttribution(small_net)
    found, expected = attr.explain(images, 1, against=3), attr.explain(images, 1) - attr.explain(images, 3)
    for name in ("color", "effects", "interactions", "output", "base"):
        assert_close(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-10)
    assert found.against == expected.against == (3, 3)
    relevance = ef.EdgeFilterAttribution(small_net, calibrate=False)
    assert relevance.explain(images, 1).effects is None


# --- the images that were explained ---------------------------------------------------------------------------


def test_inputs_are_kept_as_the_model_saw_them(tmp_path):
    """A copy: what the user does to the images later does not change the picture. Saved, loaded, indexed, not scaled."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5)
    )
    images = torch.rand(3, 3, 6, 6, requires_grad=True)
    explanation = ef.EdgeFilterAttribution(net.eval()).explain(images)
    before = images.detach().clone()
    with torch.no_grad():
        images.mul_(0)
    assert torch.equal(explanation.inputs, before)
    assert not explanation.inputs.requires_grad
    assert torch.equal(explanation[1].inputs, before[1:2])
    assert torch.equal(explanation.normalized().inputs, before)
    loaded = ef.Explanation.load(explanation.save(tmp_path / "e.safetensors"))
    assert torch.equal(loaded.inputs, before)
    assert_close(torch.from_numpy(loaded.picture(2)), before[2].permute(1, 2, 0).double(), rtol=0, atol=0)


def test_inputs_with_channels_last_are_turned():
    """Axis 1 holds the channels, whatever the model takes."""

    class Turned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.conv(x.permute(0, 3, 1, 2)).mean((2, 3))

    images = torch.rand(2, 5, 6, 3)
    explanation = ef.EdgeFilterAttribution(Turned().eval()).explain(images)
    assert torch.equal(explanation.inputs, images.permute(0, 3, 1, 2))


def test_inputs_must_fit():
    """One image for each target."""
    with pytest.raises(
        ValueError, match=r"inputs must have shape \(1, channels, height, width\).*got \(2, 1, 4, 4\)"
    ):
        ef.Explanation(
            torch.ones(1, 1, 1, 4, 4),
            None,
            torch.ones(1),
            (0,),
            ("gray",),
            ("sobel_x",),
            inputs=torch.ones(2, 1, 4, 4),
        )
