"""Hypergradients against closed forms, each other, finite differences and torchopt; linear solvers against LAPACK."""

from functools import partial

import numpy as np
import pytest
import torch
import torchopt
from scipy.optimize import minimize
from scipy.sparse.linalg import cg

from regularity.foundations.hypergradients import (
    NotPositiveDefiniteError,
    conjugate_gradients,
    implicit_hypergradient,
    neumann_series,
    unrolled_hypergradient,
)
from tests.draws import random


def spread_matrix(n, condition):
    """Symmetric, with eigenvalues in geometric progression from 1 to `condition`."""
    basis = torch.linalg.qr(random(n, n))[0]
    return basis @ torch.diag(torch.logspace(0, np.log10(condition), n, dtype=torch.float64)) @ basis.T


# --- Linear systems -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [1.0, 30.0, 1e6])
def test_conjugate_gradients_solve_what_lapack_solves(condition):
    matrix, right = spread_matrix(20, condition), random(20, seed=1)
    found = conjugate_gradients(lambda q: matrix @ q, right, tolerance=1e-9)
    assert found.residual == pytest.approx(torch.linalg.norm(right - matrix @ found.values).item(), rel=1e-6)
    assert found.residual <= 1e-9
    exact = torch.as_tensor(np.linalg.solve(matrix.numpy(), right.numpy()))
    # The smallest eigenvalue is 1, so that the error is at most the residual.
    assert torch.linalg.norm(found.values - exact) <= found.residual + 1e-10


def test_conjugate_gradients_take_the_steps_that_scipy_takes():
    matrix, right = spread_matrix(30, 50.0), random(30, seed=1)
    for n_iterations in (1, 4, 9):
        theirs, _ = cg(matrix.numpy(), right.numpy(), rtol=0.0, atol=1e-30, maxiter=n_iterations)
        ours = conjugate_gradients(lambda q: matrix @ q, right, tolerance=1e-30, n_iterations=n_iterations)
        np.testing.assert_allclose(ours.values, theirs, rtol=1e-10)
        assert ours.n_products == n_iterations + 1  # the last one certifies the residual


def test_as_many_iterations_as_distinct_eigenvalues_are_enough():
    basis = torch.linalg.qr(random(12, 12))[0]
    matrix = basis @ torch.diag(torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64).repeat(4)) @ basis.T
    found = conjugate_gradients(lambda q: matrix @ q, random(12, seed=1), tolerance=1e-10)
    assert found.n_products == 4


def test_a_good_start_costs_one_product_and_a_small_right_side_none():
    matrix, right = spread_matrix(20, 30.0), random(20, seed=1)
    exact = torch.linalg.solve(matrix, right)
    warm = conjugate_gradients(lambda q: matrix @ q, right, tolerance=1e-9, start=exact)
    assert warm.n_products == 1
    assert torch.equal(warm.values, exact)
    # The traps of a loop that tests its stop first: zero solves to within the tolerance, the right side does not.
    small = conjugate_gradients(lambda q: matrix @ q, 1e-12 * right, tolerance=1e-9)
    assert small.n_products == 0
    assert torch.equal(small.values, torch.zeros_like(right))


def test_the_residual_is_the_true_one_where_the_recursion_drifts():
    """In single precision with condition 10⁶ the recursion claims what the solution does not keep."""
    matrix, right = spread_matrix(60, 1e6).float(), random(60, seed=1).float()
    found = conjugate_gradients(lambda q: matrix @ q, right, tolerance=1e-6, n_iterations=400)
    true = torch.linalg.norm(right.double() - matrix.double() @ found.values.double()).item()
    assert found.residual == pytest.approx(true, rel=0.5)
    assert true > 1e-6  # out of reach, and it says so


def test_solvers_take_tensors_of_any_shape():
    weights = random(3, 4, 5).square() + 1
    right = random(3, 4, 5, seed=1)
    exact = right / weights
    found = conjugate_gradients(lambda q: weights * q, right, tolerance=1e-12)
    torch.testing.assert_close(found.values, exact)
    series = neumann_series(lambda q: weights * q, right, step=1 / weights.max().item(), n_terms=400)
    torch.testing.assert_close(series.values, exact, rtol=1e-6, atol=1e-6)


