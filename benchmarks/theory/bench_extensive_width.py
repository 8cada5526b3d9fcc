"""Extensive width beside scikit-learn: learn a wide network with quadratic neurons from the same samples.

What a user would pick is a Gaussian process with the kernel of a quadratic network. `regress_on_products` is that
process, as a matrix; `gamp_rie` knows the spectrum of the network as well, and has less than half of its error.
"""

from collections.abc import Callable

import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

from regularity.foundations.spectra import wishart_law
from regularity.theory.extensive_width import (
    draw_samples,
    gamp_rie,
    label_variance,
    matrix_error,
    quadratic_forms,
    regress_on_products,
)

D, WIDTH_RATIO, NEURON_NOISE = 80, 0.5, 0.0625
LAW, NOISE = wishart_law(WIDTH_RATIO), label_variance(NEURON_NOISE)
DRAWN = draw_samples(D, WIDTH_RATIO, 0.4, NEURON_NOISE, generator=torch.Generator().manual_seed(0))
TEST = torch.randn(2000, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
PRIOR = LAW.mean * torch.eye(D, dtype=torch.float64)


def raw_forms(inputs: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """xᵀSx/√d, its mean left in."""
    return ((inputs @ matrix) * inputs).sum(dim=1) / D**0.5


def fit_peer() -> GaussianProcessRegressor:
    """A process with the kernel 2(x·x')²/d² and a constant of wide prior, around the prior mean."""
    kernel = 2 / D**2 * DotProduct(0.0, "fixed") ** 2 + 1e4
    residuals = DRAWN.labels - raw_forms(DRAWN.inputs, PRIOR)
    return GaussianProcessRegressor(kernel, alpha=NOISE, optimizer=None).fit(DRAWN.inputs, residuals)


def peer_error() -> float:
    """Half the mean squared error of its predictions on new inputs, which is the error of its matrix."""
    predicted = torch.as_tensor(fit_peer().predict(TEST.numpy())) + raw_forms(TEST, PRIOR)
    gap = quadratic_forms(TEST, DRAWN.matrix) - (predicted - predicted.mean())
    return gap.square().mean().item() / 2


def test_regression_on_products(compare: Callable[..., None]) -> None:
    """The same estimate, from the same kernel."""
    fit = regress_on_products(DRAWN.inputs, DRAWN.labels, LAW.mean, NOISE)
    gap = quadratic_forms(TEST, DRAWN.matrix) - quadratic_forms(TEST, fit)
    ours, theirs = gap.square().mean().item() / 2, peer_error()
    assert ours == pytest.approx(theirs, rel=1e-3)
    compare(
        "regression on products, 2,560 samples",
        method="regress_on_products",
        peer="scikit-learn",
        run_method=lambda: regress_on_products(DRAWN.inputs, DRAWN.labels, LAW.mean, NOISE),
        run_peer=fit_peer,
        quality=(ours, theirs),
        quality_name="error",
        note="Both solve one linear system of the samples' size.",
    )


def test_gamp_rie(compare: Callable[..., None]) -> None:
    """The method of the chapter: less error than any linear one."""

    def fit() -> torch.Tensor:
        return gamp_rie(DRAWN.inputs, DRAWN.labels, LAW, NOISE).estimate

    ours, theirs = matrix_error(fit(), DRAWN.matrix).item(), peer_error()
    assert ours < 0.7 * theirs
    compare(
        "GAMP-RIE, 2,560 samples",
        method="gamp_rie",
        peer="scikit-learn",
        run_method=fit,
        run_peer=fit_peer,
        quality=(ours, theirs),
        quality_name="error",
        note="An iteration costs nd² and one d × d eigenproblem, the peer's linear system n³.",
    )
