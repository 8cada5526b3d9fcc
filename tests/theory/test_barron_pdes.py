"""Barron norms and the preconditioned descent against SciPy, autograd, transforms, quadrature and closed forms."""

import math

import numpy as np
import pytest
import scipy.fft
import scipy.integrate
import scipy.optimize
import torch
from torch import tensor

from regularity.foundations.curvature import extreme_eigenvalues, hessian_product
from regularity.theory.barron_pdes import (
    Growth,
    barron_norm,
    cosine_basis,
    deep_ritz,
    draw_forcing,
    energy,
    energy_curvature,
    evaluate,
    experiment,
    first_variation,
    maurey_error,
    maurey_network,
    plain_descent,
    power_law,
    quartic_gradient,
    semilinear_bound,
    sine_basis,
    sobolev_descent,
    spectral_newton,
    stretched_area,
    theorem_bound,
    variational_pde,
    varying_coefficient,
)
from tests.draws import random, seeded

EVEN = cosine_basis(6)
KINDS = {
    "linear": varying_coefficient(0.5),
    "quadratic": power_law(2),
    "cubic": power_law(3),
    "quintic": power_law(5),
    "gradient": quartic_gradient(2, 0.2),
}


def doubles(*values):
    return tensor(values, dtype=torch.float64)


def cubic(dimension=2, n_modes=6, norm=8.0, seed=0):
    basis = cosine_basis(n_modes)
    return variational_pde(power_law(3), draw_forcing(basis, dimension, norm, seeded(seed)), basis)


def additive(dimension, amplitude, basis=EVEN):
    """Coefficients of amplitude·Σ cos x_i."""
    forcing = torch.zeros([len(basis.frequencies)] * dimension, dtype=torch.float64)
    for axis in range(dimension):
        forcing[tuple(int(axis == other) for other in range(dimension))] = amplitude
    return forcing


# --- Functions ----------------------------------------------------------------------------------------------------


def test_series_are_scipy_s_transforms():
    coefficients = random(6, 6)
    nodes = math.pi * (torch.arange(12).double() + 0.5) / 12
    points = torch.cartesian_prod(nodes, nodes)
    padded = np.zeros((12, 12))
    padded[:6, :6] = coefficients
    padded[0] *= 2
    padded[:, 0] *= 2
    expected = scipy.fft.dctn(padded, type=3, norm=None) / 4
    found = evaluate(coefficients, EVEN, points).reshape(12, 12)
    torch.testing.assert_close(found, torch.as_tensor(expected))
    sines = sine_basis(5, length=2.0)
    inside = 2 * torch.arange(1, 6).double() / 6
    expected = scipy.fft.dst(random(5).numpy(), type=1) / 2
    torch.testing.assert_close(evaluate(random(5), sines, inside[:, None]), torch.as_tensor(expected))


@pytest.mark.parametrize("basis", [EVEN, sine_basis(4, length=2.0)])
def test_gradients_are_those_of_the_series(basis):
    coefficients = random(*[len(basis.frequencies)] * 2)
    pde = variational_pde(power_law(3), coefficients, basis)
    points = torch.cartesian_prod(basis.nodes, basis.nodes).requires_grad_()
    values = evaluate(coefficients, basis, points)
    (slopes,) = torch.autograd.grad(values.sum(), points)
    found, gradient = pde.fields(coefficients)
    torch.testing.assert_close(found.flatten(), values.detach())
    torch.testing.assert_close(gradient.flatten(1).T, slopes)
    squares = (coefficients.square() * pde.masses).sum()  # Parseval
    weights = basis.weights[:, None] * basis.weights
    torch.testing.assert_close((weights * found.square()).sum(), squares)


def test_barron_norm_is_that_of_the_fourier_transform_of_the_extension():
    coefficients = random(6, 6)
    axis = 2 * math.pi * torch.arange(16).double() / 16
    values = evaluate(coefficients, EVEN, torch.cartesian_prod(axis, axis)).reshape(16, 16)
    waves = torch.fft.fftfreq(16, 1 / 16).double()
    lengths = (waves[:, None].square() + waves.square()).sqrt()
    expected = ((1 + lengths) * torch.fft.fftn(values, norm="forward").abs()).sum()
    torch.testing.assert_close(barron_norm(coefficients, EVEN), expected)
    one = torch.zeros(3, 3, dtype=torch.float64)
    one[1, 2] = -2.0  # −2 cos(2πx) cos(4πy): 2 (1 + π√(4 + 16))
    expected = doubles(2 * (1 + math.pi * 20**0.5))[0]
    torch.testing.assert_close(barron_norm(one, cosine_basis(3, length=0.5)), expected)


