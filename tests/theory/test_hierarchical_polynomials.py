"""Layerwise training against closed forms, NumPy, SciPy, scikit-learn, quadrature and population moments."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from torch import tensor

from regularity.foundations.polynomials import (
    gauss_hermite,
    hermite_basis,
    product_basis,
    total_degree_indices,
)
from regularity.theory.hierarchical_polynomials import (
    HierarchicalPolynomial,
    best_quadratic,
    descend,
    experiment,
    fit_kernel_ridge,
    inner_features,
    one_step_feature,
    polynomial_kernel,
    ridge,
    train_layerwise,
    train_relu_network,
)
from tests.draws import random, seeded

LINEAR = (0.0, 1.0)
TARGET = HierarchicalPolynomial(12)


def unit_rows(m, d, seed=0):
    return torch.nn.functional.normalize(random(m, d, seed=seed), dim=1)


# --- The target --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("terms", "degree"), [("powers", 1), ("powers", 2), ("powers", 3), ("products", 2)])
def test_the_feature_has_mean_zero_and_variance_one_by_quadrature(terms, degree):
    """Exactly, over a grid of Gauss nodes in four variables."""
    nodes, weights = gauss_hermite(5)
    points = tensor(list(product(nodes.tolist(), repeat=4)), dtype=torch.float64)
    mass = tensor([math.prod(w) for w in product(weights.tolist(), repeat=4)], dtype=torch.float64)
    values = HierarchicalPolynomial(4, degree, terms).feature(points)
    assert (mass @ values).item() == pytest.approx(0, abs=1e-12)
    assert (mass @ values.square()).item() == pytest.approx(1)


def test_feature_and_link_are_the_written_out_formulas():
    x = random(7, 4)
    p = ((x[:, 0] ** 2 - x[:, 1] ** 2 + x[:, 2] ** 2 - x[:, 3] ** 2) / math.sqrt(2)) / 2
    torch.testing.assert_close(HierarchicalPolynomial(4).feature(x), p)
    torch.testing.assert_close(
        HierarchicalPolynomial(4).apply_link(p), p / math.sqrt(2) + (p**2 - 1) / 2
    )  # (z + (z² − 1)/√2)/√2
    products = HierarchicalPolynomial(4, terms="products").feature(x)
    torch.testing.assert_close(products, (x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3]) / math.sqrt(2))
    samples = TARGET.draw(50, seeded(3))
    expected = TARGET.apply_link(TARGET.feature(samples.inputs.double())).float()
    torch.testing.assert_close(samples.labels, expected)


def test_best_quadratic_fit_is_that_of_quadrature():
    """All coefficients of degree up to 2 in four variables, by quadrature; the fit is their sum."""
    nodes, weights = gauss_hermite(6)
    points = tensor(list(product(nodes.tolist(), repeat=4)), dtype=torch.float64)
    mass = tensor([math.prod(w) for w in product(weights.tolist(), repeat=4)], dtype=torch.float64)
    target = HierarchicalPolynomial(4)
    p = target.feature(points)
    h = target.apply_link(p)
    basis = product_basis(hermite_basis(points, 2), total_degree_indices(4, 2))
    fit = basis @ (basis.T @ (mass * h))
    variance = mass @ h.square()
    found = best_quadratic(4)
    assert variance.item() == pytest.approx(1 + 3 / 4)
    assert found[0] == pytest.approx((mass @ (fit * p) / (mass @ fit.square()).sqrt()).item())
    assert found[1] == pytest.approx((mass @ (h - fit).square() / variance).item())
    squares = basis.T @ (mass * h)
    pure = squares[[i for i, row in enumerate(total_degree_indices(4, 2).tolist()) if max(row) == 2]]
    leak = pure - math.sqrt(2) / 4  # what p² adds along the radius
    torch.testing.assert_close(leak.abs(), torch.full((4,), 1 / math.sqrt(8)).double())


# --- The layers --------------------------------------------------------------------------------------------------


def test_inner_features_are_sums_of_numpy_s_hermite_polynomials():
    points, directions = random(300, 5), unit_rows(7, 5, seed=1)
    weights = [1 / math.sqrt(math.factorial(k)) for k in range(4)]
    expected = np.polynomial.hermite_e.hermeval((points @ directions.T).numpy(), weights)
    torch.testing.assert_close(inner_features(points, directions, 3), torch.as_tensor(expected))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_unit_rows_tie_a_constant_to_its_trace_and_others_do_not(degree):
    d, k = 4, degree
    points, monomials = random(400, d), math.comb(d + k, k)
    on_sphere = math.comb(d + k - 1, k) + math.comb(d + k - 2, k - 1)
    unit, free = unit_rows(2 * monomials, d, seed=1), random(2 * monomials, d, seed=1)
    assert torch.linalg.matrix_rank(inner_features(points, unit, k)) == on_sphere
    assert torch.linalg.matrix_rank(inner_features(points, free, k)) == monomials


def test_outer_features_have_the_relu_s_hermite_coefficients():
    """E[relu(z) h_k(z)] by SciPy's adaptive integrals: 1/√(2π), 1/2, 1/√(4π), 0."""
    network = train_layerwise(
        random(40, 2), random(40, seed=1), degree=1, width1=9, width2=2, generator=seeded()
    )
    values = torch.linspace(-2, 2, 9, dtype=torch.float64)
    hinges = torch.relu(values[:, None] / network.scale * network.slopes + network.shifts)
    torch.testing.assert_close(network.link(values), values + hinges @ network.combination)
    for k, expected in enumerate([1 / math.sqrt(2 * math.pi), 0.5, 1 / math.sqrt(4 * math.pi), 0.0]):

        def integrand(z, k=k):
            weight = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
            return max(z, 0) * hermite_basis(tensor([z], dtype=torch.float64), 3)[0, k].item() * weight

        assert quad(integrand, 0, 12)[0] == pytest.approx(expected, abs=1e-9)


