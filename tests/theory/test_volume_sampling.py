"""Oracles: enumeration of small populations, moments of determinantal laws, random matrices, SciPy, DPPy."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from dppy.finite_dpps import FiniteDPP
from dppy.multivariate_jacobi_ope import MultivariateJacobiOPE
from torch import tensor

from regularity.foundations.polynomials import gauss_legendre, legendre_basis, total_degree_indices
from regularity.theory import volume_sampling as volume
from regularity.theory.volume_sampling import experiment
from tests.draws import random, seeded

ROWS = tensor([[1.0, x] for x in (0, 1, 2, 4, 7)], dtype=torch.float64)  # members of a lopsided population
POPULATION = volume.population_space(ROWS)
Q = np.linalg.qr(ROWS.numpy())[0]  # an orthonormal basis that NumPy made
LEVERAGE = (Q**2).sum(axis=1)
OUTCOMES = (ROWS[:, 1] + 1).sqrt()


def legendre(degree, n_variables=1):
    return volume.polynomial_space("legendre", total_degree_indices(n_variables, degree))


def counts_of(sample):
    """How often each ordered sample of members was drawn."""
    rows = sample.points[..., 0].long().numpy()
    found = np.zeros((5,) * rows.shape[1])
    np.add.at(found, tuple(rows.T), 1)
    return found


def assert_follows(counts, law):
    """A test of goodness of fit; what has no probability may not occur."""
    possible = law > 1e-12
    assert counts[~possible].sum() == 0
    expected = counts.sum() * law[possible] / law.sum()
    assert scipy.stats.chisquare(counts[possible], expected).pvalue > 1e-3


def assert_same_law(ours, theirs):
    assert scipy.stats.ks_2samp(ours, theirs).pvalue > 1e-3


# --- Exact laws of small populations -------------------------------------------------------------------------------


def test_two_points_have_the_law_of_their_determinants():
    sample = volume.volume_sampling(POPULATION, 2, 20_000, generator=seeded())
    law = np.array([[np.linalg.det(Q[[i, j]]) ** 2 / 2 for j in range(5)] for i in range(5)])
    assert law.sum() == pytest.approx(1)
    assert_follows(counts_of(sample), law)


@pytest.mark.parametrize("reference", ["christoffel", "measure"])
def test_three_points_have_the_law_of_their_gram_matrix(reference):
    weight = {"christoffel": 2 / (5 * LEVERAGE), "measure": np.ones(5)}[reference]
    law = np.zeros((5, 5, 5))
    for chosen in itertools.product(range(5), repeat=3):
        rows = Q[list(chosen)] * np.sqrt(weight[list(chosen), None])
        law[chosen] = np.linalg.det(rows.T @ rows) * np.prod(1 / weight[list(chosen)])
    sample = volume.volume_sampling(POPULATION, 3, 20_000, reference=reference, generator=seeded(1))
    assert_follows(counts_of(sample), law)
    drawn = torch.as_tensor(weight)[sample.points[..., 0].long()]
    torch.testing.assert_close(sample.weights, drawn)


def test_repetitions_are_independent_sets():
    """Four points in two sets: members of one set differ, and each set has the law of the determinants."""
    sample = volume.volume_sampling(POPULATION, 4, 20_000, n_repetitions=2, generator=seeded(2))
    counts = counts_of(sample)
    law = np.array([[np.linalg.det(Q[[i, j]]) ** 2 / 2 for j in range(5)] for i in range(5)])
    assert_follows(counts.sum(axis=(2, 3)), law)
    assert_follows(counts.sum(axis=(0, 1)), law)
    across = counts.sum(axis=(1, 3))  # a member of each
    assert_follows(across, np.outer(LEVERAGE, LEVERAGE) / 4)


@pytest.mark.parametrize(
    ("reference", "weight"), [("christoffel", 2 / (5 * LEVERAGE)), ("measure", np.ones(5))]
)
def test_independent_points_have_the_law_of_their_reference(reference, weight):
    sample = volume.independent_sampling(POPULATION, 2, 20_000, reference=reference, generator=seeded())
    assert_follows(counts_of(sample), np.outer(1 / weight, 1 / weight))
    torch.testing.assert_close(sample.weights, torch.as_tensor(weight)[sample.points[..., 0].long()])


def test_finite_law_agrees_with_dppy():
    rng = np.random.RandomState(0)
    peer = FiniteDPP("correlation", projection=True, K=Q @ Q.T)
    theirs = [tuple(sorted(peer.sample_exact(random_state=rng))) for _ in range(1500)]
    ours = volume.projection_dpp(POPULATION, 1500, seeded())[..., 0].sort(dim=1).values.long().tolist()
    pairs = list(itertools.combinations(range(5), 2))
    table = [[list(map(tuple, drawn)).count(pair) for pair in pairs] for drawn in (ours, theirs)]
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-3


def test_density_is_normalised_and_makes_least_squares_exact():
    """Summed over all samples: the density, E ĉ = c*, and E‖f − f̂‖² = (1 + m)‖f − Pf‖² with two points."""
    for reference, n in itertools.product(("christoffel", "measure"), (2, 3)):
        sample, law = experiment.every_sample(POPULATION, 5, n, reference)
        density = volume.volume_density(sample.features, sample.weights)
        assert (law @ density).item() == pytest.approx(1, abs=1e-12)
        bias, ratio = experiment.exact_bias_and_ratio(POPULATION, OUTCOMES, n, reference, by_volume=True)
        assert bias < 1e-12
        if n == 2:
            assert ratio == pytest.approx(3, abs=1e-10)
        other = experiment.exact_bias_and_ratio(POPULATION, OUTCOMES, n, reference, by_volume=False)
        assert other[0] > 0.01
        assert other[1] > ratio


def test_members_without_leverage_and_twins_of_members():
    space = volume.population_space(tensor([[1.0, 0], [0, 1], [0, 1], [0, 0]]))
    sets = volume.projection_dpp(space, 500, seeded())[..., 0].sort(dim=1).values
    assert set(map(tuple, sets.long().tolist())) == {(0, 1), (0, 2)}


def test_misfit_of_a_right_law_and_of_a_wrong_one():
    right = volume.volume_sampling(POPULATION, 3, 20_000, generator=seeded(3))
    value, deviation = experiment.law_misfit(POPULATION, 5, right, "christoffel")
    assert abs(value - 1) < 3 * deviation
    wrong = volume.volume_sampling(POPULATION, 3, 20_000, reference="measure", generator=seeded(3))
    assert experiment.law_misfit(POPULATION, 5, wrong, "christoffel")[0] > 5
    independent = volume.independent_sampling(POPULATION, 3, 2000, generator=seeded(3))
    assert experiment.law_misfit(POPULATION, 5, independent, "christoffel")[0] == math.inf


# --- Polynomials ---------------------------------------------------------------------------------------------------


def test_moments_of_legendre_sets():
    """E x_1 x_2 = −1/3 for two points; E Σ x² = Σ_j ∫ x² φ_j² = 1.4571429 for three; Var Σ x = m²/(4m² − 1)."""
    two, three, ten = (volume.projection_dpp(legendre(m - 1), 4000, seeded(m))[..., 0] for m in (2, 3, 10))
    assert two.prod(dim=1).mean().item() == pytest.approx(-1 / 3, abs=0.02)
    assert three.square().sum(dim=1).mean().item() == pytest.approx(1 / 3 + 3 / 5 + 11 / 21, abs=0.02)
    assert ten.sum(dim=1).var().item() == pytest.approx(100 / 399, abs=0.02)


def test_legendre_sets_agree_with_dppy():
    rng = np.random.RandomState(0)
    peer = MultivariateJacobiOPE(6, np.zeros((1, 2)))
    theirs = np.sort([peer.sample(random_state=rng)[:, 0] for _ in range(1500)])
    ours = volume.projection_dpp(legendre(5), 1500, seeded())[..., 0].sort(dim=1).values.numpy()
    assert_same_law(ours[:, -1], theirs[:, -1])
    assert_same_law(np.diff(ours).min(axis=1), np.diff(theirs).min(axis=1))


def test_sets_in_the_plane_agree_with_dppy():
    """DPPy's own order of the products, which is not that of the total degree."""
    rng = np.random.RandomState(0)
    peer = MultivariateJacobiOPE(5, np.zeros((2, 2)))
    space = volume.polynomial_space("legendre", tensor(peer.ordering))
    theirs = np.stack([peer.sample(random_state=rng) for _ in range(400)])
    ours = volume.projection_dpp(space, 400, seeded()).numpy()
    assert_same_law(ours[:, :, 0].max(axis=1), theirs[:, :, 0].max(axis=1))
    assert_same_law(ours[:, :, 1].max(axis=1), theirs[:, :, 1].max(axis=1))
    nearest = [[scipy.spatial.distance.pdist(points).min() for points in sets] for sets in (ours, theirs)]
    assert_same_law(*nearest)