# --- The descent --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_first_variation_is_the_equation(kind):
    """−div(...) + ... − f at nodes, by automatic differentiation of the series, projected on the cosines."""
    lagrangian = KINDS[kind]
    basis = cosine_basis(4, degree=6)
    u, forcing = 0.2 * random(4, 4), random(4, 4, seed=1)
    u[0, 0] = 3.0  # positive, as the quadratic wants it
    points = torch.cartesian_prod(basis.nodes, basis.nodes)

    def value(x):
        return evaluate(u, basis, x[None])[0]

    def flux(x):
        slope = torch.func.grad(value)(x)
        factor = {"linear": 1 + 0.5 * torch.cos(x[0]), "gradient": 1 + 0.2 * slope.square().sum()}
        return factor.get(kind, 1.0) * slope

    divergence = torch.stack([torch.func.jacrev(flux)(x).trace() for x in points])
    values = evaluate(u, basis, points)
    power = {"quadratic": 2, "cubic": 3, "quintic": 5}.get(kind)
    residual = -divergence + values + (values**power if power else 0) - evaluate(forcing, basis, points)
    grid = residual.reshape(len(basis.nodes), -1)
    projected = basis.values.T @ grid @ basis.values / len(basis.nodes) ** 2
    projected = projected / (basis.masses[:, None] * basis.masses)
    found = first_variation(variational_pde(lagrangian, forcing, basis), u)
    torch.testing.assert_close(found, projected, rtol=1e-9, atol=1e-9)


def test_a_step_goes_along_the_gradient_in_h1():
    """⟨(I − Δ)⁻¹DE(u), v⟩ in H¹, by the gradients' quadrature, is the energy's derivative along v."""
    pde = cubic()
    v = random(6, 6, seed=3)
    run = sobolev_descent(pde, learning_rate=0.1, n_steps=2)
    at, step = run.iterates[1], (run.iterates[1] - run.iterates[2]) / 0.1
    (ours, slope), (values, slopes) = pde.fields(step), pde.fields(v)
    inner = (ours * values + (slope * slopes).sum(dim=0)).mean()  # the midpoint rule has equal weights
    small = 1e-5
    derivative = (energy(pde, at + small * v) - energy(pde, at - small * v)) / (2 * small)
    torch.testing.assert_close(inner, derivative, rtol=1e-7, atol=1e-8)


def test_linear_equations_are_solved_mode_by_mode():
    """−Δu + u = f in one step; −Δu = f on sines with the factor 1/(1 + ω²) a step."""
    plain = variational_pde(varying_coefficient(0.0), random(6, 6), EVEN)
    run = sobolev_descent(plain, learning_rate=1.0, n_steps=1)
    torch.testing.assert_close(run.iterates[1], plain.forcing / plain.stiffness)
    sines = sine_basis(4)
    poisson = variational_pde(stretched_area(1e-12), random(4), sines)
    run = sobolev_descent(poisson, learning_rate=1.0, n_steps=3)
    solution = poisson.forcing / sines.frequencies.square()
    left = (solution - run.iterates[3]) / solution
    torch.testing.assert_close(left, (1 + sines.frequencies.square()) ** -3, rtol=1e-6, atol=1e-9)


def test_a_manufactured_solution_is_found():
    """u = 1 + cos x + cos y / 2 − cos x cos y / 4, and f by the formulas for products of cosines, through SciPy."""
    u = torch.zeros(6, 6, dtype=torch.float64)
    u[0, 0], u[1, 0], u[0, 1], u[1, 1] = 1.0, 1.0, 0.5, -0.25
    nodes = math.pi * (torch.arange(24).double() + 0.5) / 24
    grid = evaluate(u, EVEN, torch.cartesian_prod(nodes, nodes)).reshape(24, 24)
    cube = scipy.fft.dctn(grid.numpy() ** 3, type=2) / 24**2
    cube[0] /= 2
    cube[:, 0] /= 2
    squares = torch.arange(6).double().square()
    forcing = (1 + squares[:, None] + squares) * u + torch.as_tensor(cube[:6, :6])
    pde = variational_pde(power_law(3), forcing, EVEN)
    run = sobolev_descent(pde, learning_rate=0.13, n_steps=200)
    torch.testing.assert_close(run.iterates[-1], u, rtol=0, atol=1e-10)
    torch.testing.assert_close(spectral_newton(pde), u, rtol=0, atol=1e-9)
    expected = 1 + 2 + 0.5 * 2 + 0.25 * (1 + 2**0.5)
    assert barron_norm(run.iterates[-1], EVEN).item() == pytest.approx(expected, abs=1e-9)


