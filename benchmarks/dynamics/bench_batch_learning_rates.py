"""Curvature of a network beside curvlinops: 40 Lanczos steps and 100 Hutchinson draws.

The products, `regularity.foundations.curvature`, are those of all chapters on what the optimiser regularises. The
network has 4,810 parameters, the loss is the mean cross-entropy of scikit-learn's 1,797 digits.
"""

from collections.abc import Callable

import pytest
import torch
from curvlinops import GGNLinearOperator, HessianLinearOperator, hutchinson_trace
from curvlinops.papyan2020traces.spectrum import fast_lanczos
from torch import nn

from regularity.dynamics.batch_learning_rates import NETWORKS, SampledLoss, experiment, first_points
from regularity.foundations import curvature

N_STEPS, N_DRAWS = 40, 100
(IMAGES, LABELS), *_ = experiment.split_images("digits", [1797], torch.Generator().manual_seed(0))
NETWORK = NETWORKS["perceptron"](64, 64)
_, CALL = curvature.flat_parameters(NETWORK)
POINT = first_points(NETWORK, 1, torch.Generator().manual_seed(1))[0]
nn.utils.vector_to_parameters(POINT, NETWORK.parameters())
SAMPLED = SampledLoss(CALL, IMAGES, LABELS)


def peer(operator: type) -> HessianLinearOperator | GGNLinearOperator:
    """The matrix by the peer, without its check that the loss is deterministic."""
    data = [(IMAGES, LABELS)]
    parameters = list(NETWORK.parameters())
    return operator(NETWORK, nn.CrossEntropyLoss(), parameters, data, check_deterministic=False)


def test_lanczos(compare: Callable[..., None]) -> None:
    """The largest eigenvalue of the Hessian, from the network to the number."""

    def ours() -> float:
        start = torch.randn(POINT.shape)
        return curvature.extreme_eigenvalues(SAMPLED.product(POINT), start, n_steps=N_STEPS).largest

    def theirs() -> float:
        return fast_lanczos(peer(HessianLinearOperator), N_STEPS)[0][-1].item()

    torch.manual_seed(0)
    largest, other = ours(), theirs()
    assert largest == pytest.approx(other, rel=1e-4)
    compare(
        f"{N_STEPS} Lanczos steps, 4,810 parameters",
        method="extreme_eigenvalues",
        peer="curvlinops-for-pytorch",
        run_method=ours,
        run_peer=theirs,
        quality=(largest, other),
        quality_name="largest eigenvalue",
        note="The graph of the gradient is made once and serves all products; ours also orthogonalises twice.",
    )


def test_hutchinson(compare: Callable[..., None]) -> None:
    """The trace of the Gauss-Newton matrix from as many random signs."""

    def ours() -> float:
        return curvature.hutchinson_trace(
            SAMPLED.product(POINT, "gauss-newton"), POINT, n_draws=N_DRAWS
        ).value

    def theirs() -> float:
        return hutchinson_trace(peer(GGNLinearOperator), N_DRAWS).item()

    torch.manual_seed(0)
    product = SAMPLED.product(POINT, "gauss-newton")
    estimate = curvature.hutchinson_trace(product, POINT, n_draws=N_DRAWS)
    trace, other = estimate.value, theirs()
    assert abs(trace - other) < 6 * estimate.error
    compare(
        f"{N_DRAWS} Hutchinson draws, 4,810 parameters",
        method="hutchinson_trace",
        peer="curvlinops-for-pytorch",
        run_method=ours,
        run_peer=theirs,
        quality=(trace, other),
        quality_name="trace",
        note="Ours makes its graph once and takes the draws one by one; the peer multiplies a matrix of draws.",
    )
