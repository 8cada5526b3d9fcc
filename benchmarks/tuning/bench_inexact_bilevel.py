"""Inexact bilevel learning beside torchopt and scikit-image: a hypergradient, and total variation denoising.

Both work on four photographs of 96 × 96 pixels with noise of standard deviation 0.1.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchopt
from skimage.restoration import denoise_tv_chambolle

from regularity.data import block_mean, centre_crop, photograph
from regularity.foundations.metrics import psnr
from regularity.foundations.noise import add_gaussian_noise
from regularity.tuning.inexact_bilevel import TotalVariation, inexact_hypergradient, solve_lower

NAMES = ("camera", "astronaut", "coffee", "chelsea")
SQUARES = [centre_crop(photograph(name), 288) for name in NAMES]
CLEAN = torch.stack([block_mean(square, 3) for square in SQUARES])[:, None].double()
NOISY = add_gaussian_noise(CLEAN, 0.1, torch.Generator().manual_seed(0))
PROBLEM = TotalVariation(NOISY, CLEAN)
THETA = torch.tensor([-2.2, -4.8], dtype=torch.float64)
MINIMISER = solve_lower(PROBLEM, THETA, NOISY, accuracy=1e-9).values
TOLERANCE = 1e-6  # of the linear system, for both


def lower(x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Write the lower objective out, for automatic differentiation."""
    weight, smoothing = theta.exp()
    variation = sum((torch.diff(x, dim=axis) ** 2 + smoothing**2).sqrt().sum() for axis in (2, 3))
    return (x - NOISY).square().sum() / 2 + weight / 2 * variation


def upper(x: torch.Tensor) -> torch.Tensor:
    """Half the squared error, a mean over the images."""
    return (x - CLEAN).square().sum() / (2 * len(x))


@torchopt.diff.implicit.custom_root(
    torch.func.grad(lower, argnums=0),
    argnums=1,
    solve=torchopt.linear_solve.solve_cg(rtol=0.0, atol=TOLERANCE, maxiter=1000),
)
def minimise(start: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Return the minimiser; both are given it."""
    return MINIMISER


def hypergradient_by_torchopt() -> torch.Tensor:
    """Implicit differentiation by torchopt, its conjugate gradients stopped at the same residual."""
    theta = THETA.clone().requires_grad_()
    upper(minimise(NOISY, theta)).backward()
    return theta.grad


def hypergradient_by_us() -> torch.Tensor:
    """The same, with its error bound computed as well."""
    found = inexact_hypergradient(PROBLEM, THETA, MINIMISER, accuracy=1e-8, linear_accuracy=TOLERANCE)
    return found.values


@pytest.mark.filterwarnings("ignore:We've integrated functorch:FutureWarning")
def test_hypergradient(compare: Callable[..., None]) -> None:
    """One hypergradient at the minimiser, at one residual of the linear system."""
    exact = inexact_hypergradient(PROBLEM, THETA, MINIMISER, accuracy=1e-8, linear_accuracy=1e-11).values
    errors = [
        ((found() - exact).norm() / exact.norm()).item()
        for found in (hypergradient_by_us, hypergradient_by_torchopt)
    ]
    assert max(errors) < 1e-5
    compare(
        "hypergradient, total variation, 4 photographs of 96 × 96",
        method="inexact_hypergradient",
        peer="torchopt",
        run_method=hypergradient_by_us,
        run_peer=hypergradient_by_torchopt,
        quality=(errors[0], errors[1]),
        quality_name="relative error",
        note="The Hessian is written out and applied; torchopt differentiates the gradient anew at every product.",
    )


def test_denoising(compare: Callable[..., None]) -> None:
    """Total variation at the learned parameters, against the isotropic one at its best weight."""
    noisy = NOISY[:, 0].numpy()

    def by_skimage() -> np.ndarray:
        return np.stack(
            [denoise_tv_chambolle(image, weight=0.07, eps=1e-5, max_num_iter=500) for image in noisy]
        )

    def by_us() -> torch.Tensor:
        return solve_lower(PROBLEM, THETA, NOISY, accuracy=0.3).values

    ours = float(psnr(by_us(), CLEAN).mean())
    theirs = float(psnr(torch.as_tensor(by_skimage())[:, None], CLEAN).mean())
    assert ours == pytest.approx(theirs, abs=0.3)
    compare(
        "total variation denoising, 4 photographs of 96 × 96",
        method="solve_lower",
        peer="scikit-image",
        run_method=by_us,
        run_peer=by_skimage,
        n_units=len(NAMES),
        quality=(ours, theirs),
        quality_name="PSNR (dB)",
        note="Ours is anisotropic, smoothed, and stops at a certified distance; the peer's is isotropic.",
    )
