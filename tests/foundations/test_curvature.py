"""Curvature against dense matrices, ARPACK, closed forms, and its own parts against each other."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional

from regularity.foundations.curvature import (
    extreme_eigenvalues,
    flat_parameters,
    gauss_newton_product,
    hessian_product,
    hutchinson_trace,
    lanczos,
    spectral_density,
)
from tests.draws import random, seeded


def symmetric(n: int, seed: int = 0) -> torch.Tensor:
    matrix = random(n, n, seed=seed)
    return (matrix + matrix.T) / 2


def network() -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    with torch.no_grad():
        for number, weights in enumerate(layers.parameters()):
            weights.copy_(random(*weights.shape, seed=number))
    return layers


INPUTS, LABELS = random(20, 3, seed=9), torch.arange(20) % 4
POINT, CALL = flat_parameters(network())


def cross_entropy(outputs: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, LABELS)


def loss(point: torch.Tensor) -> torch.Tensor:
    return cross_entropy(CALL(point, INPUTS))


# --- Products ----------------------------------------------------------------------------------------------------


def test_flat_parameters_are_the_network_as_a_function() -> None:
    torch.testing.assert_close(CALL(POINT, INPUTS), network()(INPUTS))
    shifted = network()
    nn.utils.vector_to_parameters(POINT + 1, shifted.parameters())
    torch.testing.assert_close(CALL(POINT + 1, INPUTS), shifted(INPUTS))
    several = torch.func.vmap(CALL, in_dims=(0, None))(torch.stack([POINT, POINT + 1]), INPUTS)
    torch.testing.assert_close(several[1], shifted(INPUTS))


def test_flat_parameters_are_a_copy() -> None:
    layers = network()
    point, _ = flat_parameters(layers)
    point += 1
    torch.testing.assert_close(nn.utils.parameters_to_vector(layers.parameters()), POINT)


def test_hessian_product_is_the_dense_hessian() -> None:
    dense = torch.autograd.functional.hessian(loss, POINT)
    product = hessian_product(loss, POINT)
    columns = torch.stack([product(unit) for unit in torch.eye(len(POINT), dtype=torch.float64)])
    torch.testing.assert_close(columns, dense)


def test_hessian_product_is_a_difference_of_gradients() -> None:
    direction, step = random(len(POINT), seed=4), 1e-5
    slope = torch.func.grad(loss)
    difference = (slope(POINT + step * direction) - slope(POINT - step * direction)) / (2 * step)
    torch.testing.assert_close(hessian_product(loss, POINT)(direction), difference, rtol=1e-6, atol=1e-8)


def test_hessian_of_a_line_is_zero() -> None:
    assert hessian_product(lambda x: x.sum(), random(3))(random(3, seed=1)).tolist() == [0, 0, 0]


def test_products_map_over_several_vectors() -> None:
    product, vectors = hessian_product(loss, POINT), random(3, len(POINT), seed=2)
    torch.testing.assert_close(
        torch.func.vmap(product)(vectors), torch.stack([product(vector) for vector in vectors])
    )


def test_gauss_newton_is_jacobians_around_the_hessian_of_the_loss() -> None:
    jacobian = torch.func.jacrev(lambda point: CALL(point, INPUTS).flatten())(POINT)
    outputs = CALL(POINT, INPUTS)
    inner = torch.autograd.functional.hessian(cross_entropy, outputs).reshape(80, 80)
    product = gauss_newton_product(lambda point: CALL(point, INPUTS), cross_entropy, POINT)
    vector = random(len(POINT), seed=5)
    torch.testing.assert_close(product(vector), jacobian.T @ inner @ jacobian @ vector)


def test_softmax_regression_at_zero_has_a_kronecker_hessian() -> None:
    """There the Gauss-Newton matrix is the Hessian, and both are (I − 11ᵀ/C)/C ⊗ XᵀX/N."""
    point, call = flat_parameters(nn.Linear(3, 4, bias=False).double())
    expected = torch.kron((torch.eye(4) - 0.25).double() / 4, INPUTS.T @ INPUTS / 20)
    vector, zero = random(12, seed=6), torch.zeros_like(point)
    product = hessian_product(lambda weights: cross_entropy(call(weights, INPUTS)), zero)
    torch.testing.assert_close(product(vector), expected @ vector)
    gauss_newton = gauss_newton_product(lambda weights: call(weights, INPUTS), cross_entropy, zero)
    torch.testing.assert_close(gauss_newton(vector), expected @ vector)
    ends = extreme_eigenvalues(product, random(12), n_steps=12)
    largest = np.linalg.eigvalsh(INPUTS.T @ INPUTS / 20)[-1] / 4
    assert ends.largest == pytest.approx(largest, rel=1e-10)


# --- Lanczos -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [1, 7, 30])
def test_lanczos_satisfies_its_recursion(n_steps: int) -> None:
    matrix = symmetric(30)
    reduced = lanczos(matrix.mv, random(30), n_steps=n_steps)
    basis, beside = reduced.basis, reduced.off_diagonal[:-1]
    small = reduced.diagonal.diag() + beside.diag(1) + beside.diag(-1)
    remainder = matrix @ basis.T - basis.T @ small
    torch.testing.assert_close(basis @ basis.T, torch.eye(n_steps).double())
    torch.testing.assert_close(remainder[:, -1].norm(), reduced.off_diagonal[-1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(remainder[:, :-1], torch.zeros_like(remainder[:, :-1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_steps", [6, 15, 40])
def test_extremes_are_arpacks_within_their_own_bounds(n_steps: int) -> None:
    matrix = symmetric(200) + 40 * torch.outer(random(200, seed=3), random(200, seed=3)) / 200
    ends = extreme_eigenvalues(matrix.mv, random(200, seed=7), n_steps=n_steps)
    operator = LinearOperator((200, 200), matvec=lambda v: matrix.numpy() @ v, dtype=np.float64)
    smallest = eigsh(operator, 1, which="SA", return_eigenvectors=False)[0]
    largest = eigsh(operator, 1, which="LA", return_eigenvectors=False)[0]
    assert smallest <= ends.smallest + 1e-10
    assert ends.largest <= largest + 1e-10
    assert largest - ends.largest <= ends.largest_error + 1e-10
    if n_steps == 40:
        assert ends.largest == pytest.approx(largest, rel=1e-10)
        assert ends.smallest == pytest.approx(smallest, rel=1e-4)


def test_extremes_come_with_their_vectors() -> None:
    matrix = symmetric(40)
    ends = extreme_eigenvalues(matrix.mv, random(40), n_steps=10)
    for value, error, vector in (
        (ends.smallest, ends.smallest_error, ends.smallest_vector),
        (ends.largest, ends.largest_error, ends.largest_vector),
    ):
        assert vector.norm().item() == pytest.approx(1)
        assert (matrix @ vector - value * vector).norm().item() == pytest.approx(error)


def test_no_copies_of_the_extreme_eigenvalue_in_single_precision() -> None:
    """Without reorthogonalisation, forty steps on this spectrum find the top eigenvalue more than once."""
    diagonal = torch.cat([torch.linspace(0, 1, 99), torch.tensor([100.0])])
    values, _ = lanczos(lambda v: diagonal * v, torch.ones(100), n_steps=40).eigenpairs()
    assert (values > 50).sum() == 1


def test_lanczos_stops_where_the_directions_are_exhausted() -> None:
    diagonal = torch.tensor([1.0, 1.0, 2.0, 2.0, 5.0], dtype=torch.float64)
    reduced = lanczos(lambda v: diagonal * v, torch.ones(5, dtype=torch.float64), n_steps=5)
    assert reduced.off_diagonal[-1] == 0
    torch.testing.assert_close(reduced.eigenpairs()[0], torch.tensor([1.0, 2.0, 5.0]).double())


# --- Random probes -----------------------------------------------------------------------------------------------


def test_spectral_density_has_the_moments_of_each_direction() -> None:
    """With k steps the quadrature is exact up to degree 2k − 1: compare with vᵀAᵖv for the v that was drawn."""
    matrix, drawn = symmetric(30), []

    def product(vector: torch.Tensor) -> torch.Tensor:
        drawn.append(vector)
        return matrix @ vector

    nodes, weights = spectral_density(product, random(30), n_steps=4, n_draws=1, generator=seeded())
    for power in range(8):
        expected = drawn[0] @ torch.linalg.matrix_power(matrix, power) @ drawn[0]
        torch.testing.assert_close((weights * nodes**power).sum(), expected)


def test_spectral_density_approaches_the_semicircle() -> None:
    n = 400
    matrix = symmetric(n) * (2 / n) ** 0.5  # radius 2
    nodes, weights = spectral_density(matrix.mv, random(n), n_steps=30, n_draws=5, generator=seeded())
    assert (nodes.diff() >= 0).all()
    assert weights.sum().item() == pytest.approx(1)
    share = weights[nodes < 1].sum().item()
    exact = 0.5 + (3**0.5 / 4 + np.arcsin(0.5)) / np.pi
    assert share == pytest.approx(exact, abs=0.03)


def test_hutchinson_is_the_trace_within_its_error() -> None:
    matrix = symmetric(50)
    found = hutchinson_trace(matrix.mv, random(50), n_draws=400, generator=seeded(3))
    assert abs(found.value - matrix.trace().item()) < 3 * found.error
    variance = 2 * (matrix.square().sum() - matrix.diag().square().sum()).item()
    assert found.error == pytest.approx((variance / 400) ** 0.5, rel=0.15)


def test_hutchinson_draws_anew_each_time() -> None:
    """A frozen draw would report no error where there is one."""
    found = hutchinson_trace(symmetric(50).mv, random(50), n_draws=2, generator=seeded())
    assert found.error > 0.1


def test_density_and_trace_agree() -> None:
    product = hessian_product(loss, POINT)
    dense = torch.autograd.functional.hessian(loss, POINT)
    nodes, weights = spectral_density(product, POINT, n_steps=20, n_draws=200, generator=seeded(1))
    found = hutchinson_trace(product, POINT, n_draws=200, generator=seeded(1))
    mean = (weights * nodes).sum().item()
    assert mean * len(POINT) == pytest.approx(found.value, rel=1e-9)
    assert found.value == pytest.approx(dense.trace().item(), abs=4 * found.error)


# --- Bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("n_steps", [0, 4])
def test_refuse_steps_beyond_the_dimension(n_steps: int) -> None:
    with pytest.raises(ValueError, match=f"n_steps must be between 1 and the dimension 3; got {n_steps}"):
        lanczos(lambda v: v, random(3), n_steps=n_steps)


@pytest.mark.bad_input
def test_refuse_what_gives_no_direction() -> None:
    with pytest.raises(ValueError, match="start must not be zero"):
        extreme_eigenvalues(lambda v: v, torch.zeros(3), n_steps=2)
    with pytest.raises(ValueError, match=r"product must keep the shape \(3,\) of start; got \(1,\)"):
        lanczos(lambda v: v[:1], random(3), n_steps=2)


@pytest.mark.bad_input
@pytest.mark.parametrize("estimate", [spectral_density, hutchinson_trace])
def test_refuse_products_that_are_not_finite(estimate) -> None:
    options = {"n_steps": 2} if estimate is spectral_density else {}
    with pytest.raises(FloatingPointError, match="the product is not finite"):
        estimate(lambda v: v * float("nan"), random(3), **options)


@pytest.mark.bad_input
def test_refuse_too_few_draws() -> None:
    with pytest.raises(ValueError, match="n_draws must be at least 2; got 1"):
        hutchinson_trace(lambda v: v, random(3), n_draws=1)
    with pytest.raises(ValueError, match="n_draws must be at least 1; got 0"):
        spectral_density(lambda v: v, random(3), n_steps=2, n_draws=0)


@pytest.mark.bad_input
def test_refuse_a_network_without_parameters() -> None:
    with pytest.raises(ValueError, match="network must have parameters; got none"):
        flat_parameters(nn.Tanh())
