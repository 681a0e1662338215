"""Methods side by side: what is measured, what fails alone, and what is written."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import DeepLift, IntegratedGradients, LayerAttribution, LayerGradCam
from matplotlib.figure import Figure
from torch import nn
from torch.testing import assert_close

import edgefilter as ef
from edgefilter.evaluation.comparison import FILES, PART_COLUMNS
from edgefilter.evaluation.margin import Margin
from edgefilter.evaluation.method import own_method
from edgefilter.evaluation.methods import CONTROLS as KINDS
from edgefilter.evaluation.methods import DEFAULT_METHODS, METHODS
from edgefilter.evaluation.metrics import METRICS, _area, _AsFloat
from edgefilter.evaluation.parts import PARTS
from edgefilter.methods import ZoomCAM
from edgefilter.plots.comparison import plot_comparison

OF_QUANTUS = ["pixel_flipping", "faithfulness_correlation", "sparseness", "randomisation"]
CONTROLS = ["sobel", "random"]


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(20202)
        layers = (
            nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4),
        )  # fmt: skip
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 14, 14, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def everything(net, images):
    """All methods and all metrics, once."""
    pytest.importorskip("quantus")
    return ef.compare(net, images, progress=False)


def quick(net, images, *arguments, **options):
    return ef.compare(net, images, *arguments, progress=False, **options)


def test_every_method_is_measured_by_every_metric(everything):
    """No cell of either table is empty."""
    assert everything.failures == ()
    assert list(everything.pixel.index) == list(DEFAULT_METHODS)
    columns = [column for metric in METRICS.values() for column in metric.better]
    assert [name for name in everything.pixel.columns if not name.endswith("_se")] == columns
    assert np.isfinite(everything.pixel.to_numpy()).all()
    assert list(everything.parts.index) == list(PARTS)
    assert np.isfinite(everything.parts[list(PART_COLUMNS)].to_numpy()).all()
    assert {name: len(values) for name, values in everything.maps.items()} == dict.fromkeys(
        DEFAULT_METHODS, 3
    )


def test_the_table_is_mean_and_standard_error_of_the_single_values(everything):
    values = everything.values.query(
        "table == 'pixel' and method == 'saliency' and metric == 'infidelity'"
    ).value
    row = everything.pixel.loc["saliency"]
    assert row["infidelity"] == pytest.approx(values.mean())
    assert row["infidelity_se"] == pytest.approx(values.std() / math.sqrt(3))


def test_flip_difference_is_that_of_both_orders(everything):
    table = everything.pixel
    expected = table["flip_least_first"] - table["flip_most_first"]
    np.testing.assert_allclose(table["flip_difference"], expected, atol=1e-12)


def test_controls_do_not_depend_on_the_model(everything, net, images):
    """Edges of the image stay as they are when all weights are drawn anew, and so does their entropy."""
    assert everything.pixel.loc["sobel", "randomisation"] == 0
    other = quick(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).eval(), images, 0,
                  methods=CONTROLS, metrics=["infidelity"])  # fmt: skip
    for name in CONTROLS:
        assert torch.equal(everything.maps[name], other.maps[name])


def test_maps_are_those_of_the_libraries(everything, net, images):
    """Ours and Captum's, called as a user would."""
    targets = net(images).argmax(1)
    assert everything.targets == tuple(targets.tolist())
    ours = ef.EdgeFilterAttribution(ef.replace_stem(net)).attribute(images, targets)
    assert_close(everything.maps["edgefilter"], ours)
    theirs = IntegratedGradients(net).attribute(images, target=targets, n_steps=20)
    assert_close(everything.maps["integrated_gradients"], theirs, rtol=1e-4, atol=1e-6)


