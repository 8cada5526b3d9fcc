"""Stein variational directions: particles that share their drives and keep apart."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_positive


def median_bandwidth(
    squared_distances: Float[Tensor, "*batch n n"],
    *,
    scale: float | Float[Tensor, "*#batch"] = 1.0,
    power: int = 1,
    floor: float = 5e-6,
) -> Float[Tensor, "*batch"]:
    """Bandwidth h of the kernel exp(−distance²/h), by the median of the pairs.

    Parameters
    ----------
    squared_distances
        Squared distances of at least two particles, all pairs, the diagonal included.
    scale
        Factor c.
    power
        1: h = c·median / log n, in the units of the squared distances. 2, which SVH-PSL's code takes: h = c·median² /
        log n, so that the kernel depends on the units.
    floor
        The bandwidth where the median is 0.

    Returns
    -------
    One bandwidth a set of particles.

    Raises
    ------
    ValueError
        If there are fewer than two particles, `scale` or `floor` is not positive, or `power` is neither 1 nor 2.

    References
    ----------
    Liu and Wang (2016), Stein variational gradient descent, Section 5; Nguyen et al. (2025), SVH-PSL (its code).
    """
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2; got {power}")
    check_positive("scale", scale)
    check_positive("floor", floor)
    squared_distances, scale = as_floats(squared_distances=squared_distances, scale=scale)
    if squared_distances.ndim < 2 or squared_distances.shape[-2] != squared_distances.shape[-1]:
        raise ValueError(
            f"squared_distances must be those of all pairs, n by n; got shape {tuple(squared_distances.shape)}"
        )
    n = squared_distances.shape[-1]
    if n < 2:
        raise ValueError(f"squared_distances must be of at least 2 particles, as log 1 = 0; got {n}")
    pairs = squared_distances.detach().flatten(-2)
    median = (pairs.kthvalue((n * n + 1) // 2).values + pairs.kthvalue(n * n // 2 + 1).values) / 2
    return torch.where(median > 0, scale * median**power / math.log(n), floor)


def stein_variational_direction(
    kernel: Float[Tensor, "*batch n n"],
    drives: Float[Tensor, "*batch n p"],
    repulsions: Float[Tensor, "*batch n p"],
) -> Float[Tensor, "*batch n p"]:
    """Direction of Stein variational gradient descent: each particle follows all drives, and leaves the others.

    Parameters
    ----------
    kernel
        K_ij of particles i and j.
    drives
        What particle j alone would follow: the score of the target where particles are to sample it.
    repulsions
        Σ_j ∇_j K_ij, a row for each particle i.

    Returns
    -------
    (1/n) (Σ_j K_ij drive_j + repulsion_i), one row a particle.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Liu and Wang (2016), Stein variational gradient descent, eq. 8.
    """
    kernel, drives, repulsions = as_floats(kernel=kernel, drives=drives, repulsions=repulsions, finite=False)
    if not kernel.shape[-2:] == (drives.shape[-2], drives.shape[-2]) or repulsions.shape != drives.shape:
        raise ValueError(
            "kernel must be n by n, and drives and repulsions n rows of one length; got shapes "
            f"{tuple(kernel.shape)}, {tuple(drives.shape)} and {tuple(repulsions.shape)}"
        )
    return (kernel @ drives + repulsions) / kernel.shape[-1]