def test_hermite_sets_are_spectra_of_random_matrices():
    """Of the Gaussian unitary ensemble, (A + A*)/2 with independent standard normal real and imaginary parts."""
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, 1500, 4, 4))
    matrices = parts[0] + 1j * parts[1]
    theirs = np.linalg.eigvalsh((matrices + matrices.conj().transpose(0, 2, 1)) / 2)
    space = volume.polynomial_space("hermite", total_degree_indices(1, 3))
    ours = volume.projection_dpp(space, 1500, seeded())[..., 0].sort(dim=1).values.numpy()
    for index in (0, 2):
        assert_same_law(ours[:, index], theirs[:, index])
    assert_same_law(np.diff(ours).min(axis=1), np.diff(theirs).min(axis=1))


@pytest.mark.parametrize(
    ("family", "density", "ends"),
    [
        ("legendre", lambda x: 5.5 * scipy.special.eval_legendre(5, x) ** 2, (-1, 1)),
        (
            "hermite",
            lambda x: scipy.special.eval_hermitenorm(5, x) ** 2 / 120 * scipy.stats.norm.pdf(x),
            (-12, 12),
        ),
    ],
)
def test_squares_of_polynomials_are_drawn(family, density, ends):
    """A space of one polynomial alone: its Christoffel law is the square."""
    space = volume.polynomial_space(family, tensor([[5]]))
    drawn = space.draw_christoffel(4000, seeded())[:, 0].numpy()
    grid = np.linspace(*ends, 4001)
    below = scipy.integrate.cumulative_trapezoid(density(grid), grid, initial=0)
    assert below[-1] == pytest.approx(1, abs=1e-5)
    assert scipy.stats.kstest(drawn, lambda x: np.interp(x, grid, below)).pvalue > 1e-3