def test_class_activation_maps_are_those_of_the_last_convolution_or_of_each_size(net, images):
    """Found by running the model: net[0] has 14 x 14 places, net[3] has 5 x 5."""
    names, targets = ["grad_cam", "hires_cam", "zoom_cam"], net(images).argmax(1)
    found = quick(net, images, methods=names, metrics=["infidelity"]).maps
    coarse = LayerGradCam(net, net[3]).attribute(images, target=targets)
    assert_close(found["grad_cam"], LayerAttribution.interpolate(coarse, (14, 14), "bilinear"))
    assert_close(found["hires_cam"], ZoomCAM(net, net[3]).attribute(images, targets))
    assert_close(found["zoom_cam"], ZoomCAM(net, [net[0], net[3]]).attribute(images, targets))
    assert not torch.equal(found["zoom_cam"], found["hires_cam"])


def test_sobel_of_a_ramp_is_its_slope():
    """Inside, Sobel weighs a slope of 1 per column by 8."""
    method = METHODS["sobel"](nn.Identity())
    ramp = torch.arange(6.0).expand(1, 3, 5, 6)
    assert_close(method.explain(ramp, None)[0, 0, 1:-1, 1:-1], torch.full((3, 4), 8.0))


def test_area_of_a_line_is_its_mean():
    assert_close(_area(np.array([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])), np.array([0.5, 1.0]))


def test_pixel_flipping_follows_the_sigmoid_of_a_single_logit(net, images):
    """The softmax of one number would be 1 at every step, for the pixels of every score."""
    pytest.importorskip("quantus")
    last = net[-1]
    single = nn.Sequential(*net[:-1], nn.Linear(last.in_features, 1).to(last.weight)).eval()
    found = quick(single, images, methods=["edgefilter"], metrics=["pixel_flipping"], steps=2)
    assert found.failures == ()
    flips = found.values[found.values.metric == "flip_most_first"].value
    assert ((flips > 0) & (flips < 1)).all()
    with torch.no_grad():
        wanted = single(images).double().sigmoid().flatten()
    seen = _AsFloat(single, images.dtype)(images).double().softmax(1)[:, 0]
    assert_close(seen, wanted, rtol=0, atol=1e-6)


def test_a_seed_gives_the_same_numbers_again(net, images):
    """And leaves the generators of the caller alone."""
    pytest.importorskip("quantus")
    metrics = [name for name in METRICS if name not in ("time", "parts")]
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (quick(net, images, methods=["edgefilter", "random"], metrics=metrics) for _ in range(2))
    pd.testing.assert_frame_equal(first.pixel, second.pixel)
    third = quick(net, images, methods=["edgefilter", "random"], metrics=metrics, seed=1)
    assert (third.pixel.loc["random"] != first.pixel.loc["random"]).all()
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_a_model_with_a_bank_and_one_without_compare_alike(net, images):
    options = {"methods": ["edgefilter", "grad_cam"], "metrics": ["infidelity", "sensitivity_max"]}
    plain, banked = quick(net, images, **options), quick(ef.replace_stem(net), images, **options)
    pd.testing.assert_frame_equal(plain.pixel, banked.pixel, rtol=1e-3)