# --- A stage -----------------------------------------------------------------------------------------------------


def test_ridge_is_scikit_learn_s():
    features, labels = random(30, 8), random(30, seed=1)
    gram, moment = features.T @ features / 30, features.T @ labels / 30
    penalties = tensor([1e-3, 0.1, 2.0], dtype=torch.float64)
    for penalty, found in zip(penalties.tolist(), ridge(gram, moment, penalties), strict=True):
        decay = penalty * features.square().mean().item()
        peer = Ridge(alpha=30 * decay, fit_intercept=False).fit(features.numpy(), labels.numpy())
        torch.testing.assert_close(found, torch.as_tensor(peer.coef_), rtol=1e-10, atol=1e-12)


def test_descent_follows_the_gradient_of_the_penalised_loss():
    """Automatic differentiation of the loss on samples, step by step."""
    features, labels = random(30, 8), random(30, seed=1)
    gram, moment = features.T @ features / 30, features.T @ labels / 30
    decay = 0.2 * gram.diagonal().mean()
    weights = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    for _ in range(7):
        loss = (labels - features @ weights).square().mean() / 2 + decay * weights.square().sum() / 2
        (slope,) = torch.autograd.grad(loss, weights)
        weights = (weights - 0.3 * slope).detach().requires_grad_()
    (found,) = descend(gram, moment, tensor([0.2]), n_steps=7, learning_rate=0.3)
    torch.testing.assert_close(found, weights.detach())


def test_descent_ends_at_ridge_and_without_decay_at_least_squares():
    features, labels = random(30, 8), random(30, seed=1)
    gram, moment = features.T @ features / 30, features.T @ labels / 30
    penalties = tensor([0.0, 0.05, 1.0], dtype=torch.float64)
    ends = descend(gram, moment, penalties, n_steps=4000)
    torch.testing.assert_close(ends, ridge(gram, moment, penalties), rtol=1e-12, atol=1e-12)
    least_squares = torch.linalg.lstsq(features, labels[:, None]).solution[:, 0]
    torch.testing.assert_close(ends[0], least_squares, rtol=1e-9, atol=1e-12)