def test_the_neumann_series_is_the_sum_of_powers():
    matrix, right, step = spread_matrix(6, 4.0), random(6, seed=1), 0.3
    powers = [
        torch.linalg.matrix_power(torch.eye(6, dtype=torch.float64) - step * matrix, j) for j in range(8)
    ]
    found = neumann_series(lambda q: matrix @ q, right, step=step, n_terms=7)
    torch.testing.assert_close(found.values, step * sum(powers[:7]) @ right)
    true = torch.linalg.norm(right - matrix @ found.values).item()
    assert found.residual == pytest.approx(true, rel=1e-10)
    assert found.residual == pytest.approx(torch.linalg.norm(powers[7] @ right).item(), rel=1e-10)


@pytest.mark.parametrize("spectrum", [[1.0, -2.0, 3.0], [0.0, 0.0, 0.0]])
def test_a_matrix_that_is_not_positive_definite_is_named(spectrum):
    diagonal = torch.tensor(spectrum, dtype=torch.float64)
    with pytest.raises(NotPositiveDefiniteError, match=r"not positive definite: dᵀAd = (-|0)"):
        conjugate_gradients(lambda q: diagonal * q, torch.ones_like(diagonal), tolerance=1e-9)


# --- Hypergradients -----------------------------------------------------------------------------------------------


def ridge(n=30, d=5):
    """Ridge regression with one log-penalty a coefficient, its validation loss, and both in closed form."""
    train, train_y = random(n, d), random(n, seed=1)
    held_out, held_out_y = random(n, d, seed=2), random(n, seed=3)

    def lower(w, theta):
        return (train @ w - train_y).square().sum() / 2 + (theta.exp() * w.square()).sum() / 2

    def upper(w, theta):
        return (held_out @ w - held_out_y).square().sum() / 2

    def solution(theta):
        return torch.linalg.solve(train.T @ train + torch.diag(theta.exp()), train.T @ train_y)

    def hypergradient(theta):
        """∂w/∂θⱼ = −M⁻¹ eⱼ e^θⱼ wⱼ."""
        w, inverse = solution(theta), torch.linalg.inv(train.T @ train + torch.diag(theta.exp()))
        return -(theta.exp() * w) * (inverse @ (held_out.T @ (held_out @ w - held_out_y)))

    return lower, upper, solution, hypergradient


def logistic(n=40, d=4):
    """Logistic regression: no closed form, and third derivatives that do not vanish."""
    features = random(n, d)
    labels = (features @ random(d, seed=5) + random(n, seed=6) > 0).double()

    def lower(w, theta):
        losses = torch.nn.functional.softplus(features @ w) - labels * (features @ w)
        return losses.sum() + (theta.exp() * w.square()).sum() / 2

    def upper(w, theta):
        return torch.sin(w).sum() + (w * theta).sum()  # any function of both

    return lower, upper, d


def minimise(lower, theta, d):
    """To rounding, by SciPy's trust region and exact second derivatives."""

    def fun(w):
        return lower(torch.as_tensor(w), theta).item()

    def jac(w):
        return torch.func.grad(lower)(torch.as_tensor(w), theta).numpy()

    def hess(w):
        return torch.func.hessian(lower)(torch.as_tensor(w), theta).numpy()

    return torch.as_tensor(
        minimize(fun, np.zeros(d), jac=jac, hess=hess, method="trust-exact", options={"gtol": 1e-13}).x
    )


THETA = torch.tensor([0.3, -1.0, 1.2, 0.5, 2.0], dtype=torch.float64)
exactly = partial(conjugate_gradients, tolerance=1e-12)


def test_implicit_hypergradient_of_ridge_is_its_closed_form():
    lower, upper, solution, hypergradient = ridge()
    found = implicit_hypergradient(lower, upper, solution(THETA), THETA, solve=exactly)
    torch.testing.assert_close(found, hypergradient(THETA), rtol=1e-9, atol=1e-11)


def test_one_shared_penalty_is_the_sum_of_all():
    lower, upper, solution, hypergradient = ridge()
    shared = torch.tensor(0.7, dtype=torch.float64)
    found = implicit_hypergradient(
        lambda w, theta: lower(w, theta.expand(5)),
        lambda w, theta: upper(w, theta),
        solution(shared.expand(5)),
        shared,
        solve=exactly,
    )
    torch.testing.assert_close(found, hypergradient(shared.expand(5)).sum(), rtol=1e-9, atol=1e-11)