def test_gram_matrices_have_mean_one_and_inverses_known_means():
    """E G = I where weights and points belong together; E G⁻¹ = n/(n − m + 1) I for volume sampling, either ν."""
    space, n_draws = legendre(2), 6000
    for draw in (
        lambda: volume.independent_sampling(space, 6, n_draws, generator=seeded()),
        lambda: volume.independent_sampling(space, 6, n_draws, reference="measure", generator=seeded()),
        lambda: volume.volume_sampling(space, 6, n_draws, n_repetitions=2, generator=seeded()),
        lambda: volume.volume_sampling(space, 6, n_draws, generator=seeded()),
    ):
        sample = draw()
        gram = volume.gram_matrices(sample.features, sample.weights)
        error = 4 * gram.std(dim=0) / n_draws**0.5 + 1e-12
        assert ((gram.mean(dim=0) - torch.eye(3)).abs() < error).all()
    for reference in ("christoffel", "measure"):
        sample = volume.volume_sampling(space, 7, n_draws, reference=reference, generator=seeded(4))
        traces = torch.linalg.inv(volume.gram_matrices(sample.features, sample.weights)).diagonal(
            dim1=1, dim2=2
        )
        mean, error = traces.sum(dim=1).mean(), traces.sum(dim=1).std() / n_draws**0.5
        assert abs(mean - 3 * 7 / 5) < 4 * error


# --- Conditioned and boosted ---------------------------------------------------------------------------------------