def test_a_bank_without_mixing_is_compared(images):
    """There is no plain convolution to fold it into."""
    net = nn.Sequential(ef.EdgeFilterBank2d("sobel", 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    head = nn.Linear(24, 5)
    found = quick(
        nn.Sequential(*net, head).eval(), images, methods=["edgefilter", "saliency"], metrics=["parts"]
    )
    assert not found.failures
    assert found.maps["edgefilter"].shape == images.shape


def test_the_model_is_left_as_it_is(net, images):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    quick(
        net,
        images,
        methods=["edgefilter", "guided_backprop", "occlusion"],
        metrics=["infidelity", "time", "parts"],
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not images.requires_grad


def test_double_precision_is_compared_too(net, images):
    """Quantus gives float32: the model gets what it needs."""
    pytest.importorskip("quantus")
    import copy

    found = quick(
        copy.deepcopy(net).double(), images.double(), methods=["saliency"], metrics=["pixel_flipping"]
    )
    assert found.failures == ()


def test_a_failing_method_costs_its_own_row_only(net, images):
    def broken(inputs, targets):
        raise RuntimeError("no map\ntoday")

    methods = {
        "mine": broken,
        "small": lambda x, _: x[:, :1, :4],
        "nan": lambda x, _: x * math.nan,
        "ours": "edgefilter",
    }
    found = quick(net, images, methods=methods, metrics=["infidelity"])
    assert list(found.pixel.index) == ["mine", "small", "nan", "edgefilter"]
    assert np.isnan(found.pixel.iloc[:3].to_numpy()).all()
    assert np.isfinite(found.pixel.loc["edgefilter"]).all()
    reasons = {failure.method: failure.reason for failure in found.failures}
    assert reasons["mine"] == "RuntimeError: no map today"
    assert (
        "must return attributions of shape (3, 3, 14, 14) or (3, 1, 14, 14); got (3, 1, 4, 14)"
        in reasons["small"]
    )
    assert "finite" in reasons["nan"]
    assert "Not measured (mine): RuntimeError: no map today" in str(found)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda model: torch.compile(model, backend="eager")],
    ids=["DataParallel", "compiled"],
)
def test_methods_at_the_bank_take_wrapped_models(net, images, wrap):
    """They score colors and filters of the model inside."""
    methods = ["zoom_cam", "guided_nonlinearity_ig"]
    found, expected = (
        quick(model.eval(), images, methods=methods, metrics=["parts"]) for model in (wrap(net), net)
    )
    assert not found.failures
    columns = ["color", "edge"]
    assert np.allclose(
        found.parts.loc[methods, columns], expected.parts.loc[methods, columns], equal_nan=True
    )


def test_a_failing_metric_costs_its_own_cells_only(net, images, monkeypatch):
    def broken(case):
        if case.method.name == "saliency":
            raise RuntimeError("not this one")
        return {"infidelity": [1.0] * 3}

    monkeypatch.setitem(METRICS, "infidelity", METRICS["infidelity"]._replace(measure=broken))
    found = quick(net, images, methods=["saliency", "sobel"], metrics=["infidelity", "sensitivity_max"])
    assert np.isnan(found.pixel.loc["saliency", "infidelity"])
    assert found.pixel.loc["sobel", "infidelity"] == 1
    assert np.isfinite(found.pixel["sensitivity_max"]).all()
    assert [(f.table, f.method, f.metric) for f in found.failures] == [("pixel", "saliency", "infidelity")]


def test_without_quantus_the_metrics_of_captum_remain(net, images, monkeypatch):
    """The reason says what to install."""
    import importlib

    def no_quantus(name, *arguments):
        if name == "quantus":
            raise ImportError("No module named 'quantus'")
        return real(name, *arguments)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", no_quantus)
    found = quick(net, images, methods=["saliency"], metrics=["infidelity", *OF_QUANTUS])
    assert np.isfinite(found.pixel.loc["saliency", "infidelity"])
    assert {failure.metric for failure in found.failures} == set(OF_QUANTUS)
    assert "pip install 'edgefilter[quantus]'" in str(found)


@pytest.mark.filterwarnings("ignore:Setting forward")
def test_own_methods_are_called_by_keyword_where_they_have_a_target(net, images):
    """The second argument of DeepLift and others is the baseline."""
    found = quick(net, images, 2, methods={"lift": DeepLift(net).attribute}, metrics=["infidelity"])
    assert found.failures == ()
    expected = DeepLift(net).attribute(images.clone().requires_grad_(), target=2).detach()
    assert_close(found.maps["lift"], expected)
    assert found.targets == (2, 2, 2)


def test_own_methods_cannot_be_built_for_random_weights(net, images):
    methods = {"mine": lambda inputs, targets: inputs.abs()}
    found = quick(net, images, methods=methods, metrics=["randomisation"])
    assert "knows only its own" in found.failures[0].reason


def test_guided_backprop_without_relu_is_not_passed_off_as_one(images):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(576, 3)).eval()
    found = quick(net, images, methods=["guided_backprop"], metrics=["infidelity"])
    assert "it would be the plain gradient" in found.failures[0].reason