def test_neumann_series_and_unrolling_go_to_the_same_limit():
    lower, upper, solution, hypergradient = ridge()
    step = 1 / torch.linalg.eigvalsh(torch.func.hessian(lower)(solution(THETA), THETA)).max().item()
    exact, errors = hypergradient(THETA), {}
    for n in (10, 200):
        by_series = implicit_hypergradient(
            lower, upper, solution(THETA), THETA, solve=partial(neumann_series, step=step, n_terms=n)
        )
        by_unrolling, last = unrolled_hypergradient(
            lambda w, theta: w - step * torch.func.grad(lower)(w, theta),
            upper,
            torch.zeros(5, dtype=torch.float64),
            THETA,
            n_steps=n,
        )
        errors[n] = [torch.linalg.norm(z - exact).item() for z in (by_series, by_unrolling)]
    torch.testing.assert_close(last, solution(THETA))
    assert min(errors[10]) > 1e-4
    assert max(errors[200]) < 1e-8


def test_unrolling_one_step_from_the_solution_is_one_term_of_the_series():
    """From x̂, T steps of gradient descent differentiate to T terms of the Neumann series."""
    lower, upper, solution, _ = ridge()
    for n in (1, 3):
        unrolled, last = unrolled_hypergradient(
            lambda w, theta: w - 0.01 * torch.func.grad(lower)(w, theta),
            upper,
            solution(THETA),
            THETA,
            n_steps=n,
        )
        series = implicit_hypergradient(
            lower, upper, last, THETA, solve=partial(neumann_series, step=0.01, n_terms=n)
        )
        torch.testing.assert_close(unrolled, series, rtol=1e-9, atol=1e-11)


def test_implicit_hypergradient_is_what_differences_of_the_solved_problem_give():
    lower, upper, d = logistic()
    theta = THETA[:d]
    found = implicit_hypergradient(lower, upper, minimise(lower, theta, d), theta, solve=exactly)
    step = 1e-5
    for j in range(d):
        shift = step * torch.eye(d, dtype=torch.float64)[j]
        ends = [upper(minimise(lower, t, d), t) for t in (theta + shift, theta - shift)]
        assert found[j].item() == pytest.approx((ends[0] - ends[1]).item() / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.filterwarnings("ignore:We've integrated functorch:FutureWarning")  # raised inside torchopt
def test_implicit_hypergradient_is_that_of_torchopt():
    lower, upper, d = logistic()
    minimiser = minimise(lower, THETA[:d], d)
    found = implicit_hypergradient(lower, upper, minimiser, THETA[:d], solve=exactly)

    @torchopt.diff.implicit.custom_root(
        torch.func.grad(lower, argnums=0),
        argnums=1,
        solve=torchopt.linear_solve.solve_cg(rtol=0.0, atol=1e-13),
    )
    def solver(start, theta):
        return minimiser

    theta = THETA[:d].clone().requires_grad_()
    upper(solver(torch.zeros(d, dtype=torch.float64), theta), theta).backward()
    torch.testing.assert_close(found, theta.grad, rtol=1e-9, atol=1e-11)


def test_an_inexact_solution_leaves_an_error_of_its_own_size():
    lower, upper, solution, hypergradient = ridge()
    errors = []
    for size in (1e-2, 1e-4):
        near = solution(THETA) + size * random(5, seed=9)
        found = implicit_hypergradient(lower, upper, near, THETA, solve=exactly)
        errors.append(torch.linalg.norm(found - hypergradient(THETA)).item())
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"n_iterations": 0}, "n_iterations must be at least 1; got 0"),
        ({"right": torch.tensor([1.0, torch.nan])}, "right must be finite"),
        ({"start": torch.tensor([1.0, torch.inf])}, "start must be finite"),
    ],
)
def test_conjugate_gradients_refuse(change, message):
    options = {"product": lambda q: q, "right": torch.ones(2), "tolerance": 1e-6} | change
    with pytest.raises(ValueError, match=message):
        conjugate_gradients(**options)


@pytest.mark.bad_input
def test_series_and_unrolling_refuse_counts_and_steps():
    one = torch.ones(1)
    with pytest.raises(ValueError, match="step must be positive"):
        neumann_series(lambda q: q, one, step=-1.0, n_terms=3)
    with pytest.raises(ValueError, match="n_terms must be at least 1; got 0"):
        neumann_series(lambda q: q, one, step=1.0, n_terms=0)
    with pytest.raises(ValueError, match="n_steps must be at least 1; got 0"):
        unrolled_hypergradient(lambda x, t: x, lambda x, t: x.sum(), one, one, n_steps=0)
