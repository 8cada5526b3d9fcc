"""The networks against parameter counts done by hand, and against the symmetries that convolutions must have."""

import math

import numpy as np
import pytest
import torch

from regularity.foundations.networks import Noise2NoiseUNet, UNet, apply_to_any_size
from tests.draws import seeded


def images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=seeded(seed), dtype=dtype)


def small_unet(**sizes):
    return UNet(**{"width": 4, "n_poolings": 2, "generator": seeded(), **sizes}).double()


def n_parameters(network):
    return sum(weights.numel() for weights in network.parameters())


def randomise_biases(network):
    """Make the biases other than zero, as after a training."""
    for name, values in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(values, std=0.1, generator=seeded(1))
    return network


def convolution(n_in, n_out, side=3):
    return side**2 * n_in * n_out + n_out


# --- Sizes --------------------------------------------------------------------------------------------------------


def test_parameter_count_of_the_unet_by_hand():
    down = sum(convolution(a, b) for a, b in [(1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)])
    up = sum(convolution(a, b) for a, b in [(64 + 32, 32), (32, 32), (32 + 16, 16), (16, 16)])
    assert n_parameters(UNet()) == down + up + convolution(16, 1, side=1) == 117_985
    colour = 9 * 2 * 16 + (16 + 1) * 2  # two channels more at the first convolution and at the head
    assert n_parameters(UNet(n_channels=3)) == 117_985 + colour


def test_parameter_count_of_the_noise2noise_unet_by_hand():
    """A transposed convolution has as many weights as a convolution; a shared block counts once."""
    layers = [
        *[
            (1, 48),
            (48, 48),
            (48, 48),
            (48, 48),
            (48, 48),
        ],  # two of the first scale, the shared one, the bottom
        *[(96, 96), (96, 96), (96, 96), (48 + 96, 96), (96, 96), (96, 96)],
        *[(96 + 1, 64), (64, 32), (32, 1)],
    ]
    assert n_parameters(Noise2NoiseUNet()) == sum(convolution(a, b) for a, b in layers) == 698_017


@pytest.mark.parametrize(("n_channels", "height", "width"), [(1, 8, 12), (3, 16, 4)])
def test_output_has_the_shape_of_the_input(n_channels, height, width):
    inputs = images(2, n_channels, height, width)
    assert small_unet(n_channels=n_channels)(inputs).shape == inputs.shape
    inputs = images(1, n_channels, 32, 64)
    assert Noise2NoiseUNet(n_channels=n_channels).double()(inputs).shape == inputs.shape