def test_grad_cam_takes_the_last_convolution_with_places(net, images):
    """That of a squeeze-and-excitation gate has none."""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Conv2d(6, 6, 1)

        def forward(self, x):
            return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()

    gated = nn.Sequential(*net[:4], Gated(), *net[4:]).eval()
    found = quick(gated, images, methods=["grad_cam"], metrics=["infidelity"])
    assert found.failures == ()
    assert found.maps["grad_cam"].shape == (3, 1, 14, 14)
    assert found.maps["grad_cam"].std() > 0


def test_the_answer_for_known_images_is_not_computed_again(images):
    method = own_method("mine", lambda inputs, targets: pytest.fail("computed again"))
    method.known = (images, images.abs())
    assert method.again((images,))[0] is method.known[1]


def test_tables_fit_narrow_lines(everything):
    """Columns that find no room come below; every number and every name is there."""
    narrow, wide = everything.to_text(60), everything.to_text(1000)
    tables = [line for line in narrow.splitlines() if not line.startswith("Not measured")]
    assert max(map(len, tables)) <= 60 < max(map(len, wide.splitlines()))
    assert set(wide.split()) <= set(narrow.split())
    assert str(everything) == everything.to_text(120)


def test_files_are_written_and_never_replaced_unasked(everything, tmp_path):
    paths = everything.save(tmp_path / "new")
    assert [path.name for path in paths] == list(FILES)
    table = pd.read_csv(paths[0], index_col="method")
    pd.testing.assert_frame_equal(table, everything.pixel, check_exact=False)
    found = json.loads(paths[2].read_text(encoding="utf-8"))
    assert [row["method"] for row in found["parts"]] == list(PARTS)
    assert found["settings"]["seed"] == 0
    assert len(found["values"]) == len(everything.values)
    paths[1].write_text("mine")
    with pytest.raises(FileExistsError, match=r"must hold no pixel.csv; got .* Pass overwrite=True"):
        everything.save(tmp_path / "new")
    assert paths[1].read_text() == "mine"
    everything.save(tmp_path / "new", overwrite=True)
    assert paths[1].read_text() != "mine"


def test_missing_numbers_are_null_in_the_json(net, images, tmp_path):
    found = quick(net, images, methods={"mine": lambda x, _: x * math.nan}, metrics=["infidelity"])
    path = found.save(tmp_path)[2]
    assert json.loads(path.read_text(encoding="utf-8"))["pixel"][0]["infidelity"] is None


def test_text_shows_both_tables_and_the_better_direction(everything):
    text = str(everything)
    for word in (
        "edgefilter",
        "infidelity (low)",
        "flip_difference (high)",
        "layer_conductance",
        "\N{PLUS-MINUS SIGN}",
    ):
        assert word in text
    assert repr(everything) == "Comparison(10 methods, 3 images, 0 failures)"


def test_the_linear_region_is_that_of_input_times_gradient(net, images):
    """Of a network of ReLUs and max pooling; another costs its own row only, and the reason names what is not linear."""
    both = ["linear_region", "input_x_gradient"]
    found = quick(net, images, methods=both, metrics=["sparseness"]).maps
    assert_close(found["linear_region"], found["input_x_gradient"])
    smooth = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(288, 4)).eval()
    other = quick(smooth, images, methods=both, metrics=["sparseness"])
    assert list(other.maps) == ["input_x_gradient"]
    assert "sigmoid" in other.failures[0].reason


