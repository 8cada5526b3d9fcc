"""How good an answer is: image quality by scikit-image's measure, and hypervolume of sets of objective values."""

import math

import moocore
import numpy as np
import torch
from jaxtyping import Bool, Float
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from regularity.foundations.checks import as_floats, as_unit_interval, check_finite


def psnr(estimate: Float[Tensor, "n c h w"], truth: Float[Tensor, "n c h w"]) -> Float[np.ndarray, " n"]:
    """Peak signal-to-noise ratio of each image.

    Parameters
    ----------
    estimate
        Estimated intensities; clipped to [0, 1] first, as a display would.
    truth
        True intensities in [0, 1].

    Returns
    -------
    −10 log₁₀ of the mean squared error, in dB, one an image; infinity for a perfect estimate.

    Raises
    ------
    ValueError
        If the shapes differ, `truth` is not in [0, 1] (divide 0 to 255 by 255) or `estimate` is not finite.

    Examples
    --------
    An error of 0.1 at each pixel is 20 dB, one of 0.01 is 40 dB:

    >>> truth = torch.full((2, 1, 4, 4), 0.5)
    >>> psnr(truth + torch.tensor([0.1, 0.01])[:, None, None, None], truth).round(3)
    array([20., 40.])
    """
    (estimate,), truth = as_floats(estimate=estimate), as_unit_interval("truth", truth)
    if truth.ndim != 4:
        raise ValueError(f"truth must have four axes, n c h w; got shape {tuple(truth.shape)}")
    if estimate.shape != truth.shape:
        raise ValueError(
            f"estimate must have the shape of truth; got {tuple(estimate.shape)} for {tuple(truth.shape)}"
        )
    ours, true = (images.detach().clamp(0, 1).double().cpu().numpy() for images in (estimate, truth))
    with np.errstate(divide="ignore"):  # a perfect estimate has no error to divide by
        return np.array(
            [peak_signal_noise_ratio(*pair, data_range=1) for pair in zip(true, ours, strict=True)]
        )


def _check_objectives(name: str, points: Tensor, reference: Tensor, most: int | float = math.inf) -> None:
    m = points.shape[-1]
    if not 2 <= m <= most:
        allowed = "two or three objectives" if most == 3 else "two objectives or more"
        raise ValueError(f"{name} must have {allowed}; got {m}")
    if reference.shape[-1] != m:
        raise ValueError(f"reference must have one entry an objective, {m}; got {reference.shape[-1]}")
    check_finite("reference", reference)
    if not bool((points > -torch.inf).all()):
        raise ValueError(f"{name} must be numbers above −∞; got NaN or −∞")


def _staircases(front: Tensor, reference: Tensor) -> tuple[Tensor, ...]:
    """Cut what `front` leaves undominated into columns, within slabs of the third objective where there is one.

    Returns the columns' sides (g), the slabs' sides (s) and the height that is free in each column and slab (s g).
    """
    m = front.shape[-1]
    reference = reference.expand(*front.shape[:-2], m)
    front = torch.minimum(front, reference[..., None, :])
    front = front.gather(-2, front[..., :1].argsort(dim=-2).expand_as(front))
    first, second, infinity = front[..., 0], front[..., 1], torch.full_like(reference[..., :1], torch.inf)
    left, right = torch.cat([-infinity, first], dim=-1), torch.cat([first, reference[..., :1]], dim=-1)
    if m == 2:
        bottom, top = torch.zeros_like(infinity), torch.ones_like(infinity)
        present = second[..., None, :]
    else:
        levels = front[..., 2].sort(dim=-1).values
        bottom, top = torch.cat([-infinity, levels], dim=-1), torch.cat([levels, reference[..., 2:]], dim=-1)
        below = front[..., None, :, 2] <= bottom[..., :, None]
        present = torch.where(below, second[..., None, :], reference[..., 1, None, None])
    ceiling = reference[..., 1, None, None].expand(*present.shape[:-1], 1)
    heights = torch.cat([ceiling, present], dim=-1).cummin(dim=-1).values
    return left, right, bottom, top, heights