# --- Initial weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [UNet, Noise2NoiseUNet])
def test_same_generator_same_network(kind):
    torch.manual_seed(0)
    first = kind(generator=seeded(3)).state_dict()
    torch.manual_seed(1)  # the global state must not matter
    again, other = (kind(generator=seeded(seed)).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(("network", "slope"), [(UNet(width=32), 0.0), (Noise2NoiseUNet(), 0.1)])
def test_initial_weights_have_the_variance_of_he(network, slope):
    """Variance 2 / ((1 + slope²) n_in) for n_in inputs of a unit; the U-Net's head has a hundredth of it."""
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.numel() > 1000:
            n_in = layer.weight[0].numel()
            expected = math.sqrt(2 / (1 + slope**2) / n_in)
            standard_error = expected / math.sqrt(2 * layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(expected, abs=5 * standard_error), name
            assert not layer.bias.any()
    if isinstance(network, UNet):
        many = torch.cat([UNet(width=32, generator=seeded(seed)).head.weight.flatten() for seed in range(20)])
        assert many.std().item() == pytest.approx(0.1 * math.sqrt(2 / 32), rel=0.15)


# --- Symmetries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [small_unet(), Noise2NoiseUNet(generator=seeded()).double()])
def test_without_biases_brightness_passes_through(network):
    """ReLU, max pooling and convolutions without bias commute with positive factors, not with −1."""
    inputs = images(1, 1, 32, 32) - 0.5
    output = network(inputs)
    torch.testing.assert_close(network(3 * inputs), 3 * output)
    assert not torch.allclose(network(-inputs), -output)


def test_the_noise2noise_unet_leaks_and_gives_both_signs():
    """Each activation but the last is LeakyReLU of slope 0.1: seen on the modules that an image passes."""
    network = Noise2NoiseUNet(generator=seeded()).double()
    seen = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, inputs, output: seen.append((module, output)))
    output = network(images(1, 1, 32, 32) - 0.5)
    slopes = [module.negative_slope for module, _ in seen if isinstance(module, torch.nn.LeakyReLU)]
    # Convolutions that are passed: 2 + 4 shared + 1 + 2 + 3 × 2 shared + 3, all but the last with an activation.
    assert slopes == [0.1] * 17
    assert isinstance(seen[-1][0], torch.nn.Conv2d)
    assert torch.equal(seen[-1][1], output)


@pytest.mark.parametrize("n_poolings", [1, 2])
def test_moving_the_image_by_the_pooling_multiple_moves_the_output(n_poolings):
    """Away from the border, and for a multiple of 2^n_poolings alone: max pooling breaks the finer shifts."""
    network = randomise_biases(small_unet(n_poolings=n_poolings))
    scene, size, margin = (
        images(1, 1, 80, 80),
        64,
        24,
    )  # the margin exceeds the receptive field's radius, below
    interior = slice(margin, size - margin)

    def seen_from(offset):
        return network(scene[..., offset : offset + size, offset : offset + size])

    here = seen_from(0)[..., interior, interior]
    for shift in range(1, 9):
        shifted = slice(margin - shift, size - margin - shift)
        there = seen_from(shift)[..., shifted, shifted]
        difference = (here - there)[..., shift:, shift:].abs().max()
        assert (difference < 1e-12) == (shift % 2**n_poolings == 0), shift


def test_receptive_field_by_hand():
    """Which rows output row 32 may see, going back through two poolings; two 3×3 convolutions reach ±2.

    Full resolution 30..34, half of it 15..17 → 13..19, a quarter 6..9 → 4..11, half 8..23 → 6..25, full 12..51 →
    10..53.
    """
    network = randomise_biases(small_unet())
    inputs = images(1, 1, 64, 64).requires_grad_()
    (gradient,) = torch.autograd.grad(network(inputs)[0, 0, 32, 32], inputs)
    for places in gradient[0, 0].nonzero(as_tuple=True):
        assert 10 <= places.min() <= 16
        assert 48 <= places.max() <= 53


def test_wiring_of_the_noise2noise_unet_written_out():
    """Table 2 of Noise2Noise, line by line: five poolings, each undone next to what it saw."""
    network = randomise_biases(Noise2NoiseUNet(generator=seeded()).double())
    inputs = images(1, 1, 64, 32)

    def beside(features, skipped):
        return torch.cat([features, skipped], dim=1)

    pool1 = network.first(inputs)
    pool2 = network.shared_down(pool1)
    pool3 = network.shared_down(pool2)
    pool4 = network.shared_down(pool3)
    pool5 = network.shared_down(pool4)
    assert pool5.shape == (1, 48, 2, 1)
    upsample4 = network.up_bottom(beside(network.bottom(pool5), pool4))
    upsample3 = network.shared_up(beside(upsample4, pool3))
    upsample2 = network.shared_up(beside(upsample3, pool2))
    upsample1 = network.shared_up(beside(upsample2, pool1))
    assert torch.equal(network(inputs), network.last(beside(upsample1, inputs)))


def test_images_of_a_batch_do_not_see_each_other():
    network = randomise_biases(small_unet())
    batch = images(3, 1, 16, 16)
    alone = torch.cat([network(image[None]) for image in batch])
    torch.testing.assert_close(network(batch), alone)
    torch.testing.assert_close(network(batch.flip(0)), alone.flip(0))


def test_gradients_reach_every_weight():
    for network in (
        randomise_biases(small_unet()),
        randomise_biases(Noise2NoiseUNet(generator=seeded()).double()),
    ):
        network(images(2, 1, 32, 32) - 0.5).square().sum().backward()
        assert all(weights.grad.abs().max() > 0 for weights in network.parameters())


def test_gradient_by_finite_differences():
    network = randomise_biases(small_unet(width=2))
    inputs = images(1, 1, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(network, inputs)


# --- Images of any size -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 10), (7, 5), (3, 3)])
def test_any_size_is_padded_with_reflections_and_cropped(height, width):
    seen = []

    def network(padded):
        seen.append(padded)
        return 2 * padded + 1

    inputs = images(2, 1, height, width)
    assert torch.equal(apply_to_any_size(network, inputs, 4), 2 * inputs + 1)
    missing = [(0, 0), (0, 0), (0, -height % 4), (0, -width % 4)]
    np.testing.assert_array_equal(seen[0].numpy(), np.pad(inputs.numpy(), missing, mode="reflect"))


def test_a_size_that_fits_is_left_alone():
    network, inputs = small_unet(), images(1, 1, 16, 8)
    assert torch.equal(apply_to_any_size(network, inputs, network.multiple), network(inputs))


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(("height", "width"), [(30, 32), (32, 2)])
def test_sides_must_be_divisible(height, width):
    with pytest.raises(ValueError, match=f"image sides must be divisible by 4; got {height} x {width}"):
        small_unet()(images(1, 1, height, width))
    with pytest.raises(ValueError, match=f"image sides must be divisible by 32; got {height} x {width}"):
        Noise2NoiseUNet().double()(images(1, 1, height, width))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["width", "n_poolings", "n_channels"])
def test_sizes_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        UNet(**{name: 0})


@pytest.mark.bad_input
def test_images_too_small_to_be_padded():
    with pytest.raises(
        ValueError, match="sides of images are too small to be padded to multiples of 32; got 16 x 40"
    ):
        apply_to_any_size(torch.sin, images(1, 1, 16, 40), 32)