def test_controls_are_named_wherever_the_methods_are(net, images, tmp_path):
    """In print, in the figure, in a notebook, on the page and in the JSON, but not in the index; without controls nothing is said."""
    names = ["saliency", "guided_nonlinearity_ig", "input", "sobel", "random"]
    found = quick(net, images[:1], methods=names, metrics=["infidelity", "parts"])
    assert list(found.controls) == [*names[1:], "response_energy"]
    assert list(found.pixel.index) == names
    assert found.to_dict()["controls"] == found.controls
    figure = found.plot()
    page = found.to_html(tmp_path / "a.html").read_text(encoding="utf-8")
    for said in (str(found), found._repr_html_().replace("\n", " "), page, figure.texts[0].get_text()):
        said = " ".join(said.split()).replace("_", " ")
        assert "(correlation 0.81, shipped digits network): guided nonlinearity ig." in said
        assert "† Control, which does not look at the network: input, sobel, random" in said
    assert "random, response_energy." in str(found)  # which has no map
    assert figure.texts[0].get_text().endswith("random.")
    rows = [line.split()[:2] for line in str(found).splitlines() if line.startswith(("saliency", "guided"))]
    assert [row[1] == "†" for row in rows] == [False, True, True]  # in both tables
    plain = quick(net, images[:1], methods=["saliency"], metrics=["infidelity"])
    assert plain.controls == {}
    assert "†" not in str(plain) + plain._repr_html_()
    assert "†" not in plain.to_html(tmp_path / "b.html").read_text(encoding="utf-8")


def test_controls_are_methods_that_do_not_look_at_the_model_and_one_that_hardly_does(net, images):
    """Those that do not look give the same map for another network."""
    blind = [name for name, kind in KINDS.items() if kind.startswith("Control") and name in METHODS]
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(576, 4)).eval()
    one, two = (quick(m, images, methods=blind, metrics=["sparseness"]).maps for m in (net, other))
    for name in blind:
        assert_close(one[name], two[name], rtol=0, atol=0)
    assert set(KINDS) - set(blind) == {"guided_nonlinearity_ig", "response_energy"}


def test_figure_holds_one_row_per_image(everything):
    """One column for the images, one per method; zero is the middle of every scale."""
    figure = everything.plot(images=2)
    figure.set_dpi(30)
    figure.canvas.draw()
    assert len(figure.axes) == 2 * (1 + len(DEFAULT_METHODS))
    titles = [axes.get_title() for axes in figure.axes[: 1 + len(DEFAULT_METHODS)]]
    assert titles[:2] == ["image", "edgefilter"]
    for axes in figure.axes[1:10]:
        (shown,) = axes.images
        assert shown.norm.vmin == -shown.norm.vmax


def test_figure_on_given_axes(everything):
    figure = Figure()
    axes = figure.add_subplot()
    assert everything.plot(images=1, ax=axes) is figure
    assert len(figure.axes) == len(everything.maps) + 2  # the image, and the axes themselves


def test_figure_of_nothing_is_refused():
    with pytest.raises(ValueError, match="maps must hold methods, each with one map per picture"):
        plot_comparison({}, [])
    with pytest.raises(ValueError, match=r"other numbers of maps for \['a'\]"):
        plot_comparison({"a": torch.rand(2, 4, 4)}, [torch.rand(3, 4, 4)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["salience"]}, "unknown method 'salience'; did you mean 'saliency'"),
        ({"metrics": ["infidelty"]}, "unknown metric 'infidelty'; did you mean 'infidelity'"),
        ({"methods": []}, "methods must name one at least"),
        ({"methods": {"sobel": abs}}, "must have a new name; got 'sobel'"),
        ({"targets": 4}, "from 0 to 3; got 4"),
        ({"targets": [0, 1]}, "one for each of the 3 images"),
        ({"steps": 0}, "steps must be an integer >= 1; got 0"),
        ({"samples": True}, "samples must be an integer >= 1; got True"),
        ({"inputs": torch.zeros(3, 14, 14)}, r"got \(3, 14, 14\)"),
        ({"inputs": [1]}, "got list"),
    ],
)
def test_bad_arguments_are_refused_with_advice(net, images, change, message):
    with pytest.raises((ValueError, KeyError), match=message):
        ef.compare(net, **{"inputs": images, "progress": False, **change})


def test_a_training_model_is_refused(net, images):
    import copy

    with pytest.raises(ValueError, match=r"Call model\.eval"):
        quick(copy.deepcopy(net).train(), images)


