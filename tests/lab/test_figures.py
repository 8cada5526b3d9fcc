"""The figure style: colours that all readers tell apart, on the ground that figures have."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from regularity.lab.figures import ACCENT, BASELINE, PALETTE, WIDTH, figure, use_book_style

# Vienot, Brettel and Mollon (1999): how dichromats see linear RGB.
PROTANOPE = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTERANOPE = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


def linear(colour):
    channels = np.array(to_rgb(colour))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def seen(colour, matrix):
    light = np.clip(matrix @ linear(colour), 0, 1)
    return rgb2lab(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("matrix", [np.eye(3), PROTANOPE, DEUTERANOPE])
def test_colours_are_told_apart_with_any_colour_vision(matrix):
    for one, other in itertools.combinations([ACCENT, BASELINE, *PALETTE], 2):
        assert deltaE_ciede2000(seen(one, matrix), seen(other, matrix)) > 9, (one, other)


def test_the_accent_and_the_baseline_stand_out_on_white():
    luminance = {colour: linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (ACCENT, BASELINE)}
    for value in luminance.values():
        assert 1.05 / (value + 0.05) > 3  # WCAG 2.1, 1.4.11: graphical objects


def test_figures_have_the_width_of_the_book_and_the_accent_first():
    with matplotlib.rc_context():
        use_book_style()
        fig, axes = figure(2, 3)
        (line,) = axes[0, 0].plot([0, 1])
        assert axes.shape == (2, 3)
        assert fig.get_size_inches().tolist() == [WIDTH, 5.2]
        assert line.get_color() == ACCENT
        assert figure(height=4)[0].get_size_inches()[1] == 4
        plt.close("all")