def test_conditioned_draws_have_the_law_given_the_event():
    plain = volume.volume_sampling(legendre(2), 6, 8000, generator=seeded(1))
    stable = torch.linalg.eigvalsh(volume.gram_matrices(plain.features, plain.weights))[:, 0] >= 0.6
    generator = seeded(2)
    draw = lambda n: volume.volume_sampling(legendre(2), 6, n, generator=generator)  # noqa: E731
    sample, acceptance = volume.conditioned(draw, 1500, delta=0.4)
    assert acceptance == pytest.approx(stable.double().mean().item(), abs=0.03)
    assert len(sample.points) == 1500
    gram = volume.gram_matrices(sample.features, sample.weights).numpy()
    smallest = np.linalg.eigvalsh(gram)[:, 0]
    assert smallest.min() >= 0.6
    wanted = np.linalg.eigvalsh(volume.gram_matrices(plain.features, plain.weights).numpy())[:, 0]
    assert_same_law(smallest, wanted[stable.numpy()])
    with pytest.raises(RuntimeError, match=r"0 of 10 draws had λ_min\(G\) ≥ 0\.999999, and 10 are wanted"):
        volume.conditioned(draw, 10, delta=1e-6, max_tries=5)


def test_boosted_draws_are_the_best_of_their_candidates():
    draw = lambda n: volume.independent_sampling(legendre(3), 9, n, generator=seeded(5))  # noqa: E731
    best, every = volume.boosted(draw, 50, 7), draw(350)
    gram = (every.features * every.weights[..., None]).mT @ every.features / 9
    smallest = np.linalg.eigvalsh(gram.numpy())[:, 0].reshape(50, 7)
    np.testing.assert_allclose(best.smallest_eigenvalue, smallest.max(axis=1), atol=1e-12)
    chosen = every.points.unflatten(0, (50, 7))[torch.arange(50), tensor(smallest.argmax(axis=1))]
    torch.testing.assert_close(best.points, chosen)


# --- Least squares -------------------------------------------------------------------------------------------------


def test_least_squares_agree_with_numpy_and_do_not_depend_on_the_basis():
    features, weights, values = random(4, 9, 3), random(4, 9, seed=1).exp(), random(4, 9, 2, seed=2)
    found = volume.weighted_least_squares(features, weights, values)
    for b in range(4):
        root = weights[b].sqrt()[:, None]
        wanted = np.linalg.lstsq(root * features[b], root * values[b], rcond=None)[0]
        np.testing.assert_allclose(found[b], wanted, atol=1e-10)
    change = random(3, 3, seed=3)
    other = volume.weighted_least_squares(features @ change, 7 * weights, values)
    torch.testing.assert_close(features @ change @ other, features @ found)
    exact = volume.weighted_least_squares(features, weights, features @ change)
    torch.testing.assert_close(exact, change.expand(4, 3, 3))


def test_gauss_nodes_with_weights_of_christoffel_are_perfect():
    nodes, weights = gauss_legendre(8)
    sample = volume.sample_at(legendre(7), nodes[None, :, None])
    torch.testing.assert_close(sample.weights[0], 8 * weights)
    gram = volume.gram_matrices(sample.features, sample.weights)[0]
    torch.testing.assert_close(gram, torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(sample.smallest_eigenvalue, torch.ones(1, dtype=torch.float64))
    problem = volume.approximate("Runge", 7)
    assert experiment.gauss_ratio(problem, 60) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("target", "function", "density", "ends"),
    [
        ("Runge", lambda x: 1 / (1 + 5 * x**2), lambda x: 0.5, (-1, 1)),
        ("kink", abs, lambda x: 0.5, (-1, 1)),
        ("normal", lambda x: 1 / (1 + x**2 / 4), scipy.stats.norm.pdf, (-9, 9)),
    ],
)
def test_best_approximations_by_scipy(target, function, density, ends):
    problem = volume.approximate(target, 4)
    phi = lambda x: problem.space.features(tensor([[x]]).double())[0].numpy()  # noqa: E731
    mean = lambda g: scipy.integrate.quad(lambda x: g(x) * density(x), *ends, points=[0], limit=200)[0]  # noqa: E731
    for j in (0, 4):
        wanted = mean(lambda x, j=j: function(x) * phi(x)[j])
        assert problem.coefficients[j].item() == pytest.approx(wanted, abs=1e-6)
    best = mean(lambda x: function(x) ** 2) - problem.coefficients.square().sum().item()
    assert problem.best == pytest.approx(best, rel=1e-3)


# --- The experiment's parts ----------------------------------------------------------------------------------------