def test_progress_goes_to_stderr(net, images, capsys):
    ef.compare(net, images, methods=["saliency"], metrics=["infidelity"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "saliency" in captured.err
    quick(net, images, methods=["saliency"], metrics=["infidelity"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": [len]}, TypeError, "methods must be names, or a dict"),
        ({"metrics": []}, ValueError, "metrics must name one at least"),
        ({"seed": -1}, ValueError, r"seed must be an integer from 0 to 2\*\*32 - 1; got -1"),
        ({"targets": "a"}, ValueError, "targets must"),
        ({"targets": 1.5}, ValueError, "targets must"),
    ],
)
def test_odd_arguments_are_refused_before_any_work(options, error, message):
    """The argument is named, and nothing has been measured yet."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    with pytest.raises(error, match=message):
        ef.compare(net, torch.rand(2, 3, 8, 8), progress=False, **options)


@pytest.mark.parametrize("against", [2, "rest", "odds"])
def test_margins_are_explained_and_measured(net, images, against):
    """Ours by its own argument, Captum's through a network of margins; drops are those of the margins."""
    found = quick(
        net,
        images,
        [0, 1, 3],
        ["edgefilter", "edgefilter_relevance", "input_x_gradient"],
        ["parts"],
        against=against,
    )
    assert found.failures == ()
    assert found.settings["against"] == against
    for name, calibrate in (("edgefilter", True), ("edgefilter_relevance", False)):
        attr = ef.EdgeFilterAttribution(net, calibrate=calibrate)
        assert_close(found.maps[name], attr.attribute(images, [0, 1, 3], against=against), rtol=0, atol=1e-6)
    leaf = images.clone().requires_grad_()
    output = net(leaf)
    chosen = output[range(3), [0, 1, 3]]
    others = {"rest": (output.sum(1) - chosen) / 3, "odds": (output.exp().sum(1) - chosen.exp()).log()}
    other = others.get(against, output[:, 2])
    (gradient,) = torch.autograd.grad((chosen - other).sum(), leaf)
    assert_close(found.maps["input_x_gradient"], gradient * images, rtol=0, atol=1e-6)
    assert found.parts.loc["edgefilter", "color"] > found.parts.loc["random", "color"]


def test_log_odds_are_made_of_logits(net, images):
    """Of probabilities they would be those of another softmax; logarithms of probabilities are logits."""
    with pytest.raises(
        ValueError, match="against='odds' must have a model that returns logits; got probabilities"
    ):
        quick(nn.Sequential(net, nn.Softmax(1)).eval(), images, [0, 1, 3], against="odds")
    plain, ended = (
        quick(one.eval(), images, [0, 1, 3], ["input_x_gradient", "edgefilter"], ["parts"], against="odds")
        for one in (net, nn.Sequential(net, nn.LogSoftmax(1)))
    )
    for name, found in plain.maps.items():
        assert_close(ended.maps[name], found, rtol=0, atol=1e-5)


def test_margins_in_log_odds_are_those_of_each_class():
    """By the definition, also where one class has all the probability, and with a gradient everywhere."""
    output = torch.tensor(
        [[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [300.0, -300.0, 0.0]], dtype=torch.float64
    ).requires_grad_()
    found = Margin(nn.Identity(), "odds")(output)
    others = torch.stack(
        [torch.cat([output[:, :k], output[:, k + 1 :]], 1).logsumexp(1) for k in range(3)], 1
    )
    wanted = output - others + math.log(2)
    assert_close(found, wanted, rtol=0, atol=1e-10)
    gradients = [
        torch.autograd.grad(one.sum(), output, retain_graph=True)[0] for one in (found[:, 0], wanted[:, 0])
    ]
    assert_close(*gradients, rtol=0, atol=1e-10)
    assert_close(
        Margin(nn.Identity(), "odds")(output[:, :2]),
        Margin(nn.Identity(), "rest")(output[:, :2]),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("against", [0, 4, -1, True, "others", 1.0])
def test_what_cannot_be_compared_is_refused(net, images, against):
    with pytest.raises(ValueError, match="against must be"):
        quick(net, images, [0, 0, 0], against=against)