def test_the_quasilinear_problem_has_its_solution_by_quadrature():
    """−(u' + 2u'/√(1 + u'²))' = 10 + 20x, u = 0 at both ends: u' is a root, the constant makes ∫u' vanish."""

    def slope(x, constant):
        flux = constant - 10 * x - 10 * x**2
        return scipy.optimize.brentq(lambda p: p + 2 * p / math.sqrt(1 + p * p) - flux, -30, 30)

    nodes, weights = np.polynomial.legendre.leggauss(80)

    def integral(end, constant):
        at = end * (nodes + 1) / 2
        return end / 2 * sum(w * slope(x, constant) for x, w in zip(at, weights, strict=True))

    constant = scipy.optimize.brentq(lambda c: integral(1.0, c), 5, 12)
    expected = [integral(end, constant) for end in (0.25, 0.5, 0.75)]
    k = torch.arange(1, 49).double()
    alternating = torch.cos(math.pi * k)
    forcing = 2 * (10 * (1 - alternating) - 20 * alternating) / (math.pi * k)
    basis = sine_basis(48)
    pde = variational_pde(stretched_area(2.0), forcing, basis)
    run = sobolev_descent(pde, learning_rate=1 / 3, n_steps=60)
    found = evaluate(run.iterates[-1], basis, doubles(0.25, 0.5, 0.75)[:, None])
    torch.testing.assert_close(found, doubles(*expected), rtol=2e-4, atol=0)


