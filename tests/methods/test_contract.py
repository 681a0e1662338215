"""What all methods of the room promise alike: the model is left alone, and modes of torch around a call do not matter."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from edgefilter.methods import (
    MFPP,
    GuidedNonlinearityIG,
    KernelLIME,
    LinearRegion,
    MaskSearch,
    SmoothTaylor,
    ZoomCAM,
    grid_fragments,
    perturbation_curve,
    salient_part_score,
)

CELLS = grid_fragments((8, 8), 2)
METHODS = {
    "SmoothTaylor": lambda model, x, **more: SmoothTaylor(model).attribute(x, n_samples=3, **more),
    "GuidedNonlinearityIG": lambda model, x, **more: GuidedNonlinearityIG(model).attribute(
        x, n_steps=3, **more
    ),
    "LinearRegion": lambda model, x, **more: LinearRegion(model).attribute(x, **more),
    "ZoomCAM": lambda model, x, **more: ZoomCAM(model, model.layer).attribute(x, **more),
    "MFPP": lambda model, x, **more: MFPP(model).attribute(x, segments=[CELLS], n_masks=9, **more),
    "MaskSearch": lambda model, x, **more: MaskSearch(model).attribute(x, max_queries=30, cells=2, **more),
    "KernelLIME": lambda model, x, **more: KernelLIME(model).attribute(
        x, feature_mask=CELLS, n_samples=9, **more
    ),
}
each_method = pytest.mark.parametrize("attribute", METHODS.values(), ids=METHODS)


class Network(nn.Module):
    """A convolution, what comes after it, and a linear layer."""

    def __init__(self, *after):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3, padding=1)
        self.after = nn.Sequential(*after, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.last = nn.Linear(16, 5)
        self.eval()

    def forward(self, x):
        return self.last(self.after(self.layer(x)))


@pytest.fixture
def x(generator):
    return torch.rand(2, 3, 8, 8, generator=generator)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.Dropout(0.5)], ids=["BatchNorm", "Dropout"])
@pytest.mark.parametrize(
    "run",
    [
        *METHODS.values(),
        lambda model, x, target: salient_part_score(model, x, x, target),
        lambda model, x, target: perturbation_curve(model, x, x, target, n_windows=1, n_fills=2),
    ],
    ids=[*METHODS, "salient_part_score", "perturbation_curve"],
)
def test_a_model_that_is_training_is_refused_before_it_runs(layer, run, x):
    """BatchNorm would take its averages from masked and noisy images, and keep them; Dropout would be taken for the image."""
    model = Network(layer).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"^model must be in evaluation mode; .* Call model.eval\(\) first"):
        run(model, x, target=1)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(torch.get_rng_state(), state)


@each_method
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_images_that_are_not_finite_are_named(attribute, value, x):
    """Before a map of NaN is taken for an answer."""
    x[1, 0, 2, 3] = value
    with pytest.raises(
        ValueError, match=r"^inputs must be finite; got NaN or infinity in image 1. Look at how"
    ):
        attribute(Network(), x, target=1)


@each_method
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes_around_a_call_do_not_matter(attribute, mode, x):
    """Also with images that are made there."""
    model = Network()
    expected = attribute(model, x, target=[1, 3])
    with mode():
        found = attribute(model, x.clone(), target=[1, 3])
    assert_close(found, expected, rtol=0, atol=0)


@each_method
@pytest.mark.parametrize("target", [[-1, -2], torch.tensor([-1, -2])], ids=["list", "tensor"])
def test_negative_targets_count_from_the_end(attribute, target, x):
    """For each image of a batch."""
    model = Network()
    assert torch.equal(attribute(model, x, target=target), attribute(model, x, target=[4, 3]))


@each_method
def test_a_list_of_one_target_is_for_all_and_another_number_is_named(attribute, x):
    """That of the images, not that of their copies."""
    model = Network()
    assert torch.equal(attribute(model, x, target=[3]), attribute(model, x, target=3))
    with pytest.raises(AssertionError, match="one for each of the 2 images; got 3"):
        attribute(model, x, target=[1, 2, 3])


@each_method
@pytest.mark.parametrize("value", [0.0, 1 / 3, -7.5, 1e30])
def test_a_constant_that_does_not_look_at_the_image_gives_a_flat_map(attribute, value, x):
    """There is no graph to go back through; zeros, but for the mask of the least area."""

    class Constant(Network):
        def forward(self, x):
            self.layer(x)
            return torch.full((len(x), 5), value)

    found = attribute(Constant(), x, target=1)
    level = found[0, 0, 0, 0] if attribute is METHODS["MaskSearch"] else torch.zeros(())
    assert torch.equal(found, torch.ones_like(found) * level)


@each_method
def test_a_model_that_works_in_place_on_its_input_changes_nothing(attribute, x):
    """The map is that of the same function, and the images stay as they are."""

    class InPlace(Network):
        def forward(self, x):
            return super().forward(torch.relu_(x.sub_(0.5)))

    class Copied(Network):
        def forward(self, x):
            return super().forward(torch.relu(x - 0.5))

    before = x.clone()
    found = attribute(InPlace(), x, target=1)
    assert torch.equal(x, before)
    assert_close(found, attribute(Copied(), x, target=1))


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (SmoothTaylor, "Smooth Taylor"),
        (GuidedNonlinearityIG, "GNL-IG"),
        (LinearRegion, "Linear Region"),
        (lambda model: ZoomCAM(model, "layer"), "Zoom-CAM"),
        (MFPP, "MFPP"),
        (MaskSearch, "Mask Search"),
        (KernelLIME, "Kernel LIME"),
    ],
)
def test_names_are_readable(method, name):
    """Captum puts a space before each capital letter."""
    assert method(Network()).get_name() == name