# --- The algorithm -----------------------------------------------------------------------------------------------


def test_both_stages_are_the_written_out_regressions():
    """Each stage again by scikit-learn, on its own part of the samples."""
    inputs, labels = random(200, 3), random(200, seed=1)
    network = train_layerwise(
        inputs, labels, degree=2, width1=14, width2=20, penalties1=(0.05,), penalty2=0.1, generator=seeded(5)
    )
    features = inner_features(inputs, network.directions, 2)
    decay = 160 * 0.05 * features[:160].square().mean().item()
    first = Ridge(alpha=decay, fit_intercept=False).fit(features[:160].numpy(), labels[:160].numpy())
    torch.testing.assert_close(network.outer, torch.as_tensor(first.coef_))
    phi = features @ network.outer
    torch.testing.assert_close(network.feature(inputs), phi)
    assert network.scale == pytest.approx(phi[160:].std().item())
    torch.testing.assert_close(network.directions.norm(dim=1), torch.ones(14).double())
    assert set(network.slopes.tolist()) == {-1.0, 1.0}
    hinges = torch.relu(phi[160:, None] / network.scale * network.slopes + network.shifts)
    second = Ridge(alpha=40 * 0.1 * hinges.square().mean().item(), fit_intercept=False)
    second.fit(hinges.numpy(), (labels - phi)[160:].numpy())
    torch.testing.assert_close(network.combination, torch.as_tensor(second.coef_))
    hinges = torch.relu(phi[:, None] / network.scale * network.slopes + network.shifts)
    torch.testing.assert_close(network.predict(inputs), phi + hinges @ network.combination)


def test_the_penalty_is_that_of_least_error_on_the_second_part():
    target = HierarchicalPolynomial(6)
    samples = target.draw(150, seeded(1))
    penalties = (1e-4, 0.1, 100.0)
    options = {"degree": 2, "width1": 40}
    chosen = train_layerwise(*samples[:2], penalties1=penalties, generator=seeded(2), **options)
    inputs, labels = (values[120:] for values in samples[:2])
    errors = {
        penalty: (
            train_layerwise(*samples[:2], penalties1=(penalty,), generator=seeded(2), **options).feature(
                inputs
            )
            - labels
        )
        .square()
        .mean()
        .item()
        for penalty in penalties
    }
    assert chosen.penalty == min(errors, key=errors.get)
    assert len(set(errors.values())) == 3


def test_stage_1_finds_the_feature_and_stage_2_its_link():
    """Twelve dimensions, many samples; a network without stage 2 stays at the best quadratic's error."""
    samples, test = TARGET.draw(9000, seeded(1)), TARGET.draw(4000, seeded(2))
    network = train_layerwise(*samples[:2], degree=2, width1=115, generator=seeded(3))
    phi = network.feature(test.inputs)
    assert experiment.correlation(phi, test.hidden) > 0.95
    assert experiment.relative_error(phi, test.labels) > 0.4
    assert experiment.relative_error(network.predict(test.inputs), test.labels) < 0.2
    z = tensor([-1.0, 0.0, 1.0])
    slope = experiment.correlation(phi, test.hidden) / network.scale  # φ ≈ p by this factor
    torch.testing.assert_close(network.link(z / slope), TARGET.apply_link(z), rtol=0, atol=0.3)


def test_a_linear_link_needs_no_second_stage():
    target = HierarchicalPolynomial(8, link=LINEAR)
    samples, test = target.draw(3000, seeded(1)), target.draw(1000, seeded(2))
    network = train_layerwise(*samples[:2], degree=2, width1=60, generator=seeded(3))
    phi = network.feature(test.inputs)
    assert experiment.relative_error(phi, test.labels) < 1e-3
    assert experiment.relative_error(network.predict(test.inputs), test.labels) < 2e-2


