"""Estimated risks against sums over all counts, choices against closed forms and optimisers, rivals against SciPy."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import optimize, stats
from sklearn.linear_model import Ridge

from regularity.data import load_rand_health, load_star98
from regularity.foundations.cross_fitting import cross_fit
from regularity.foundations.risk import sure_binomial
from regularity.stein import compound_binomials as binomials
from regularity.stein.compound_binomials import (
    Measurements,
    arcsine,
    best_loss,
    choose_by_likelihood,
    choose_by_sure,
    differences,
    experiment,
    loss_curve,
    npmle,
    pooled_mean,
    proportions,
    pulls,
    random_forest,
    ridge_regression,
    risk_interval,
    shrink,
    shrink_monotonically,
    strength_grid,
    sure_curve,
)
from tests.binomials import RATES, all_counts, exact_risk, mean_over_counts, tensor
from tests.draws import seeded

STRENGTHS = strength_grid(0.1, 1000.0, 30)


def sample(n_draws=3, n_units=40, seed=0):
    """Counts, trials and predictions of several draws of the same units."""
    generator = seeded(seed)
    trials = torch.randint(2, 13, (n_units,), generator=generator).double()
    rates = torch.rand(n_units, generator=generator, dtype=torch.float64)
    shape = (n_draws, n_units)
    counts = torch.binomial(trials.expand(shape).contiguous(), rates.expand(shape).contiguous(), generator)
    predictions = (rates + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    return counts, trials, rates, predictions


# --- Linear shrinkage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 12])
def test_the_curve_is_unbiased_at_every_strength(n):
    counts = tensor(range(n + 1))[:, None]  # one unit, each count a draw
    prediction = torch.full_like(counts, 0.2)
    curve = sure_curve(proportions(counts, tensor([n])), prediction, STRENGTHS)
    for strength, estimate in zip(STRENGTHS.tolist(), curve.T, strict=True):
        weight = 0.0 if math.isinf(strength) else n / (n + strength)
        risk = exact_risk(0.2 + weight * (np.arange(n + 1) / n - 0.2), n)
        np.testing.assert_allclose(mean_over_counts(estimate, n), risk, rtol=0, atol=1e-15)


def test_the_plug_in_is_biased_as_the_algebra_says():
    n = 4
    counts, prediction = tensor(range(n + 1))[:, None], torch.full((n + 1, 1), 0.6, dtype=torch.float64)
    curve = sure_curve(
        proportions(counts, tensor([n]), plug_in=True), prediction, tensor([0.0, 2.0, 4.0, 12.0])
    )
    for weight, estimate in zip((1, 2 / 3, 1 / 2, 1 / 4), curve.T, strict=True):
        risk = exact_risk(0.6 + weight * (np.arange(n + 1) / n - 0.6), n)
        bias = -(2 * weight - 1) * RATES * (1 - RATES) / n**2
        np.testing.assert_allclose(mean_over_counts(estimate, n) - risk, bias, rtol=0, atol=1e-15)


def test_the_curve_of_two_samples_is_unbiased():
    """Over all pairs of counts, for two arms of different sizes."""
    sizes, rates, prediction, strength = (5, 3), (0.7, 0.45), 0.1, 6.0
    treated, control = (
        grid.flatten()[:, None] for grid in torch.meshgrid(*map(torch.arange, (6, 4)), indexing="ij")
    )
    treated, control = treated.double(), control.double()
    effect = differences(treated, tensor([5.0]), control, tensor([3.0]))
    probability = np.outer(
        *(stats.binom.pmf(np.arange(n + 1), n, p) for n, p in zip(sizes, rates, strict=True))
    )
    curve = sure_curve(effect, torch.full_like(effect.values, prediction), tensor([strength]))
    weight = 7.5 / (7.5 + strength)  # 4 · 5 · 3 / (5 + 3) = 7.5
    estimates = prediction + weight * (treated / 5 - control / 3 - prediction)
    risk = probability.flatten() @ (estimates[:, 0].numpy() - (rates[0] - rates[1])) ** 2
    assert probability.flatten() @ curve[:, 0].numpy() == pytest.approx(risk, abs=1e-15)


def test_the_curve_is_the_mean_of_the_general_estimate():
    counts, trials, _, predictions = sample()
    curve = sure_curve(proportions(counts, trials), predictions, STRENGTHS)
    for strength, estimates in zip(STRENGTHS, curve.T, strict=True):
        terms = sure_binomial(
            lambda x, n, s=strength: predictions + n / (n + s) * (x / n - predictions), counts, trials
        )
        torch.testing.assert_close(terms.mean(dim=1), estimates)


def test_the_loss_is_that_of_the_shrunk_values():
    counts, trials, rates, predictions = sample()
    measured = proportions(counts, trials)
    losses = loss_curve(measured, predictions, STRENGTHS, rates)
    for strength, loss in zip(STRENGTHS, losses.T, strict=True):
        estimates = shrink(measured, predictions, strength)
        torch.testing.assert_close((estimates - rates).square().mean(dim=1), loss)


def test_a_prediction_that_has_seen_its_count_misleads_by_twice_the_covariance():
    """Two units, both predicted by the mean of both; over all pairs of counts."""
    sizes, rates, strength = (3, 6), np.array([0.2, 0.7]), 4.0
    first, second = torch.meshgrid(torch.arange(4), torch.arange(7), indexing="ij")
    counts = torch.stack([first.flatten(), second.flatten()], dim=1).double()
    probability = np.outer(
        *(stats.binom.pmf(np.arange(n + 1), n, p) for n, p in zip(sizes, rates, strict=True))
    )
    measured = proportions(counts, tensor([3.0, 6.0]))
    seen = measured.values.mean(dim=1, keepdim=True).expand(-1, 2)
    grid = tensor([strength])
    gap = sure_curve(measured, seen, grid) - loss_curve(measured, seen, grid, tensor(rates))
    pull = strength / (np.array(sizes) + strength)
    covariance = rates * (1 - rates) / sizes / 2
    assert probability.flatten() @ gap[:, 0].numpy() == pytest.approx(
        (-2 * pull * covariance).mean(), abs=1e-15
    )


def test_the_ends_of_the_grid_are_the_average_and_the_prediction():
    counts, trials, _, predictions = sample()
    measured = proportions(counts, trials)
    torch.testing.assert_close(shrink(measured, predictions, 0.0), counts / trials)
    torch.testing.assert_close(shrink(measured, predictions, math.inf), predictions)
    grid = strength_grid(0.5, 50.0, 3)
    torch.testing.assert_close(grid, tensor([0, 0.5, 5, 50, math.inf]))
    torch.testing.assert_close(pulls(tensor([5.0]), grid), tensor([[0], [1 / 11], [1 / 2], [10 / 11], [1]]))


def test_a_beta_prior_is_linear_shrinkage():
    """The posterior mean by integration of prior times likelihood, for Beta(1.5, 3.5)."""
    a, b, n = 1.5, 3.5, 4
    x, trials = all_counts(n)
    points = (np.arange(100_000) + 0.5) / 100_000
    weights = stats.beta.pdf(points, a, b) * stats.binom.pmf(np.arange(n + 1)[:, None], n, points)
    posterior = (weights @ points) / weights.sum(axis=1)
    ours = shrink(proportions(x, trials), torch.full_like(x, a / (a + b)), a + b)
    np.testing.assert_allclose(ours, posterior, rtol=1e-6)


def test_a_strength_for_each_draw():
    counts, trials, _, predictions = sample()
    measured = proportions(counts, trials)
    together = shrink(measured, predictions, tensor([1.0, 5.0, 20.0]))
    one = shrink(proportions(counts[1], trials), predictions[1], 5.0)
    torch.testing.assert_close(together[1], one)


# --- The choice ---------------------------------------------------------------------------------------------------


def test_equal_sizes_have_a_closed_form():
    """w = 1 − Σv̂ / Σ(p̂ − m)², clipped to [0, 1]; on a fine grid, for a near, a middling and a far prediction."""
    counts, _, rates, _ = sample(n_draws=1, n_units=200)
    trials = torch.full_like(rates, 6)
    counts = torch.minimum(counts[0], trials)
    measured = proportions(counts, trials)
    fine = strength_grid(0.01, 1e4, 20_000)
    weights = []
    for predictions in (counts / trials, torch.full_like(counts, 0.5), torch.full_like(counts, 1.0)):
        choice = choose_by_sure(measured, fine, predictions)
        gap = (counts / trials - predictions).square().sum()
        variance = (counts / 6 * (1 - counts / 6) / 5).sum()
        expected = (1 - variance / gap).clamp(0, 1) if gap > 0 else tensor(0.0)
        weights.append((6 / (6 + choice.strength)).item())
        assert weights[-1] == pytest.approx(expected.item(), abs=2e-3)
    assert weights[0] == 0 < weights[1] < weights[2] < 1


def test_the_free_centre_is_the_best_for_each_strength():
    counts, trials, _, _ = sample(n_draws=1)
    measured = proportions(counts[0], trials)
    choice = choose_by_sure(measured, STRENGTHS)

    def curve_at(centre):
        return sure_curve(measured, torch.full_like(trials, centre), STRENGTHS)

    for place in range(1, len(STRENGTHS)):
        found = optimize.minimize_scalar(
            lambda c, i=place: curve_at(c)[i].item(), bounds=(0, 1), method="bounded"
        )
        assert choice.curve[place].item() == pytest.approx(found.fun, abs=1e-10)
    torch.testing.assert_close(choice.curve[0], curve_at(0.5)[0])
    best = choice.curve.argmin()
    assert choice.strength == STRENGTHS[best]
    torch.testing.assert_close(curve_at(choice.centre.item())[best], choice.curve.min())
    expected = shrink(measured, torch.full_like(trials, choice.centre.item()), choice.strength)
    torch.testing.assert_close(choice.estimates, expected)


def test_the_oracle_is_the_least_loss_over_a_dense_grid():
    counts, trials, rates, _ = sample()
    measured = proportions(counts, trials)
    centres = np.linspace(0, 1, 2001)
    losses = torch.stack(
        [loss_curve(measured, torch.full_like(counts, c), STRENGTHS, rates).amin(dim=1) for c in centres]
    )
    oracle = best_loss(measured, STRENGTHS, rates)
    assert (oracle <= losses.amin(dim=0) + 1e-15).all()
    torch.testing.assert_close(oracle, losses.amin(dim=0), rtol=0, atol=1e-7)


def test_an_oracle_s_centre_stays_in_range():
    """Averages 1, 1, 0 are pulled a third of the way; 5/3 would be the best centre, and 1 is the best rate."""
    measured = proportions(tensor([2.0, 2.0, 0.0]), tensor([2.0, 2.0, 2.0]))
    loss = best_loss(measured, tensor([1.0]), tensor([1.0, 1.0, 1.0]))
    assert loss.item() == pytest.approx((2 / 3) ** 2 / 3)


def test_estimated_risks_may_be_negative():
    """Every unit with one success of two: no gap to the prediction, and a variance of ¼ · (2w − 1)."""
    measured = proportions(torch.ones(10, dtype=torch.float64), torch.full((10,), 2.0, dtype=torch.float64))
    curve = sure_curve(measured, torch.full((10,), 0.5, dtype=torch.float64), tensor([0.0, 2.0, math.inf]))
    torch.testing.assert_close(curve, tensor([0.25, 0.0, -0.25]))


@pytest.mark.parametrize(
    "estimate",
    [
        lambda x, n, m: choose_by_sure(proportions(x, n), STRENGTHS).estimates,
        lambda x, n, m: choose_by_sure(proportions(x, n), STRENGTHS, m).estimates,
        lambda x, n, m: shrink_monotonically(proportions(x, n), m),
        lambda x, n, m: choose_by_likelihood(x, n, STRENGTHS).estimates,
        lambda x, n, m: choose_by_likelihood(x, n, STRENGTHS, m).estimates,
        lambda x, n, m: npmle(x, n, n_steps=20),
    ],
    ids=["sure", "sure at predictions", "monotone", "likelihood", "likelihood at predictions", "npmle"],
)
def test_units_order_and_draws_do_not_matter(estimate):
    counts, trials, _, predictions = sample()
    together = estimate(counts, trials, predictions)
    order = torch.randperm(len(trials), generator=seeded(1))
    torch.testing.assert_close(
        estimate(counts[:, order], trials[order], predictions[:, order]), together[:, order]
    )
    torch.testing.assert_close(estimate(counts[1], trials, predictions[1]), together[1])
    # Successes and failures are alike.
    torch.testing.assert_close(estimate(trials - counts, trials, 1 - predictions), 1 - together)


def test_monotone_weights_minimise_the_estimated_risk():
    """Against a general optimiser over increments of the weights, on sizes whose best weights are out of order."""
    counts, trials, _, predictions = sample(n_draws=1, n_units=300)
    measured = proportions(counts[0], trials)
    sizes = trials.unique().tolist()
    members = [(trials == size).numpy() for size in sizes]
    gap = (measured.values - predictions[0]).square().numpy()
    variance = measured.variances.numpy()
    gaps, variances = (np.array([terms[m].sum() for m in members]) for terms in (gap, variance))

    def risk(increments):
        weights = np.cumsum(increments)
        return ((1 - weights) ** 2 * gaps + (2 * weights - 1) * variances).sum()

    found = optimize.minimize(
        risk,
        np.full(len(sizes), 0.02),
        bounds=[(0, 1)] * len(sizes),
        constraints={"type": "ineq", "fun": lambda increments: 1 - increments.sum()},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    estimates = shrink_monotonically(measured, predictions[0])
    ours = ((estimates - predictions[0]) / (measured.values - predictions[0])).numpy()
    weights = np.array([np.nanmedian(ours[m]) for m in members])
    assert (np.diff(weights) >= -1e-9).all()
    assert (np.diff(1 - variances / gaps) < 0).any()
    np.testing.assert_allclose(weights, np.cumsum(found.x), atol=1e-4)


def test_intervals_cover_at_their_level():
    """Normal terms of one mean, where the interval is nearly exact."""
    terms = 0.3 + torch.randn(4000, 200, generator=seeded(), dtype=torch.float64)
    for level in (0.5, 0.95):
        low, high = risk_interval(terms, level)
        half = stats.norm.ppf((1 + level) / 2) * terms[0].std().item() / math.sqrt(200)
        assert ((high[0] - low[0]) / 2).item() == pytest.approx(half)
        coverage = ((low < 0.3) & (high > 0.3)).double().mean().item()
        assert coverage == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 4000) + 0.003)


# --- Predictions --------------------------------------------------------------------------------------------------


def test_ridge_regression_is_scikit_learn_s():
    counts, trials, _, _ = sample(n_units=80)
    covariates = 7 + 3 * torch.randn(80, 5, generator=seeded(), dtype=torch.float64)
    train, held_out = torch.arange(60), torch.arange(60, 80)
    ours = ridge_regression(covariates, counts, trials, penalty=4.0)(train, held_out)
    standard = ((covariates - covariates.mean(dim=0)) / covariates.std(dim=0)).numpy()
    for draw, predicted in enumerate(ours):
        peer = Ridge(alpha=4.0).fit(standard[:60], (counts[draw] / trials)[:60], sample_weight=trials[:60])
        np.testing.assert_allclose(predicted, peer.predict(standard[60:]).clip(0, 1), atol=1e-10)


def test_the_pooled_mean_counts_trials_not_units():
    predict = pooled_mean(tensor([[1.0, 6.0, 0.0], [2.0, 3.0, 9.0]]), tensor([2.0, 6.0, 9.0]))
    predicted = predict(torch.tensor([0, 1]), torch.tensor([2, 2]))
    torch.testing.assert_close(predicted, tensor([[7 / 8, 7 / 8], [5 / 8, 5 / 8]]))


@pytest.mark.parametrize("kind", ["mean", "ridge", "forest"])
def test_a_cross_fitted_prediction_has_not_seen_its_count(kind):
    counts, trials, _, _ = sample(n_draws=1)
    covariates = torch.randn(len(trials), 3, generator=seeded(), dtype=torch.float64)

    def predictions(successes):
        predictor = {
            "mean": lambda: pooled_mean(successes, trials),
            "ridge": lambda: ridge_regression(covariates, successes, trials),
            "forest": lambda: random_forest(covariates, successes, trials, n_trees=5, min_leaf=2),
        }[kind]()
        return cross_fit(predictor, len(trials), generator=seeded(3))

    before = predictions(counts[0])
    for unit in range(0, len(trials), 9):
        changed = counts[0].clone()
        changed[unit] = trials[unit] - changed[unit] if 2 * changed[unit] != trials[unit] else 0
        after = predictions(changed)
        assert after[unit] == before[unit]
        assert (after != before).any()  # the others have seen it


def test_a_forest_predicts_rates_and_weighs_by_trials():
    trials = tensor([2.0, 98.0] * 20)
    counts = tensor([2.0, 49.0] * 20)  # rates 1 and ½, on covariates that say nothing
    covariates = torch.ones(40, 2, dtype=torch.float64)
    predicted = random_forest(covariates, counts, trials, n_trees=200)(torch.arange(40), torch.arange(3))
    np.testing.assert_allclose(predicted, (2 + 49) / 100, atol=0.005)


# --- Rivals -------------------------------------------------------------------------------------------------------


def log_likelihood(counts, trials, a, b):
    return stats.betabinom.logpmf(counts.numpy(), trials.numpy(), a, b).sum()


def test_the_likelihood_is_scipy_s_beta_binomial():
    counts, trials, _, predictions = sample(n_draws=1)
    m = predictions[0].clamp(0.01, 0.99)
    grid = tensor([0.5, 3.0, 20.0])
    given = choose_by_likelihood(counts[0], trials, grid, m)
    free = choose_by_likelihood(counts[0], trials, grid)
    for curve, centre in ((given.curve, m.numpy()), (free.curve, None)):
        offsets = []
        for strength, value in zip(grid.tolist(), curve.tolist(), strict=True):
            if centre is None:

                def loss(c, s=strength):
                    return -log_likelihood(counts[0], trials, s * c, s * (1 - c))

                theirs = -optimize.minimize_scalar(loss, bounds=(0.01, 0.99), method="bounded").fun
            else:
                theirs = log_likelihood(counts[0], trials, strength * centre, strength * (1 - centre))
            offsets.append(value + theirs)
        np.testing.assert_allclose(offsets, offsets[0], rtol=0, atol=1e-7)  # the binomial coefficients


def test_the_likelihood_s_choice_is_an_optimiser_s():
    counts, trials, _, _ = sample(n_draws=1, n_units=300)
    choice = choose_by_likelihood(counts[0], trials, strength_grid(0.1, 100.0, 2000))

    def loss(parameters):
        centre, strength = 1 / (1 + math.exp(-parameters[0])), math.exp(parameters[1])
        return -log_likelihood(counts[0], trials, strength * centre, strength * (1 - centre))

    found = optimize.minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    assert choice.centre.item() == pytest.approx(1 / (1 + math.exp(-found.x[0])), abs=1e-4)
    assert choice.strength.item() == pytest.approx(math.exp(found.x[1]), rel=4e-3)


def test_the_npmle_is_expectation_maximisation_unit_by_unit():
    counts, trials, _, _ = sample(n_draws=1)
    points = (np.arange(30) + 0.5) / 30
    likelihood = stats.binom.pmf(counts[0].numpy()[:, None], trials.numpy()[:, None], points)
    prior = np.full(30, 1 / 30)
    for _ in range(40):
        posterior = likelihood * prior
        prior = (posterior / posterior.sum(axis=1, keepdims=True)).mean(axis=0)
    posterior = likelihood * prior
    means = posterior @ points / posterior.sum(axis=1)
    np.testing.assert_allclose(npmle(counts[0], trials, n_points=30, n_steps=40), means, rtol=1e-10)


def test_the_npmle_finds_two_kinds_of_units():
    rates = tensor([0.205, 0.705]).repeat(2000)
    trials = torch.full_like(rates, 12)
    counts = torch.binomial(trials, rates, seeded())
    odds = (0.205 / 0.705) ** counts * (0.795 / 0.295) ** (12 - counts)
    bayes = (0.205 * odds + 0.705) / (1 + odds)
    assert (npmle(counts, trials, n_steps=2000) - bayes).square().mean().sqrt() < 0.015


def test_the_arcsine_has_a_variance_of_one_over_four_n():
    n, p = 60, np.array([0.2, 0.5, 0.7])
    x, trials = all_counts(n)
    measured = arcsine(x, trials)
    mean, square = (mean_over_counts(measured.values**k, n, p) for k in (1, 2))
    np.testing.assert_allclose(square - mean**2, 1 / (4 * n), rtol=0.03)
    np.testing.assert_allclose(mean, np.arcsin(np.sqrt(p)), atol=2e-3)
    torch.testing.assert_close(measured.variances, 1 / (4 * trials))


@pytest.mark.parametrize("n", [1080, 8191])
def test_the_npmle_keeps_its_numbers_for_large_counts(n):
    """One unit's estimate under the prior of most likelihood is its own average, as near as the grid allows."""
    for dtype in (torch.float64, torch.float32):
        trials = torch.full((3,), n, dtype=dtype)
        counts = torch.tensor([0, n // 3, n], dtype=dtype)
        estimates = npmle(counts, trials)
        assert estimates.dtype == dtype
        np.testing.assert_allclose(estimates.double(), counts.double() / n, atol=0.006)


@pytest.mark.bad_input
def test_whole_numbers_give_what_their_floats_give():
    counts, trials, _, predictions = sample()
    whole = counts.long(), trials.long()
    torch.testing.assert_close(npmle(*whole, n_steps=9), npmle(counts, trials, n_steps=9))
    ours = choose_by_sure(proportions(*whole), STRENGTHS, predictions)
    torch.testing.assert_close(
        ours.estimates, choose_by_sure(proportions(counts, trials), STRENGTHS, predictions).estimates
    )


# --- Problems and runs --------------------------------------------------------------------------------------------


def test_made_up_populations_have_the_laws_that_they_name():
    laws = {"rare": stats.beta(1, 19), "mild": stats.beta(2, 6)}
    for name, law in laws.items():
        _, rates = binomials.made_up_population(name, 500, 10, seeded(5))
        assert stats.kstest(rates.flatten().numpy(), law.cdf).pvalue > 1e-3
    trials, rates = binomials.made_up_population("two kinds", 500, 10, seeded(5))
    assert stats.kstest(rates[:, 250:].flatten().numpy(), stats.beta(0.5, 0.5).cdf).pvalue > 1e-3
    assert stats.kstest(rates[:, :250].flatten().numpy(), stats.norm(0.5, 0.02).cdf).pvalue > 1e-3
    assert trials[[0, -1]].tolist() == [3, 30]


def test_districts_are_those_of_the_data_and_can_be_more():
    columns = load_star98()
    districts = binomials.school_districts(columns, 303, seeded())
    assert districts.rates.mean().item() == pytest.approx(0.437, abs=1e-3)  # statsmodels' own description
    more = binomials.school_districts(columns, 1000, seeded())
    assert set(more.rates.tolist()) <= set(districts.rates.tolist())
    assert len(more.first(400).rates) == 400
    trials = binomials.pupils_drawn(districts, seeded())
    assert np.corrcoef(trials["more if rich"], districts.rates)[0, 1] > 0.8


def test_the_health_cells_are_pandas_group_means():
    years = load_rand_health()
    frame = pd.DataFrame({name: column.numpy() for name, column in years.items()})
    frame["visited"], frame["free"] = frame["mdvis"] > 0, frame["lncoins"] == 0
    fair, good = frame["hlthf"] + frame["hlthp"] > 0, frame["hlthg"] > 0
    frame["health"] = np.where(fair, 2, np.where(good, 1, 0))
    edges = np.unique(np.quantile(frame["disea"], np.linspace(0, 1, 25)))
    frame["bin"] = np.searchsorted(edges[1:-1], frame["disea"])
    keys = ["bin", "health", frame["physlm"] > 0, "free"]
    groups = frame.groupby(keys)["visited"].agg(["mean", "size"]).unstack()
    kept = groups[(groups["size"].fillna(0) >= 12).all(axis=1)]["mean"]
    rates = binomials.visit_rates(years)
    np.testing.assert_allclose(np.sort(rates[0]), np.sort(kept[False]), atol=1e-12)
    np.testing.assert_allclose(np.sort(rates[1]), np.sort(kept[True]), atol=1e-12)


def test_three_trials_do_not_show_the_prior():
    """By quadrature: the uniform prior against one of two points, on the counts and on the posterior means."""
    counts_apart, means_apart = experiment.unidentified_prior()
    assert counts_apart < 1e-15
    low = 0.5 - math.sqrt(1 / 12)
    weights = np.array([low * (1 - low) ** 2, (1 - low) * low**2])
    posterior = weights @ [low, 1 - low] / weights.sum()  # one success of three
    assert means_apart == pytest.approx(abs(posterior - 2 / 5))


@pytest.mark.parametrize("plug_in", [False, True])
def test_intervals_cover_the_gain_at_their_predictions_and_only_with_the_right_variance(plug_in):
    generator = seeded(1)
    rates = torch.rand(300, generator=generator, dtype=torch.float64)
    trials = torch.full_like(rates, 3)
    counts = binomials.draw_counts(rates, trials, 500, generator)
    predictions = (rates + 0.1 * torch.randn(300, generator=generator, dtype=torch.float64)).clamp(0, 1)
    held, _ = experiment.cover_gain(
        proportions(counts, trials, plug_in=plug_in), predictions.expand_as(counts), STRENGTHS, rates
    )
    coverage = held.double().mean().item()
    assert (coverage < 0.8) if plug_in else (0.93 < coverage < 0.99)


def test_the_regret_is_never_negative_and_falls():
    columns = load_star98()
    options = {"n_draws": 40, "n_folds": 5, "penalty": 5.0}
    districts = binomials.school_districts(columns, 800, seeded(2))
    names = {"trials": 0, "counts": 1, "folds": 2}
    regret = [
        experiment.regret_at_predictions(
            districts.first(n), "2 to 12", STRENGTHS, lambda name: seeded(names[name]), **options
        )
        for n in (100, 800)
    ]
    assert min(values.min() for values in regret) > -1e-15
    assert regret[1].mean() < 0.5 * regret[0].mean()
    free = [
        experiment.regret_at_free_centre(
            "mild", n, STRENGTHS, lambda name: seeded(len(name)), n_draws=40
        ).mean()
        for n in (100, 1600)
    ]
    assert 0 < free[1] < 0.5 * free[0]


def test_a_forest_that_has_seen_its_counts_promises_too_much():
    districts = binomials.school_districts(load_star98(), 303, seeded())
    trials = torch.full_like(districts.rates, 4)
    counts = binomials.draw_counts(districts.rates, trials, 1, seeded(3))[0]
    options = {"n_folds": 5, "n_trees": 20, "min_leaf": 1}
    curves = experiment.forest_curves(districts, counts, trials, STRENGTHS, seed=0, folds=seeded(), **options)
    assert curves["in-sample"][0].min() < 0 < curves["in-sample"][1].min()
    assert curves["cross-fitted"][0].min() > curves["in-sample"][0].min() + 0.02


def test_rules_at_predictions_are_those_of_their_names():
    counts, trials, _, predictions = sample()
    rules = experiment.rules_at_predictions(STRENGTHS)
    torch.testing.assert_close(rules["ridge alone"](counts, trials, predictions), predictions)
    biased = choose_by_sure(proportions(counts, trials, plug_in=True), STRENGTHS, predictions)
    torch.testing.assert_close(rules["plug-in at ridge"](counts, trials, predictions), biased.estimates)
    assert not torch.equal(rules["SURE at ridge"](counts, trials, predictions), biased.estimates)


# --- Bad input ----------------------------------------------------------------------------------------------------

ONES, FOURS = torch.ones(20, dtype=torch.float64), torch.full((20,), 4.0, dtype=torch.float64)


def changed(values, unit, value):
    values = values.clone()
    values[unit] = value
    return values


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "door",
    [
        proportions,
        arcsine,
        npmle,
        lambda x, n: choose_by_likelihood(x, n, STRENGTHS),
    ],
)
def test_counts_are_checked_at_every_door(door):
    with pytest.raises(ValueError, match=r"trials must be at least 2, .* variance; got unit 17 with n=1"):
        door(ONES, changed(FOURS, 17, 1.0))
    with pytest.raises(ValueError, match=r"successes must be between 0 and trials; got -1 of 4 at unit 3"):
        door(changed(ONES, 3, -1.0), FOURS)
    with pytest.raises(ValueError, match=r"successes must be between 0 and trials; got 5 of 4 at unit 0"):
        door(changed(ONES, 0, 5.0), FOURS)
    with pytest.raises(ValueError, match=r"successes must be whole numbers; got \[1\.5\]"):
        door(changed(ONES, 2, 1.5), FOURS)
    with pytest.raises(ValueError, match=r"trials must be whole numbers; got \[4\.25\]"):
        door(ONES, changed(FOURS, 2, 4.25))
    with pytest.raises(ValueError, match=r"successes must be finite; got NaN"):
        door(changed(ONES, 2, math.nan), FOURS)
    with pytest.raises(ValueError, match=r"trials must have one entry a unit; got shape \(19,\)"):
        door(ONES, FOURS[:19])


MEASURED = Measurements(ONES / 4, ONES / 16, FOURS)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "door",
    [
        lambda m: shrink(MEASURED, m, 1.0),
        lambda m: sure_curve(MEASURED, m, STRENGTHS),
        lambda m: loss_curve(MEASURED, m, STRENGTHS, ONES),
        lambda m: choose_by_sure(MEASURED, STRENGTHS, m),
        lambda m: choose_by_likelihood(ONES, FOURS, STRENGTHS, m),
        lambda m: shrink_monotonically(MEASURED, m),
    ],
)
def test_predictions_are_checked(door):
    with pytest.raises(ValueError, match=r"predictions must have one entry a unit, 20; got \(19,\)"):
        door(ONES[:19])
    with pytest.raises(ValueError, match="predictions must be numbers; got 1 NaN"):
        door(changed(ONES, 4, math.nan))


