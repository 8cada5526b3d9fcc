"""What a practitioner would use instead: kernel ridge regression, with the Gaussian kernel."""

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_not_negative, check_positive, check_squares


def gaussian_kernel(
    points: Float[Tensor, "n d"], others: Float[Tensor, "m d"], *, lengthscale: float
) -> Float[Tensor, "n m"]:
    """exp(−‖x − z‖²/(2·lengthscale²))."""
    points, others = as_floats(points=points, others=others)
    check_positive("lengthscale", lengthscale)
    for name, values in {"points": points, "others": others}.items():
        if values.ndim != 2 or values.shape[1] != points.shape[1]:
            raise ValueError(
                f"{name} must be two-dimensional, with columns as points; got {tuple(values.shape)}"
            )
        check_squares(name, values / lengthscale)
    return torch.exp(-torch.cdist(points, others).square() / (2 * lengthscale**2))


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