def test_a_link_without_slope_leaves_the_feature_hidden():
    target = HierarchicalPolynomial(16, link=(0.0, 0.0, 1.0))
    samples, test = target.draw(4096, seeded(1)), target.draw(4000, seeded(2))
    network = train_layerwise(*samples[:2], degree=2, width1=200, generator=seeded(3))
    phi = network.feature(test.inputs)
    assert abs(experiment.correlation(phi, test.hidden)) < 0.25
    assert experiment.relative_error(network.predict(test.inputs), test.labels) > 0.8


def test_long_descent_trains_the_network_that_ridge_does():
    samples = HierarchicalPolynomial(4).draw(400, seeded(1))
    inputs, labels = samples.inputs.double(), samples.labels.double()
    networks = [
        train_layerwise(
            inputs,
            labels,
            degree=2,
            width1=20,
            width2=4,
            penalties1=(0.1,),
            penalty2=0.1,
            solve=solve,
            generator=seeded(2),
        )
        for solve in (ridge, partial(descend, n_steps=8000))
    ]
    torch.testing.assert_close(networks[0].predict(inputs), networks[1].predict(inputs), rtol=1e-6, atol=1e-8)


# --- Rivals ------------------------------------------------------------------------------------------------------


def test_kernel_ridge_is_scikit_learn_s_and_blind_to_rotations_and_order():
    points, there, labels = random(20, 3), random(6, 3, seed=1), random(20, seed=2)

    def predict(points, there, labels):
        kernel, cross = (polynomial_kernel(z, points, degree=4, shift=0.5) for z in (points, there))
        return cross @ fit_kernel_ridge(kernel, labels, 0.01), kernel

    found, kernel = predict(points, there, labels)
    peer = KernelRidge(
        alpha=0.01 * kernel.diagonal().mean().item(),
        kernel=lambda x, z: ((x @ z / 3 + 0.5) / 1.5) ** 4,
    ).fit(points.numpy(), labels.numpy())
    torch.testing.assert_close(found, torch.as_tensor(peer.predict(there.numpy())))
    rotation = torch.linalg.qr(random(3, 3, seed=3)).Q
    order = torch.randperm(20, generator=seeded())
    turned, _ = predict((points @ rotation)[order], there @ rotation, labels[order])
    torch.testing.assert_close(turned, found)


@pytest.mark.parametrize("lower_degrees", [True, False])
def test_one_step_is_the_mean_over_many_directions_of_descent_s_first(lower_degrees):
    """FFᵀy/n by explicit features on the sphere, with many random directions in two dimensions."""
    inputs, labels, points = random(30, 2), random(30, seed=1), random(8, 2, seed=2)
    sphere, there = (math.sqrt(2) * torch.nn.functional.normalize(v, dim=1) for v in (inputs, points))
    angles = (torch.arange(400).double() + 0.5) * 2 * math.pi / 400  # a quadrature of the circle
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    chosen = slice(None) if lower_degrees else slice(2, 3)
    mine, theirs = (hermite_basis(v @ directions.T, 2)[..., chosen].sum(dim=-1) for v in (sphere, there))
    step = theirs @ (mine.T @ (labels - labels.mean())) / 30 / 400
    found = one_step_feature(inputs, labels, points, lower_degrees=lower_degrees)
    torch.testing.assert_close(found, 2 * step)


def test_end_to_end_training_learns_a_line_and_keeps_its_best_epoch():
    inputs = random(256, 3).float()
    labels = inputs[:, 0] - 2 * inputs[:, 1]
    halves = (inputs[:192], labels[:192], (inputs[192:], labels[192:]))
    options = {"learning_rate": 1e-2, "n_epochs": 40, "batch_size": 32}
    network, error = train_relu_network([3, 16], *halves, generator=seeded(), **options)
    with torch.no_grad():
        again = (network(inputs[192:])[:, 0] - labels[192:]).square().mean().item()
    assert error == pytest.approx(again)
    assert error < 0.1
    worse = train_relu_network([3, 16], *halves, generator=seeded(), **options | {"n_epochs": 1})[1]
    assert error < worse


