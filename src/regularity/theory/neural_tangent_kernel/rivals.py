"""What a practitioner would use instead: kernel ridge regression."""

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_not_negative


def kernel_ridge(
    kernel: Float[Tensor, "n n"],
    cross: Float[Tensor, "m n"],
    targets: Float[Tensor, "n k"],
    penalties: Float[Tensor, " p"],
) -> Float[Tensor, "p m k"]:
    """Predictions cross·(kernel + n·penalty·I)⁻¹·targets for each penalty, from one decomposition.

    Parameters
    ----------
    kernel, cross
        Between the data, and from the points of prediction to the data.
    targets
        One column an output.
    penalties
        Not negative.

    Returns
    -------
    The predictions at each penalty.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, or a penalty is negative.
    """
    kernel, cross, targets, penalties = as_floats(
        kernel=kernel, cross=cross, targets=targets, penalties=penalties
    )
    check_not_negative("penalties", penalties)
    n = len(kernel)
    if kernel.shape != (n, n) or cross.shape[-1] != n or targets.ndim != 2 or len(targets) != n:
        shapes = ", ".join(str(tuple(given.shape)) for given in (kernel, cross, targets))
        raise ValueError(f"kernel, cross and targets must be (n, n), (m, n) and (n, k); got {shapes}")
    values, vectors = torch.linalg.eigh(kernel)
    strengths = values.clamp_min(0) + n * penalties[:, None]
    floor = torch.finfo(kernel.dtype).eps * n * values[-1]
    inverse = torch.where(strengths > floor, 1 / strengths.clamp_min(floor), 0.0)
    return (cross @ vectors) @ (inverse[:, :, None] * (vectors.T @ targets))
