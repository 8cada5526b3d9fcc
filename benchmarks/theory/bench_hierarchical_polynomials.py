"""Hierarchical polynomials beside scikit-learn's kernel ridge regression: the error at equal samples.

Both see the same samples of one draw. `fit_kernel_ridge` solves scikit-learn's problem; `train_layerwise` knows that
there is a hidden quadratic, and not which.
"""

from collections.abc import Callable

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from regularity.theory.hierarchical_polynomials import (
    HierarchicalPolynomial,
    ThreeLayerNetwork,
    fit_kernel_ridge,
    polynomial_kernel,
    train_layerwise,
)

D, SHIFT, PENALTY = 20, 1.0, 0.1  # the kernel's are tuned
TARGET = HierarchicalPolynomial(D)
SAMPLES = TARGET.draw(8 * D**2, torch.Generator().manual_seed(0))
TEST = TARGET.draw(2000, torch.Generator().manual_seed(1))
KERNEL = {"degree": 4, "shift": SHIFT}
ALPHA = PENALTY * polynomial_kernel(SAMPLES.inputs, SAMPLES.inputs, **KERNEL).diagonal().mean().item()


def error(predictions: torch.Tensor) -> float:
    """Mean squared error in units of the labels' variance."""
    return ((predictions - TEST.labels).square().mean() / TEST.labels.var()).item()


def fit_peer() -> KernelRidge:
    """(x·x'/(d(1 + s)) + s/(1 + s))⁴ is the kernel of `polynomial_kernel`."""
    scale = 1 / (1 + SHIFT)
    peer = KernelRidge(alpha=ALPHA, kernel="poly", degree=4, gamma=scale / D, coef0=SHIFT * scale)
    return peer.fit(SAMPLES.inputs.numpy(), SAMPLES.labels.numpy())


def peer_error() -> float:
    """Its test error."""
    return error(torch.as_tensor(fit_peer().predict(TEST.inputs.numpy())))


def fit_kernel() -> torch.Tensor:
    """The same regression by our functions."""
    return fit_kernel_ridge(
        polynomial_kernel(SAMPLES.inputs, SAMPLES.inputs, **KERNEL), SAMPLES.labels, PENALTY
    )


def fit_network() -> ThreeLayerNetwork:
    """Both stages, with nine candidates for the first one's penalty."""
    generator = torch.Generator().manual_seed(2)
    return train_layerwise(*SAMPLES[:2], degree=2, width1=280, generator=generator)


def test_kernel_ridge(compare: Callable[..., None]) -> None:
    """The same estimate, from the same kernel."""
    ours = error(polynomial_kernel(TEST.inputs, SAMPLES.inputs, **KERNEL) @ fit_kernel())
    theirs = peer_error()
    assert ours == pytest.approx(theirs, rel=1e-3)
    compare(
        "quartic kernel ridge, 3,200 samples",
        method="fit_kernel_ridge",
        peer="scikit-learn",
        run_method=fit_kernel,
        run_peer=fit_peer,
        quality=(ours, theirs),
        quality_name="relative error",
        note="Both solve one linear system of the samples' size.",
    )


def test_layerwise(compare: Callable[..., None]) -> None:
    """The method of the chapter: less error from the same samples."""
    ours, theirs = error(fit_network().predict(TEST.inputs)), peer_error()
    assert ours < 0.8 * theirs
    compare(
        "three layers, 3,200 samples",
        method="train_layerwise",
        peer="scikit-learn",
        run_method=fit_network,
        run_peer=fit_peer,
        quality=(ours, theirs),
        quality_name="relative error",
        note="Its linear systems have the size of the first layer, the peer's that of the samples.",
    )