def test_error_ratios_are_errors_by_quadrature():
    problem = volume.approximate("ridge", 3)
    sample = volume.volume_sampling(problem.space, 14, 3, generator=seeded())
    ratios = experiment.error_ratios(problem, sample)
    nodes, weights = (part.numpy() for part in gauss_legendre(40))
    grid = tensor(np.array(list(itertools.product(nodes, nodes))))
    values = problem.function(sample.points)[..., None]
    found = volume.weighted_least_squares(sample.features, sample.weights, values)[..., 0]
    for b in range(3):
        difference = problem.function(grid) - problem.space.features(grid) @ found[b]
        error = np.outer(weights, weights).ravel() @ difference.square().numpy()
        assert ratios[b].item() == pytest.approx(error / problem.best, rel=1e-6)


def test_noise_of_independent_points_has_mean_one_and_of_sets_less():
    problem = volume.approximate("kink", 4)
    independent = volume.independent_sampling(problem.space, 10, 4000, generator=seeded())
    repeated = experiment.repeated(problem.space, 10, 4000, generator=seeded(1))
    assert experiment.noise_shares(problem, independent).mean().item() == pytest.approx(1, abs=0.05)
    assert experiment.noise_shares(problem, repeated).mean().item() < 0.9


def test_sweeps_and_sizes_of_known_designs():
    """A design that is stable from six features on, in every draw or in one of two."""
    problem = volume.approximate("Runge", 2)

    def design(space, n_points, n_draws, *, generator):
        points = gauss_legendre(n_points)[0][None, :, None].expand(n_draws, -1, -1)
        sample = volume.sample_at(space, points)
        scale = torch.full((n_draws, 1), 1.0 if n_points >= 18 else 0.1)
        return volume.Sample(sample.points, sample.features, sample.weights * scale)

    for multiples, shares, at in (
        ([2, 4, 6], [0, 0, 1], 5.0),
        ([6, 8], [1, 1], 6.0),
        ([2, 4], [0, 0], math.nan),
    ):
        found = experiment.half_stable_multiple(problem.space, design, multiples, 20, seeded_streams, 0.9)
        assert found[0].tolist() == shares
        torch.testing.assert_close(found[1], torch.full((10,), at, dtype=torch.float64), equal_nan=True)
    found = experiment.sweep(problem, {"gauss": design}, [2, 20], 3, seeded_streams)["gauss"]
    assert found.sizes == [6, 60]
    assert found.ratios[:, 1].sub(1).abs().max() < 0.1
    assert (found.stability[:, 0] < 0.2).all()


def test_growing_spaces_have_a_logarithm_s_number_of_points():
    """Two calls of one generator: the same draws for both functions."""
    sizes = []

    def design(space, n_points, n_draws, *, generator):
        sizes.append(n_points)
        return volume.volume_sampling(space, n_points, n_draws, generator=generator)

    device = torch.device("cpu")
    ratios, stability = experiment.growing_spaces(
        ["Runge", "kink"], [2, 5], 2.0, design, 4, seeded_streams, device
    )
    assert sizes == [4, 20]
    for target, found in ratios.items():
        problem = volume.approximate(target, 4)
        sample = volume.volume_sampling(problem.space, 20, 4, generator=seeded())
        torch.testing.assert_close(found[1], experiment.error_ratios(problem, sample))
        torch.testing.assert_close(stability[1], sample.smallest_eigenvalue)


def seeded_streams(*names):
    return seeded()


def test_minimax_error_of_a_known_case_and_worst_functions_by_search():
    """|x| has x² + 1/8 as its best parabola, which errs by 1/8."""
    assert experiment.minimax_error(volume.approximate("kink", 2)) == pytest.approx(1 / 8, abs=1e-6)
    smooth = experiment.SmoothFunctions(n_modes=9, smoothness=1.5)
    sample = volume.volume_sampling(legendre(2), 5, 2, generator=seeded())
    worst = smooth.worst_errors(sample)
    drawn = torch.nn.functional.normalize(random(4000, 6), dim=1)  # in the ball of H, orthogonal to V_3
    for b in range(2):
        scales = (1 + torch.arange(3, 9).double()) ** -1.5
        values = legendre_basis(sample.points[b, :, 0], 8)[:, 3:] @ (scales * drawn).T
        root = sample.weights[b].sqrt()[:, None]
        found = np.linalg.lstsq(root * sample.features[b], root * values, rcond=None)[0]
        squares = (scales * drawn).square().sum(dim=1).numpy() + (np.asarray(found) ** 2).sum(axis=0)
        errors = np.sqrt(squares)
        assert errors.max() <= worst[b].item() + 1e-12
        assert errors.max() > 0.93 * worst[b].item()