def hypervolume_improvement(
    candidates: Float[Tensor, "*#batch c m"],
    front: Float[Tensor, "*#batch n m"],
    reference: Float[Tensor, "*#batch m"],
) -> Float[Tensor, "*batch c"]:
    """Volume that each candidate alone would add to what a front dominates.

    Parameters
    ----------
    candidates
        Objective values, two or three objectives, minimised.
    front
        Objective values of a set of points; dominated ones change nothing.
    reference
        Point that bounds the volume; what lies beyond it adds nothing.

    Returns
    -------
    The volume within `reference` that a candidate dominates and no point of `front` does.

    Raises
    ------
    ValueError
        If there are neither two nor three objectives, or `reference` has another number of them.

    References
    ----------
    Emmerich, Yang, Deutz, Wang and Fonseca (2016), A multicriteria generalization of Bayesian global optimization.
    """
    candidates, front, reference = as_floats(
        candidates=candidates, front=front, reference=reference, finite=False, empty=True
    )
    _check_objectives("front", front, reference, most=3)
    _check_objectives("candidates", candidates, reference, most=3)
    left, right, bottom, top, heights = _staircases(front, reference)
    first, second = candidates[..., :1], candidates[..., 1, None, None]
    third = candidates[..., 2:] if candidates.shape[-1] == 3 else torch.zeros_like(first)
    widths = (right[..., None, :] - torch.maximum(left[..., None, :], first)).clamp_min(0)
    depths = (top[..., None, :] - torch.maximum(bottom[..., None, :], third)).clamp_min(0)
    free = (heights[..., None, :, :] - second).clamp_min(0)
    return ((free @ widths[..., None])[..., 0] * depths).sum(dim=-1)


def hypervolume(
    points: Float[Tensor, "*batch n m"], reference: Float[Tensor, "*#batch m"]
) -> Float[Tensor, "*batch"]:
    """Volume that a set of points dominates, within a reference point; moocore computes it.

    Parameters
    ----------
    points
        Objective values, two objectives or more, minimised; bounded below.
    reference
        Point that bounds the volume; points beyond it add nothing.

    Returns
    -------
    The volume, exact; 0, and nothing else, where no point dominates `reference`. No gradient flows.

    Raises
    ------
    ValueError
        If there are fewer than two objectives, `reference` has another number of them, or an entry is NaN, −∞ or, of
        `reference`, infinite.

    References
    ----------
    Zitzler and Thiele (1998), Multiobjective optimization using evolutionary algorithms.

    Examples
    --------
    >>> hypervolume(torch.tensor([[0.0, 0.5], [0.5, 0.0]]), torch.tensor([1.0, 1.0]))
    tensor(0.7500)
    """
    points, reference = as_floats(points=points, reference=reference, finite=False, empty=True)
    _check_objectives("points", points, reference)
    batch = points.shape[:-2]
    sets = points.detach().double().cpu().numpy().reshape(math.prod(batch), *points.shape[-2:])
    corners = reference.detach().double().cpu().expand(*batch, -1).numpy().reshape(len(sets), -1)
    inside = (sets < corners[:, None]).all(axis=-1)
    volumes = [
        moocore.hypervolume(one[kept], ref=corner) if kept.any() else 0.0
        for one, kept, corner in zip(sets, inside, corners, strict=True)
    ]
    return torch.tensor(volumes, dtype=points.dtype, device=points.device).reshape(batch)


def nondominated(points: Float[Tensor, "*batch n m"]) -> Bool[Tensor, "*batch n"]:
    """Say which points of a set no other point dominates.

    Parameters
    ----------
    points
        Objective values, minimised; any number of objectives.

    Returns
    -------
    True for the points that no other is at least as good as in every objective and better in one.

    Raises
    ------
    ValueError
        If an entry is NaN.
    """
    if bool(torch.isnan(points).any()):
        raise ValueError("points must be numbers; got NaN")
    one, other = points[..., :, None, :], points[..., None, :, :]
    dominated = (other <= one).all(dim=-1) & (other < one).any(dim=-1)
    return ~dominated.any(dim=-1)
