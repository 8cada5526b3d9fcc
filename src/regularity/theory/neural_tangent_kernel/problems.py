"""Points of the circle with the paper's goal, and images brought to a sphere."""

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_squares


def circle(angles: Float[Tensor, " n"]) -> Float[Tensor, "n 2"]:
    """Points of the unit circle at angles in radians."""
    (angles,) = as_floats(angles=angles)
    check_squares("angles", angles)
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def product_of_coordinates(points: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
    """The paper's goal f*(x) = x_1 x_2."""
    (points,) = as_floats(points=points)
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(f"points must be (n, d) with d of at least 2; got {tuple(points.shape)}")
    return points[:, :1] * points[:, 1:2]


def to_sphere(images: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Take the mean image away, and scale each to the length √d: inputs of mean square one.

    Raises
    ------
    ValueError
        If a number is not finite, or an image is the mean image.
    """
    (images,) = as_floats(images=images)
    check_squares("images", images)
    centred = images - images.mean(dim=0)
    lengths = centred.norm(dim=-1, keepdim=True)
    if not bool((lengths > 0).all()):
        raise ValueError("images must differ from their mean; got one that is it")
    return centred * centred.shape[-1] ** 0.5 / lengths