# --- The experiment's parts --------------------------------------------------------------------------------------


def test_measures_of_known_numbers():
    labels = tensor([1.0, 3.0, 5.0])
    assert experiment.relative_error(labels.mean().expand(3), labels) == pytest.approx(1)
    assert experiment.correlation(labels, 3 - 2 * labels) == pytest.approx(-1)
    assert experiment.size_at([100, 400], [0.6, 0.2], 0.4) == pytest.approx(200)  # half way in log n
    assert experiment.size_at([100, 400], [0.2, 0.6], 0.4) == pytest.approx(200)
    assert experiment.size_at([50, 100, 400], [0.9, 0.8, 0.6], 0.4) == pytest.approx(1600)  # continued
    assert experiment.size_at([100, 400], [0.6, 0.7], 0.4) == math.inf
    assert (
        96 < experiment.size_at([8, 32, 96], [0.5, 0.78, 0.79], 0.8) < 110
    )  # flat at its end, and short of it
    cubes = torch.stack([2 * tensor([8.0, 12.0, 20.0]) ** 3, tensor([8.0, 12.0, 20.0])])
    assert experiment.growth_exponents([8, 12, 20], cubes) == pytest.approx([3, 1])


def test_curves_improve_and_more_steps_come_closer_to_ridge():
    setting = experiment.Setting(n_test=1000)
    curve = experiment.learning_curve(TARGET, [200, 4000], setting, seeded())
    assert curve.error[1] < curve.error[0]
    assert curve.correlation[1] > curve.correlation[0]
    assert curve.sizes == [200, 4000]
    path = experiment.descent_path(HierarchicalPolynomial(8), 2000, [1, 100, 5000], setting, seeded())
    gaps = [abs(path[stop][1] - path["ridge"][1]) for stop in (1, 100, 5000)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.02
    clean = experiment.one_step_curve(TARGET, [3000], setting, seeded(), lower_degrees=False)
    noisy = experiment.one_step_curve(TARGET, [3000], setting, seeded(), lower_degrees=True)
    assert noisy[0] < clean[0] < 1


def test_choices_are_those_of_least_validation_error():
    samples, validation = TARGET.draw(300, seeded(1)), TARGET.draw(300, seeded(2))
    kernels = experiment.kernel_candidates(12)["quartic"]
    chosen = experiment.choose_kernel(kernels, (1e-3, 1e-1), samples, validation)
    errors = {
        (kernel, penalty): experiment.kernel_error(kernel, penalty, samples, validation)
        for kernel in kernels
        for penalty in (1e-3, 1e-1)
    }
    assert chosen == min(errors, key=errors.get)
    rate = experiment.choose_rate(
        [12, 8], (1e-6, 1e-2), samples, validation, lambda *names: seeded(3), n_epochs=10
    )
    assert rate == 1e-2


def test_kernels_are_compared_on_the_samples_of_the_network():
    target = HierarchicalPolynomial(4)
    setting = experiment.Setting(n_test=300)
    samples, test = setting.draw(target, 500, seeded(1))
    kernels = {"quartic": (partial(polynomial_kernel, degree=4, shift=0.5), 1e-4)}
    networks = {"two layers": ([4, 8], 1e-2)}
    found = experiment.compare(
        samples, test, test, target, kernels, networks, 3, setting, lambda *names: seeded(4)
    )
    assert found["quartic"] < 0.01  # h is a quartic of four variables: 70 monomials
    assert set(found) == {"layerwise", "quartic", "two layers"}
    assert found["layerwise"] < 1.0
    curves = experiment.kernel_curves(target, [40, 300], 2, (1e-4, 1e-2), setting, lambda *n: seeded(n[-1]))
    assert all(curve[1] < 0.1 < curve[0] for curve in curves)


# --- Bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_what_cannot_be_trained_is_refused():
    inputs, labels = random(20, 3), random(20)
    options = {"degree": 2, "width1": 12}
    with pytest.raises(
        ValueError, match=r"inputs and labels must be \(n, d\) and \(n,\); got \(20, 3\), \(19,\)"
    ):
        train_layerwise(inputs, labels[1:], **options)
    with pytest.raises(ValueError, match="degree must be at least 1; got 0"):
        train_layerwise(inputs, labels, degree=0, width1=5)
    with pytest.raises(
        ValueError, match=r"share must leave two samples or more to either stage; got 1\.2 of 20"
    ):
        train_layerwise(inputs, labels, share=1.2, **options)
    with pytest.raises(ValueError, match="the number of penalties1 must be at least 1; got 0"):
        train_layerwise(inputs, labels, penalties1=(), **options)
    with pytest.raises(ValueError, match="inputs and labels must vary"):
        train_layerwise(torch.ones(20, 3), labels, **options)
    with pytest.warns(UserWarning, match="width1 = 5 features cannot span 10 monomials"):
        train_layerwise(inputs, labels, degree=2, width1=5, generator=seeded())


@pytest.mark.bad_input
def test_a_stage_refuses():
    gram, moment, penalties = torch.eye(3), torch.ones(3), tensor([0.1])
    with pytest.raises(
        ValueError, match=r"gram and moment must be \(m, m\) and \(m,\); got \(3, 2\) and \(3,\)"
    ):
        ridge(gram[:, :2], moment, penalties)
    with pytest.raises(ValueError, match="penalties must not be negative; got -1"):
        ridge(gram, moment, tensor([-1.0]))
    with pytest.raises(ValueError, match="gram must be positive definite with the penalty"):
        ridge(torch.ones(3, 3), moment, tensor([0.0]))
    with pytest.raises(ValueError, match=r"learning_rate must be below 2/\(λ_max \+ λ\) = 1\.81818; got 2"):
        descend(gram, moment, penalties, n_steps=1, learning_rate=2.0)
    with pytest.raises(ValueError, match="n_steps must be at least 1; got 0"):
        descend(gram, moment, penalties, n_steps=0)
    with pytest.raises(ValueError, match=r"points and directions must be \(n, d\) and \(m, d\)"):
        inner_features(torch.eye(3), torch.eye(2), 2)


@pytest.mark.bad_input
def test_problems_and_rivals_refuse():
    with pytest.raises(ValueError, match="dimension must be a multiple of 2; got 7"):
        HierarchicalPolynomial(7)
    with pytest.raises(ValueError, match="dimension must be a multiple of 6; got 8"):
        HierarchicalPolynomial(8, 3, "products")
    with pytest.raises(ValueError, match="did you mean 'products'"):
        HierarchicalPolynomial(8, 2, "product")
    with pytest.raises(ValueError, match="link must not be zero"):
        HierarchicalPolynomial(8, link=(0.0, 0.0))
    with pytest.raises(ValueError, match=r"points must be \(n, 12\); got \(3, 4\)"):
        TARGET.feature(torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"points and others must be \(n, d\) and \(m, d\)"):
        polynomial_kernel(torch.eye(2), torch.eye(3), degree=4, shift=1.0)
    with pytest.raises(ValueError, match=r"kernel must be \(n, n\) for n = 2 labels; got \(3, 3\)"):
        fit_kernel_ridge(torch.eye(3), torch.ones(2), 0.1)
    with pytest.raises(ValueError, match="kernel must be positive definite with the penalty"):
        fit_kernel_ridge(-torch.eye(2), torch.ones(2), 0.1)
    with pytest.raises(ValueError, match=r"inputs, labels and points must be \(n, d\), \(n,\) and \(m, d\)"):
        one_step_feature(torch.eye(2), torch.ones(3), torch.eye(2), lower_degrees=True)