@pytest.mark.bad_input
def test_each_arm_s_counts_are_called_by_their_names():
    with pytest.raises(ValueError, match="treated must be between 0 and treated_trials; got 5 of 4"):
        differences(changed(ONES, 0, 5.0), FOURS, ONES, FOURS)
    with pytest.raises(ValueError, match=r"control_trials must be at least 2, .* unit 3 with n=1"):
        differences(ONES, FOURS, ONES, changed(FOURS, 3, 1.0))


@pytest.mark.bad_input
def test_predictions_out_of_range_are_warned_of():
    with pytest.warns(UserWarning, match=r"1 of 20 predictions are outside \[0, 1\]"):
        shrink(MEASURED, changed(ONES, 4, 1.2), 1.0)
    effect = differences(ONES, FOURS, ONES, FOURS)
    with pytest.warns(UserWarning, match=r"2 of 20 predictions are outside \[-1, 1\]"):
        choose_by_sure(effect, STRENGTHS, changed(-ONES, slice(0, 2), -1.2))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "door",
    [
        lambda s: sure_curve(MEASURED, ONES, s),
        lambda s: loss_curve(MEASURED, ONES, s, ONES),
        lambda s: choose_by_sure(MEASURED, s),
        lambda s: best_loss(MEASURED, s, ONES),
        lambda s: choose_by_likelihood(ONES, FOURS, s),
    ],
)
def test_strengths_are_checked(door):
    with pytest.raises(ValueError, match="strengths must not be empty"):
        door(tensor([]))
    with pytest.raises(ValueError, match="strengths must increase; got values out of order"):
        door(tensor([1.0, 3.0, 2.0]))
    with pytest.raises(ValueError, match="strengths must not be negative; got -1"):
        door(tensor([-1.0, 3.0]))


