"""Bundled photographs: every one loads without a network, grey in [0, 1], and shrinks as it should."""

import socket
import subprocess
import sys

import numpy as np
import pytest
import skimage
import torch
from sklearn.datasets import load_sample_image

import regularity.data
from regularity.data import photographs
from regularity.data.photographs import (
    block_mean,
    centre_crop,
    grey_tensor,
    load_photographs,
    photograph,
    photograph_names,
)

LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError("this test has no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("localhost", 80))


@pytest.mark.parametrize("name", photograph_names())
@pytest.mark.usefixtures("no_network")
def test_every_photograph_loads_without_a_network(name):
    image = photograph(name)
    assert image.dtype == torch.float32
    assert image.ndim == 2
    assert min(image.shape) > 100
    assert image.min() >= 0
    assert image.max() <= 1
    # 8-bit pictures that were scaled twice, or not at all, would be all dark or all bright.
    assert image.max() - image.min() > 0.3


def test_grey_photographs_are_the_bytes_over_255():
    np.testing.assert_array_equal(photograph("camera"), skimage.data.camera().astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("astronaut", skimage.data.astronaut),
        ("immunohistochemistry", skimage.data.immunohistochemistry),
        ("china", lambda: load_sample_image("china.jpg")),
    ],
)
def test_colour_becomes_luminance(name, pixels):
    np.testing.assert_allclose(photograph(name), pixels() / 255 @ LUMINANCE, atol=1e-6)


def test_opacity_is_dropped():
    pixels = np.random.default_rng(0).integers(0, 256, size=(5, 7, 4), dtype=np.uint8)
    assert torch.equal(grey_tensor(pixels), grey_tensor(pixels[..., :3]))


def test_16_bit_pixels_are_scaled_by_their_own_range():
    pixels = np.array([[0, 65535], [257, 514]], dtype=np.uint16)
    torch.testing.assert_close(grey_tensor(pixels), torch.tensor([[0, 255], [1, 2]]) / 255)


def test_names_are_sorted_and_each_once():
    assert list(photograph_names()) == sorted(set(photograph_names()))


def test_load_photographs_keeps_the_order_and_halves_the_sides():
    images = load_photographs(["moon", "chelsea"])
    assert list(images) == ["moon", "chelsea"]
    assert images["moon"].shape == (256, 256)
    assert images["chelsea"].shape == (150, 225)
    assert torch.equal(images["moon"], block_mean(photograph("moon"), 2))
    assert torch.equal(load_photographs(["text"], reduce=1)["text"], photograph("text"))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_block_mean_is_the_mean_of_each_block(factor):
    image = torch.rand(3 * factor, 5 * factor, generator=torch.Generator().manual_seed(0))
    blocks = image.reshape(3, factor, 5, factor)
    torch.testing.assert_close(block_mean(image, factor), blocks.mean(dim=(1, 3)))


def test_block_mean_leaves_out_what_fills_no_block():
    image = torch.ones(5, 7)
    image[4:], image[:, 6:] = 100, 100
    assert torch.equal(block_mean(image, 2), torch.ones(2, 3))


def test_centre_crop_is_centred():
    image = torch.rand(9, 7, generator=torch.Generator().manual_seed(0))
    crop = centre_crop(image, 3)
    assert torch.equal(crop, image[3:6, 2:5])
    assert torch.equal(centre_crop(image.flip(0, 1), 3), crop.flip(0, 1))


def test_centre_crop_of_a_square_at_its_size_is_the_square():
    image = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(centre_crop(image, 4), image)


def test_importing_the_package_loads_no_torch():
    script = "import sys, regularity.data; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", regularity.data.__all__)
def test_every_export_exists_and_is_documented(name):
    assert getattr(regularity.data, name).__doc__
    assert name in dir(regularity.data)


@pytest.mark.bad_input
def test_unknown_export_is_an_attribute_error():
    with pytest.raises(AttributeError, match="attribute photo"):
        regularity.data.photo  # noqa: B018


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "hint"), [("cameraman", "did you mean 'camera'"), ("zzz", "there are: astronaut, brick")]
)
def test_unknown_photograph_is_named_with_the_nearest(name, hint):
    with pytest.raises(ValueError, match=f"no bundled photograph '{name}'; {hint}"):
        photograph(name)
    with pytest.raises(ValueError, match=name):
        load_photographs(["camera", name])


@pytest.mark.bad_input
def test_photograph_that_the_package_lost_is_named(monkeypatch):
    monkeypatch.setitem(photographs._FILES, "camera", ("skimage", "data/lost.png"))
    with pytest.raises(FileNotFoundError, match=r"'camera' should come with skimage but .*lost\.png"):
        photograph("camera")


@pytest.mark.bad_input
def test_one_string_is_not_a_list_of_names():
    with pytest.raises(TypeError, match="got the string 'camera'"):
        load_photographs("camera")


@pytest.mark.bad_input
def test_a_name_asked_for_twice_is_refused():
    with pytest.raises(ValueError, match="each photograph can be asked for once"):
        load_photographs(["camera", "moon", "camera"])


@pytest.mark.bad_input
@pytest.mark.parametrize("factor", [0, -1, 5])
def test_block_mean_refuses_a_factor_that_does_not_fit(factor):
    with pytest.raises(ValueError, match=rf"factor must lie between .* got {factor} for 4x6"):
        block_mean(torch.ones(4, 6), factor)


@pytest.mark.bad_input
@pytest.mark.parametrize("size", [0, -1, 5])
def test_centre_crop_refuses_a_size_that_does_not_fit(size):
    with pytest.raises(ValueError, match=rf"size must lie between .* got {size} for 4x6"):
        centre_crop(torch.ones(4, 6), size)