def test_the_dirichlet_problem_agrees_with_finite_differences():
    """−u'' + u + u³ = 60 sin πx − 20 sin 3πx by Newton's method on 1,000 cells."""
    n = 1000
    x = np.linspace(0, 1, n + 1)[1:-1]
    f = 60 * np.sin(np.pi * x) - 20 * np.sin(3 * np.pi * x)
    u = np.zeros_like(x)
    for _ in range(20):
        neighbours = np.concatenate([u[1:], [0]]) + np.concatenate([[0], u[:-1]])
        residual = (2 * u - neighbours) * n**2 + u + u**3 - f
        bands = np.stack([np.full(n - 1, -(n**2.0)), 2 * n**2 + 1 + 3 * u**2, np.full(n - 1, -(n**2.0))])
        u = u - scipy.linalg.solve_banded((1, 1), bands, residual)
    basis = sine_basis(16)
    forcing = torch.zeros(16, dtype=torch.float64)
    forcing[0], forcing[2] = 60.0, -20.0
    solution = spectral_newton(variational_pde(power_law(3), forcing, basis))
    found = evaluate(solution, basis, doubles(0.25, 0.5)[:, None])
    torch.testing.assert_close(found, torch.as_tensor(u[[n // 4 - 1, n // 2 - 1]]), rtol=1e-4, atol=0)


def test_symmetry_and_resolution():
    pde = cubic()
    turned = variational_pde(power_law(3), pde.forcing.T.contiguous(), EVEN)
    torch.testing.assert_close(spectral_newton(turned), spectral_newton(pde).T, rtol=0, atol=1e-9)
    fine = torch.zeros(12, 12, dtype=torch.float64)
    fine[:6, :6] = pde.forcing
    solution = spectral_newton(variational_pde(power_law(3), fine, cosine_basis(12)))
    assert (solution[:6, :6] - spectral_newton(pde)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_curvature_bounds_hold_the_spectrum(kind):
    """Extreme eigenvalues of D²E in H¹, by Lanczos, lie between m and M; those of L's own by autograd."""
    basis = cosine_basis(5, degree=6)
    u = 0.5 * random(5, 5)
    pde = variational_pde(KINDS[kind], torch.zeros(5, 5, dtype=torch.float64), basis)
    scale = (pde.masses * pde.stiffness).rsqrt()
    product = hessian_product(lambda y: energy(pde, scale * y.reshape(5, 5)), (u / scale).flatten())
    ritz = extreme_eigenvalues(product, random(25, seed=1), n_steps=25)
    smallest, largest = energy_curvature(pde, u[None])
    assert smallest - 1e-9 <= ritz.smallest
    assert ritz.largest <= largest + 1e-9
    assert ritz.largest > 1 + 0.05 * (largest - 1)


def test_descent_contracts_as_it_must_and_not_without_the_preconditioner():
    for name, pde in experiment.equations(2, 8, 8.0, lambda *names: seeded(len(names[1]))).items():
        norms = torch.logspace(-1, 2, 8).double()
        functions = experiment.draw_functions(pde, norms, seeded(3))
        path = experiment.follow(pde, spectral_newton(pde), functions, 25)
        assert path.factor <= path.contraction + 1e-9
        assert path.contraction < 0.95
        assert path.theorem <= 1
        if name.startswith("u"):
            assert 0.5 < path.semilinear <= 1
    with pytest.raises(FloatingPointError, match="diverged"):
        plain_descent(pde, learning_rate=0.5, n_steps=200)


def test_plain_descent_needs_four_times_the_steps_when_modes_double():
    found = []
    for n in (4, 8):
        pde = variational_pde(stretched_area(2.0), torch.ones(n, dtype=torch.float64), sine_basis(n))
        least = energy(pde, spectral_newton(pde)).item()
        found.append(experiment.plain_steps(pde, least, 1e-4, [9.0, 1.9, 1.0], cap=1200)[0])
    assert 3 < found[1] / found[0] < 6
    energies = doubles(11.0, 5.0, 1.5, 1.0)
    assert experiment.steps_needed(energies, 1.0, 0.05) == 2
    assert experiment.steps_needed(energies, 1.0, -0.1) is None


# --- Barron norms and their bounds --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_lagrangians_grow_as_they_say(kind):
    pde = variational_pde(KINDS[kind], torch.zeros(3, 3, dtype=torch.float64), cosine_basis(3))
    functions = experiment.draw_functions(pde, torch.logspace(-1, 1.5, 8).double(), seeded(1))
    sizes = torch.stack([barron_norm(function, pde.basis) for function in functions])
    torch.testing.assert_close(sizes, torch.logspace(-1, 1.5, 8).double())
    value, slope = experiment.composition_ratios(pde, functions)
    assert max(value.max(), slope.max()) <= 1 + 1e-12
    assert max(value.max(), slope.max()) > 0.3  # the bounds are not idle


def test_composition_of_a_single_wave():
    """u = a cos x: u + u³ = (a + 3a³/4) cos x + a³/4 cos 3x, in the norm 2(a + 3a³/4) + a³; b = 2a."""
    basis = cosine_basis(2)
    pde = variational_pde(power_law(3), torch.zeros(2, dtype=torch.float64), basis)
    a = 1.5
    value, slope = experiment.composition_ratios(pde, doubles(0.0, a)[None])
    assert value.item() == pytest.approx((2 * a + 2.5 * a**3) / (2 * (2 * a) ** 3))
    assert slope.item() == pytest.approx(1 / (2 * a) ** 2)


def test_bounds_by_hand():
    """d = 3, p = 2: b + η(d·2W·B max(Wb, (Wb)²) + B' max(b, b²) + ‖f‖), and (1 − η)b + η(a + κb²)."""
    growth = Growth(2, 1.5, 1.25)
    found = theorem_bound(growth, 0.5, 4.0, learning_rate=0.1, dimension=3, forcing_norm=7.0)
    assert found == pytest.approx(0.5 + 0.1 * (3 * 8 * 1.5 * 4 + 1.25 * 0.5 + 7))
    found = semilinear_bound(growth, 2.0, learning_rate=0.1, smoothed_forcing_norm=3.0)
    assert found == pytest.approx(0.9 * 2 + 0.1 * (3 + 0.25 * 4))


def test_composed_bounds_see_the_band_and_the_smoothed_forcing():
    """f = 2 cos x + 2 cos y, ‖f‖ = 8, a = 4; η = 1/2. The bands are 1, 1 (of u_1) and 3."""
    pde = variational_pde(power_law(3), additive(2, 2.0), EVEN)
    b1 = 4.0
    b2 = b1 + 0.5 * (2 * 3 * b1**3 + 2 * b1**3 + 8)
    b3 = b2 + 0.5 * (2 * 9 * (3 * b2) ** 3 + 2 * b2**3 + 8)
    assert experiment.composed_theorem(pde, 0.5, 3) == pytest.approx([b1, b2, b3])
    assert experiment.theorem_after(pde, pde.forcing / 2, 0.5) == pytest.approx(b2)
    assert experiment.composed_semilinear(pde, 0.5, 2) == pytest.approx([2.0, 1 + 0.5 * (4 + 8)])
    assert experiment.semilinear_after(pde, pde.forcing / 4, 0.5) == pytest.approx(1 + 0.5 * (4 + 8))


def test_small_data_stay_below_the_root():
    """a = 0.35: the bound of every iterate tends to the smallest root of b = a + b³."""
    pde = variational_pde(power_law(3), additive(3, 0.35 / 3), EVEN)
    bounds = experiment.composed_semilinear(pde, 0.5, 200)
    root = scipy.optimize.brentq(lambda b: 0.35 + b**3 - b, 0, 3**-0.5)
    assert bounds[-1] == pytest.approx(root)
    run = sobolev_descent(pde, learning_rate=0.5, n_steps=20)
    assert all(barron_norm(u, EVEN).item() <= root for u in run.iterates)


def test_forcings_have_their_norm_in_every_dimension():
    for dimension in (1, 2, 3):
        forcing = draw_forcing(EVEN, dimension, 8.0, seeded(), positive=True)
        assert barron_norm(forcing, EVEN).item() == pytest.approx(8)
        corner = math.pi * torch.cartesian_prod(*[doubles(0, 1)] * dimension).reshape(-1, dimension)
        assert evaluate(forcing, EVEN, corner).min() >= -1e-12
        assert (forcing != 0).sum() == 2 * dimension


# --- Networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["cosine", "step"])
def test_networks_have_the_function_as_mean_and_the_error_of_the_formula(activation):
    coefficients = torch.zeros(3, 3, dtype=torch.float64)
    coefficients[0, 0], coefficients[1, 0], coefficients[1, 2] = 0.5, 1.0, -0.3
    basis = cosine_basis(3, length=2.0)
    points = 2 * torch.rand(300, 2, generator=seeded(), dtype=torch.float64)
    truth = evaluate(coefficients, basis, points)
    options = {"activation": activation, "generator": seeded(1)}
    networks = maurey_network(coefficients, basis, 20, n_draws=1000, **options)
    outputs = networks(points)
    scale = (maurey_error(coefficients, basis, activation=activation) / 20).item()
    assert (outputs.mean(dim=0) - truth).square().mean().item() < 3 * scale / 1000
    measured = (outputs - truth).square().mean(dim=1).mean().item()
    assert measured == pytest.approx(scale, rel=0.1)
    wide = maurey_network(coefficients, basis, 200, n_draws=300, **options)
    assert (wide(points) - truth).square().mean().item() == pytest.approx(scale / 10, rel=0.2)


def test_errors_by_hand():
    """a cos x by waves: S = a, a²/2 less the square a²/2 of the function: none. By steps: S = 4a; and so on."""
    line = doubles(0.0, 2.0)
    assert maurey_error(line, cosine_basis(2)).item() == pytest.approx(0)
    # offset a cos π = −a; ‖a cos x + a‖² = a²/2 + a²; S²/2 = 8a²
    found = maurey_error(line, cosine_basis(2), activation="step").item()
    assert found == pytest.approx(4 * (8 - 1.5))
    both = doubles(1.0, 2.0)  # a wave of frequency 0 has the mean square 1: 3·(1 + 2/2) less 1 + 2
    assert maurey_error(both, cosine_basis(2)).item() == pytest.approx(3)


def test_networks_compute_their_formula():
    networks = deep_ritz(cubic(), width=5, learning_rate=0.01, n_steps=2, batch_size=10, n_runs=2)
    points = random(4, 2).float()
    for run in range(2):
        hidden = torch.tanh(points @ networks.weights[run].T + networks.biases[run])
        expected = networks.offsets[run] + hidden @ networks.outer[run]
        torch.testing.assert_close(networks(points)[run], expected)


def test_deep_ritz_finds_the_minimum():
    pde = variational_pde(power_law(3), additive(1, 4.0), EVEN)
    networks = deep_ritz(
        pde, width=12, learning_rate=0.03, n_steps=500, batch_size=200, n_runs=2, generator=seeded()
    )
    points = math.pi * torch.rand(500, 1, generator=seeded(1), dtype=torch.float64)
    truth = evaluate(spectral_newton(pde), EVEN, points)
    assert ((networks(points) - truth).square().mean(dim=1) / truth.square().mean() < 2e-3).all()


def test_sizes_of_a_solution_that_is_known():
    """A linear equation, whose descent leaves (1 − η)^t: the step, and widths by `maurey_error`."""
    forcing = additive(2, 4.0)
    forcing[2, 0] = 2.0  # solution: 2 cos x + 2 cos y + 0.4 cos 2x
    pde = variational_pde(varying_coefficient(0.0), forcing, EVEN)
    size = experiment.size_for(pde, 0.2, learning_rate=0.5, n_steps=40)
    assert size.n_steps == 4  # 2⁻⁴ < 0.1
    share = 1 - 2.0**-4
    assert size.norm == pytest.approx(share * (4 + 4 + 1.2))
    assert size.modes == 2  # 0.4²/8.16 < 0.2²
    expected = share**2 * maurey_error(size.solution, EVEN).item() / (0.1**2 * 4.08)
    assert size.cosines == pytest.approx(expected, rel=1e-6)
    networks = maurey_network(size.solution, EVEN, 50, n_draws=40, generator=seeded())
    points = math.pi * torch.rand(400, 2, generator=seeded(1), dtype=torch.float64)
    expected = maurey_error(size.solution, EVEN).item() / 50 / 4.08
    assert experiment.squared_errors(networks, size, points).mean().item() == pytest.approx(expected, rel=0.2)
    powers = torch.stack([doubles(2, 4, 8) ** -1.0, 5 * doubles(2, 4, 8) ** 2], dim=1)
    torch.testing.assert_close(experiment.log_slope([2, 4, 8], powers), doubles(-1.0, 2.0))


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused():
    pde = cubic()
    with pytest.raises(ValueError, match=r"forcing must have 6 modes along each axis; got \(6, 5\)"):
        variational_pde(power_law(3), torch.zeros(6, 5), EVEN)
    with pytest.raises(ValueError, match=r"coefficients must be \(6, 6\), as the forcing is; got \(6,\)"):
        energy(pde, torch.zeros(6))
    with pytest.raises(ValueError, match="forcing must be finite"):
        variational_pde(power_law(3), torch.full((6,), math.nan), EVEN)
    with pytest.raises(ValueError, match=r"points must be \(m, 2\); got \(3, 1\)"):
        evaluate(random(6, 6), EVEN, random(3, 1))
    for learning_rate in (0.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="learning_rate must be positive and finite"):
            sobolev_descent(pde, learning_rate=learning_rate, n_steps=3)
    with pytest.raises(FloatingPointError, match="the descent diverged by step"):
        sobolev_descent(pde, learning_rate=30.0, n_steps=100)
    with pytest.raises(ValueError, match="power must be at least 2; got 1"):
        power_law(1)
    with pytest.raises(ValueError, match="strength must be positive and finite; got -1"):
        quartic_gradient(2, -1.0)


@pytest.mark.bad_input
def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="width must be at least 1; got 0"):
        maurey_network(random(6), EVEN, 0)
    with pytest.raises(ValueError, match="coefficients must not be zero"):
        maurey_network(torch.zeros(6), EVEN, 3)
    with pytest.raises(ValueError, match="coefficients must not be zero"):
        maurey_network(doubles(2.0, 0, 0, 0, 0, 0), EVEN, 3, activation="step")
    with pytest.raises(ValueError, match="activation must be one of 'cosine', 'step'; got 'stepp'"):
        maurey_network(random(6), EVEN, 3, activation="stepp")
    with pytest.raises(ValueError, match="basis must be of cosines; got sines"):
        maurey_error(random(4), sine_basis(4))
    pde = variational_pde(power_law(3), random(4), sine_basis(4))
    with pytest.raises(ValueError, match="pde must be in cosines"):
        deep_ritz(pde, width=3, learning_rate=0.1, n_steps=1, batch_size=2)