@pytest.mark.bad_input
def test_single_parameters_are_checked():
    with pytest.raises(ValueError, match="strength must not be negative; got -2"):
        shrink(MEASURED, ONES, -2.0)
    with pytest.raises(
        ValueError, match=r"low and high must be positive, finite and increasing; got 5\.0 and 1\.0"
    ):
        strength_grid(5.0, 1.0)
    with pytest.raises(ValueError, match="level must be between 0 and 1; got 95"):
        risk_interval(ONES, 95)
    with pytest.raises(ValueError, match="name must be one of 'rare', 'mild', 'two kinds'; got 'wild'; did"):
        binomials.made_up_population("wild", 5, 1, seeded())
    with pytest.raises(ValueError, match=r"covariates must not be constant; got columns \[1\] of one value"):
        ridge_regression(torch.stack([FOURS + torch.arange(20), ONES], dim=1), ONES, FOURS)
    with pytest.raises(ValueError, match=r"successes must be those of one draw, \(n,\); got \(2, 20\)"):
        random_forest(torch.eye(20, dtype=torch.float64), torch.stack([ONES, ONES]), FOURS)
    with pytest.raises(ValueError, match="penalty must be positive and finite; got 0"):
        ridge_regression(torch.eye(20, dtype=torch.float64), ONES, FOURS, penalty=0)


@pytest.mark.bad_input
@pytest.mark.parametrize("counts", [0 * ONES, FOURS, torch.stack([ONES, 0 * ONES])])
def test_counts_that_leave_no_variance_are_warned_of(counts):
    with pytest.warns(UserWarning, match=r"every estimated variance is zero \(each count is 0 or n\)"):
        choice = choose_by_sure(proportions(counts, FOURS), STRENGTHS, torch.full_like(counts, 0.3))
    assert choice.strength.flatten()[-1] == 0  # the values are taken for exact