def test_sure_bounds_of_one_constant():
    """V_1: weights are 1, and the tail of H at ±1 is Σ (2j + 1)(1 + j)⁻³ from 1 on."""
    bounds = experiment.sure_bounds(legendre(0), experiment.SmoothFunctions(30, 1.5), 0.75)
    tail = sum((2 * j + 1) * (1 + j) ** -3 for j in range(1, 30))
    assert bounds == pytest.approx((3, 2**-1.5 + 2 * tail**0.5))


def test_patients_are_all_of_them():
    problem = experiment.diabetes_problem()
    everyone = experiment.without_replacement(442)(problem.space, 442, 2, generator=seeded())
    torch.testing.assert_close(experiment.error_ratios(problem, everyone), torch.ones(2, dtype=torch.float64))
    assert everyone.points.flatten(1).sort(dim=1).values.equal(torch.arange(442.0).double().expand(2, 442))
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression

    rows, outcomes = load_diabetes(return_X_y=True)
    residuals = outcomes - LinearRegression().fit(rows, outcomes).predict(rows)
    assert problem.best == pytest.approx((residuals**2).mean())


# --- Bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_designs_that_determine_nothing_are_refused():
    space = legendre(3)
    with pytest.raises(ValueError, match="n_points must be at least 4; got 3"):
        volume.independent_sampling(space, 3)
    with pytest.raises(ValueError, match="n_points must be a multiple of n_repetitions = 1 and at least 4"):
        volume.volume_sampling(space, 3)
    with pytest.raises(ValueError, match=r"n_points must be a multiple of n_repetitions = 2 .* got 9"):
        volume.volume_sampling(space, 9, n_repetitions=2)
    with pytest.raises(
        ValueError, match="reference must be one of 'measure', 'christoffel'; got 'cristoffel'"
    ):
        volume.volume_sampling(space, 4, reference="cristoffel")
    with pytest.raises(ValueError, match="n_draws must be at least 1; got 0"):
        volume.projection_dpp(space, 0)
    for delta in (0, 1, math.nan):
        with pytest.raises(ValueError, match="delta must be between 0 and 1"):
            volume.conditioned(lambda n: volume.volume_sampling(space, 4, n), 1, delta=delta)
    with pytest.raises(ValueError, match="n_candidates must be at least 1; got 0"):
        volume.boosted(lambda n: volume.volume_sampling(space, 4, n), 1, 0)


@pytest.mark.bad_input
def test_systems_without_one_solution_are_refused():
    features, weights = random(1, 4, 3), torch.ones(1, 4)
    with pytest.raises(ValueError, match="number of points in features must be at least 3; got 2"):
        volume.gram_matrices(features[:, :2], weights[:, :2])
    with pytest.raises(ValueError, match=r"features must be \(draws, points, features\) and weights"):
        volume.gram_matrices(features[0], weights)
    with pytest.raises(ValueError, match=r"values must be \(1, 4\) and a column a function; got \(1, 4\)"):
        volume.weighted_least_squares(features, weights, weights)
    with pytest.raises(ValueError, match="weights must be positive"):
        volume.weighted_least_squares(features, -weights, weights[..., None])
    twins = features[:, [0, 0, 1, 1]]
    with pytest.raises(ValueError, match="features must be linearly independent at the points of each draw"):
        volume.weighted_least_squares(twins, weights, weights[..., None])


@pytest.mark.bad_input
def test_spaces_that_are_none_are_refused():
    with pytest.raises(ValueError, match="family must be one of 'legendre', 'hermite'"):
        volume.polynomial_space("chebyshev", tensor([[1]]))
    with pytest.raises(ValueError, match="indices must differ from row to row"):
        volume.polynomial_space("legendre", tensor([[1, 2], [1, 2]]))
    with pytest.raises(ValueError, match="rows must have linearly independent columns"):
        volume.population_space(torch.ones(3, 2))
    with pytest.raises(ValueError, match="function must be one of 'Runge'"):
        volume.approximate("runge", 3)
