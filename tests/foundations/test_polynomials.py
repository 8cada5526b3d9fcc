"""Orthonormal polynomials against SciPy's and against the moments of their laws."""

import math

import numpy as np
import pytest
import scipy.special
import torch

from regularity.foundations.polynomials import (
    gauss_hermite,
    gauss_legendre,
    hermite_basis,
    legendre_basis,
    product_basis,
    total_degree_indices,
)
from tests.draws import random


def test_hermite_polynomials_are_scipys_to_scale():
    points = 2 * random(7)
    theirs = [
        scipy.special.eval_hermitenorm(j, points.numpy()) / math.sqrt(math.factorial(j)) for j in range(9)
    ]
    torch.testing.assert_close(hermite_basis(points, 8), torch.tensor(np.stack(theirs, axis=-1)))


def test_legendre_polynomials_are_scipys_to_scale():
    points = random(3, 4).tanh()
    theirs = [math.sqrt(2 * j + 1) * scipy.special.eval_legendre(j, points.numpy()) for j in range(9)]
    torch.testing.assert_close(legendre_basis(points, 8), torch.tensor(np.stack(theirs, axis=-1)))


@pytest.mark.parametrize(
    ("quadrature", "moment"),
    [
        (gauss_hermite, lambda power: math.prod(range(1, power, 2)) if power % 2 == 0 else 0.0),
        (gauss_legendre, lambda power: 1 / (power + 1) if power % 2 == 0 else 0.0),
    ],
)
def test_quadrature_meets_the_moments_of_its_law_up_to_its_degree_and_no_further(quadrature, moment):
    nodes, weights = quadrature(6)
    for power in range(12):
        assert float(weights @ nodes**power) == pytest.approx(moment(power), rel=1e-12, abs=1e-11)
    assert float(weights @ nodes**12) != pytest.approx(moment(12), rel=1e-6)


def test_total_degree_lists_every_monomial_once():
    indices = total_degree_indices(3, 4)
    expected = {(i, j, k) for i in range(5) for j in range(5) for k in range(5) if i + j + k <= 4}
    assert len(indices) == math.comb(7, 3)
    assert set(map(tuple, indices.tolist())) == expected
    assert indices.sum(1).tolist() == sorted(indices.sum(1).tolist())


def test_products_are_orthonormal_under_the_product_law():
    nodes, weights = gauss_hermite(5)
    grid = torch.cartesian_prod(nodes, nodes)
    law = torch.outer(weights, weights).flatten()
    values = product_basis(hermite_basis(grid, 4), total_degree_indices(2, 4))
    torch.testing.assert_close(values.T @ (law[:, None] * values), torch.eye(15, dtype=torch.float64))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hermite_basis(torch.ones(2), -1), "degree must be at least 0; got -1"),
        (lambda: hermite_basis(torch.tensor([1e30]), 3), "points must be small enough for degree 3"),
        (lambda: legendre_basis(torch.tensor([0.5, -1.5]), 2), r"points must lie in \[-1, 1\]; got -1.5"),
        (lambda: gauss_legendre(0), "n_nodes must be at least 1; got 0"),
        (lambda: gauss_hermite(-2), "n_nodes must be at least 1; got -2"),
        (lambda: total_degree_indices(0, 2), "n_variables must be at least 1; got 0"),
        (
            lambda: product_basis(torch.ones(2, 1, 3), torch.tensor([[3]])),
            r"indices must lie in 0..2.*got 3..3",
        ),
        (lambda: product_basis(torch.ones(2, 1, 3), torch.tensor([[0, 0]])), "one column for each variable"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
def test_degrees_that_are_no_whole_numbers_are_refused():
    with pytest.raises(TypeError, match=r"indices must be whole numbers; got torch.float32"):
        product_basis(torch.ones(2, 1, 3), torch.ones(1, 1))
