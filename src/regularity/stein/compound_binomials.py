"""Compound binomials: choose how far to shrink many small samples by an estimate of the risk that needs no truth.

Yan Chen and Lihua Lei, "Compound Estimation for Binomials", 2025, arXiv 2512.25042.

`proportions` and `differences` turn counts into unbiased values with unbiased variances; `sure_curve` estimates the
risk of every strength of linear shrinkage, and `choose_by_sure` takes the best (`regularity.foundations.risk` holds
the estimate for rules that are not linear). Below them stand the predictions that one may shrink to, and the
empirical Bayes and plug-in rules it is compared with.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import ndtri
from sklearn.ensemble import RandomForestRegressor
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from regularity.foundations.checks import check_positive
from regularity.foundations.risk import binomial_variance, check_counts

Predictor = Callable[[Int[Tensor, " train"], Int[Tensor, " held_out"]], Float[Tensor, "*draws held_out"]]

# --- What is measured --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurements:
    """One noisy value a unit; the theory of linear shrinkage asks for no more than this.

    Attributes
    ----------
    values
        Unbiased estimates of the units' parameters; several rows are several draws of the same units.
    variances
        Unbiased estimates of the values' variances.
    sizes
        Effective numbers of trials n: a unit keeps the share n/(n + λ) of its own value.
    low, high
        The range of the parameters.
    """

    values: Float[Tensor, "*draws n"]
    variances: Float[Tensor, "*draws n"]
    sizes: Float[Tensor, " n"]
    low: float = 0.0
    high: float = 1.0


def proportions(
    successes: Float[Tensor, "*draws n"], trials: Float[Tensor, " n"], *, plug_in: bool = False
) -> Measurements:
    """Measure success rates: p̂ = X/n, with the variance estimate p̂(1 − p̂)/(n − 1).

    Parameters
    ----------
    successes, trials
        X ~ Bin(n, p), with n of at least 2.
    plug_in
        Divide by n instead of n − 1, as one does who replaces p by p̂ in p(1 − p)/n. Biased; for comparison.

    Returns
    -------
    The measurements.

    Raises
    ------
    ValueError
        If the counts are not binomial or a unit has fewer than two trials.
    """
    variances = binomial_variance(successes, trials)
    return Measurements(
        successes / trials, variances * (trials - 1) / trials if plug_in else variances, trials
    )


def differences(
    treated: Float[Tensor, "*draws n"],
    treated_trials: Float[Tensor, " n"],
    control: Float[Tensor, "*draws n"],
    control_trials: Float[Tensor, " n"],
    *,
    plug_in: bool = False,
) -> Measurements:
    """Measure treatment effects p₁ − p₀ by differences of averages, with the sum of the two variance estimates.

    Parameters
    ----------
    treated, treated_trials
        Counts of the first sample.
    control, control_trials
        Counts of the second.
    plug_in
        As for `proportions`.

    Returns
    -------
    The measurements, between −1 and 1; the effective size is 4 n₁n₀ / (n₁ + n₀), four times the inverse of
    1/n₁ + 1/n₀.

    Raises
    ------
    ValueError
        If the counts are not binomial or a unit has fewer than two trials in a sample.
    """
    first = proportions(treated, treated_trials, plug_in=plug_in)
    second = proportions(control, control_trials, plug_in=plug_in)
    sizes = 4 * treated_trials * control_trials / (treated_trials + control_trials)
    return Measurements(first.values - second.values, first.variances + second.variances, sizes, low=-1.0)


def arcsine(successes: Float[Tensor, "*draws n"], trials: Float[Tensor, " n"]) -> Measurements:
    """Measure arcsin √p, whose variance is close to 1/(4n) whatever p is; Gaussian shrinkage starts from here.

    Parameters
    ----------
    successes, trials
        X ~ Bin(n, p).

    Returns
    -------
    The measurements, between 0 and π/2; the square of the sine leads back.

    Raises
    ------
    ValueError
        If the counts are not binomial or a unit has fewer than two trials.

    References
    ----------
    Brown (2008), In-season prediction of batting averages.
    """
    check_counts(successes, trials)
    values = torch.asin(torch.sqrt((successes + 0.25) / (trials + 0.5)))
    return Measurements(values, (1 / (4 * trials)).expand_as(values), trials, high=math.pi / 2)


# --- Linear shrinkage: its loss, and the loss's estimate ----------------------------------------------------------


def strength_grid(low: float = 0.05, high: float = 2000.0, n_values: int = 80) -> Float[Tensor, " k"]:
    """Strengths λ to choose from: 0 (keep each unit's own value), values in geometric progression, ∞ (discard it).

    Parameters
    ----------
    low, high
        Smallest and largest of the progression, in trials: at λ = n a unit is pulled half the way.
    n_values
        Their number.

    Returns
    -------
    n_values + 2 increasing numbers.

    Raises
    ------
    ValueError
        If the bounds are not positive and increasing.
    """
    if not 0 < low < high:
        raise ValueError(f"low and high must be positive and increasing; got {low} and {high}")
    steps = torch.logspace(math.log10(low), math.log10(high), n_values, dtype=torch.float64)
    return torch.cat([torch.zeros(1), steps, torch.tensor([math.inf])])


def pulls(sizes: Float[Tensor, " n"], strengths: Float[Tensor, "*k"]) -> Float[Tensor, "*k n"]:
    """Share 1 − n/(n + λ) of the way from a unit's own value to its prediction.

    Parameters
    ----------
    sizes
        Effective numbers of trials n.
    strengths
        λ, from 0 to ∞.

    Returns
    -------
    One share a strength and unit, in [0, 1].
    """
    return 1 - sizes / (sizes + strengths[..., None])


def shrink(
    measurements: Measurements,
    predictions: Float[Tensor, "*draws n"],
    strength: float | Float[Tensor, "*#draws"],
) -> Float[Tensor, "*draws n"]:
    """Pull each value towards its prediction: m + n/(n + λ) · (value − m).

    Parameters
    ----------
    measurements
        What was measured.
    predictions
        m, which must not have seen the units' own values.
    strength
        λ, from 0 to ∞: one number, or one a draw.

    Returns
    -------
    The estimates.

    Raises
    ------
    ValueError
        If the predictions' number is wrong, one is NaN, or a strength is negative.

    Warns
    -----
    UserWarning
        If a prediction is outside the range of the parameters.
    """
    strength = torch.as_tensor(strength, dtype=measurements.values.dtype, device=measurements.values.device)
    if not bool((strength >= 0).all()):
        raise ValueError(f"strength must not be negative; got {strength.min().item():g}")
    _check_predictions(measurements, predictions)
    outside = (predictions < measurements.low) | (predictions > measurements.high)
    if bool(outside.any()):
        message = (
            f"{int(outside.sum())} of {predictions.numel()} predictions are outside "
            f"[{measurements.low:g}, {measurements.high:g}]"
        )
        warnings.warn(message, stacklevel=2)
    return measurements.values + pulls(measurements.sizes, strength) * (predictions - measurements.values)


def sure_curve(
    measurements: Measurements, predictions: Float[Tensor, "*draws n"], strengths: Float[Tensor, " k"]
) -> Float[Tensor, "*draws k"]:
    """Estimate the mean squared error of `shrink` at every strength, without bias and without the truth.

    Parameters
    ----------
    measurements
        What was measured.
    predictions
        m, which must not have seen the units' own values.
    strengths
        Increasing strengths λ, from 0 to ∞.

    Returns
    -------
    One value a draw and strength. Values, and their minimum, may be negative.

    Raises
    ------
    ValueError
        If the strengths are not increasing and non-negative, the predictions' number is wrong or one is NaN.

    References
    ----------
    Chen and Lei (2025), Compound estimation for binomials, Section 2.
    """
    _check_predictions(measurements, predictions)
    gap = measurements.values - predictions
    return _error_curve(
        measurements.variances, measurements.variances, gap.square(), measurements.sizes, strengths
    )


def loss_curve(
    measurements: Measurements,
    predictions: Float[Tensor, "*draws n"],
    strengths: Float[Tensor, " k"],
    truth: Float[Tensor, "*#draws n"],
) -> Float[Tensor, "*draws k"]:
    """Mean squared error of `shrink` at every strength, for those who know the truth.

    Parameters
    ----------
    measurements, predictions, strengths
        As for `sure_curve`.
    truth
        The parameters.

    Returns
    -------
    One value a draw and strength.

    Raises
    ------
    ValueError
        As for `sure_curve`.
    """
    _check_predictions(measurements, predictions)
    noise, gap = measurements.values - truth, measurements.values - predictions
    return _error_curve(noise.square(), noise * gap, gap.square(), measurements.sizes, strengths)


def _error_curve(noise: Tensor, cross: Tensor, gap: Tensor, sizes: Tensor, strengths: Tensor) -> Tensor:
    """Mean over the units of noise − 2·pull·cross + pull²·gap, at every strength."""
    _check_strengths(strengths)
    distinct, cross, gap = _by_size(sizes, cross, gap)
    pull = pulls(distinct, strengths)
    total = noise.sum(dim=-1, keepdim=True) - 2 * cross @ pull.T + gap @ pull.square().T
    return total / len(sizes)


def _by_size(sizes: Tensor, *terms: Tensor) -> tuple[Tensor, ...]:
    """Distinct sizes in increasing order, and each term's sum over the units of that size."""
    distinct, group = sizes.unique(return_inverse=True)
    sums = [each.new_zeros(*each.shape[:-1], len(distinct)).index_add_(-1, group, each) for each in terms]
    return distinct, *sums


@dataclass(frozen=True)
class Shrinkage:
    """What was chosen, with the curve that it was chosen from.

    Attributes
    ----------
    estimates
        The shrunk values.
    strength
        The chosen λ.
    centre
        The chosen common prediction, or None where predictions were given.
    curve
        The criterion at each strength; for a free centre, at the best centre for that strength.
    """

    estimates: Float[Tensor, "*draws n"]
    strength: Float[Tensor, "*draws"]
    centre: Float[Tensor, "*draws"] | None
    curve: Float[Tensor, "*draws k"]


def choose_by_sure(
    measurements: Measurements,
    strengths: Float[Tensor, " k"],
    predictions: Float[Tensor, "*draws n"] | None = None,
) -> Shrinkage:
    """Shrink with the strength, and where no predictions are given the common centre, of least estimated risk.

    Parameters
    ----------
    measurements
        What was measured.
    strengths
        Increasing strengths λ, from 0 to ∞.
    predictions
        m, which must not have seen the units' own values. None: one centre μ for all units is chosen as well; for
        each λ the best is the mean of the values with weights (1 − n/(n + λ))².

    Returns
    -------
    The estimates and the choice, for each draw on its own.

    Raises
    ------
    ValueError
        As for `sure_curve`.

    Warns
    -----
    UserWarning
        If every unit's estimated variance is zero, or a prediction is outside the range of the parameters.

    References
    ----------
    Chen and Lei (2025), Compound estimation for binomials, Sections 2 and 3; Xie, Kou and Brown (2012), SURE
    estimates for a heteroscedastic hierarchical model.
    """
    if bool((measurements.variances == 0).all(dim=-1).any()):
        warnings.warn(
            "every estimated variance is zero (each count is 0 or n): SURE takes the values for exact",
            stacklevel=2,
        )
    if predictions is not None:
        curve = sure_curve(measurements, predictions, strengths)
        strength = strengths[curve.argmin(dim=-1)]
        return Shrinkage(shrink(measurements, predictions, strength), strength, None, curve)

    values, variances = measurements.values, measurements.variances
    curve = _error_curve(variances, variances, values.square(), measurements.sizes, strengths)
    distinct, members, sums = _by_size(measurements.sizes, torch.ones_like(measurements.sizes), values)
    weights = pulls(distinct, strengths).square()
    total = members @ weights.T
    # At λ = 0 nothing is pulled and the centre does not matter.
    centres = torch.where(total > 0, sums @ weights.T / total, values.mean(dim=-1, keepdim=True))
    # Σ weights·(values − centre)² = Σ weights·values² − total·centre² at the weighted mean.
    curve = curve - total * centres.square() / len(measurements.sizes)
    return _lowest(measurements, strengths, centres, curve)


def _lowest(measurements: Measurements, strengths: Tensor, centres: Tensor, curve: Tensor) -> Shrinkage:
    """Shrink with the strength at the curve's minimum, towards the centre for that strength."""
    best = curve.argmin(dim=-1, keepdim=True)
    centre, strength = centres.gather(-1, best), strengths[best[..., 0]]
    estimates = shrink(measurements, centre.expand_as(measurements.values), strength)
    return Shrinkage(estimates, strength, centre[..., 0], curve)


def best_loss(
    measurements: Measurements, strengths: Float[Tensor, " k"], truth: Float[Tensor, "*#draws n"]
) -> Float[Tensor, "*draws"]:
    """Least mean squared error over all strengths and all common centres in range: the oracle of `choose_by_sure`.

    Parameters
    ----------
    measurements, strengths
        As there.
    truth
        The parameters.

    Returns
    -------
    One value a draw.

    Raises
    ------
    ValueError
        If the strengths are not increasing and non-negative.
    """
    _check_strengths(strengths)
    values, noise = measurements.values, measurements.values - truth
    distinct, members, *sums = _by_size(
        measurements.sizes, torch.ones_like(measurements.sizes), values, noise
    )
    pull = pulls(distinct, strengths)
    total = members @ pull.square().T
    pulled = sums[0] @ pull.square().T - sums[1] @ pull.T
    centres = torch.where(total > 0, pulled / total, 0.0).clamp(measurements.low, measurements.high)
    curve = _error_curve(noise.square(), noise * values, values.square(), measurements.sizes, strengths)
    # The centre enters as total·centre² − 2·pulled·centre.
    curve = curve + (total * centres.square() - 2 * pulled * centres) / len(measurements.sizes)
    return curve.amin(dim=-1)


def shrink_monotonically(
    measurements: Measurements, predictions: Float[Tensor, "*draws n"]
) -> Float[Tensor, "*draws n"]:
    """Shrink with one weight for each size, free but for its order: the larger the unit, the more of its own value.

    Among all such weights those of least estimated risk, by isotonic regression.

    Parameters
    ----------
    measurements
        What was measured.
    predictions
        m, which must not have seen the units' own values.

    Returns
    -------
    The estimates.

    Raises
    ------
    ValueError
        If the predictions' number is wrong or one is NaN.

    References
    ----------
    Xie, Kou and Brown (2012), SURE estimates for a heteroscedastic hierarchical model.
    """
    _check_predictions(measurements, predictions)
    gap = measurements.values - predictions
    sizes, gaps, variances = _by_size(measurements.sizes, gap.square(), measurements.variances.expand_as(gap))
    # A group's estimated risk is gap·(w − 1)² + (2w − 1)·variance: a parabola with its minimum at 1 − variance/gap.
    gaps = gaps.clamp_min(1e-12)  # without a gap any weight gives the same estimate
    rows = zip(*(sums.reshape(-1, len(sizes)).cpu().numpy() for sums in (variances, gaps)), strict=True)
    weights = np.stack(
        [isotonic_regression(1 - v / g, sample_weight=g, y_min=0, y_max=1) for v, g in rows]
    ).reshape(gaps.shape)
    return (
        predictions
        + gap * torch.as_tensor(weights).to(gap)[..., torch.searchsorted(sizes, measurements.sizes)]
    )


def risk_interval(
    terms: Float[Tensor, "*draws n"], level: float = 0.95
) -> tuple[Float[Tensor, "*draws"], Float[Tensor, "*draws"]]:
    """Confidence interval for a mean risk from the units' unbiased terms, or for a gain from their differences.

    The units' risks differ, so that the variance over units overstates the sampling variance: the interval is
    conservative.

    Parameters
    ----------
    terms
        One term a unit, independent over units, at fixed predictions and strength.
    level
        Coverage, between 0 and 1.

    Returns
    -------
    low, high
        The mean ± z · standard deviation / √n.

    Raises
    ------
    ValueError
        If `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1; got {level}")
    half = ndtri((1 + level) / 2) * terms.std(dim=-1) / math.sqrt(terms.shape[-1])
    mean = terms.mean(dim=-1)
    return mean - half, mean + half


# --- Predictions to shrink to, for `regularity.foundations.cross_fitting.cross_fit` -------------------------------


def pooled_mean(successes: Float[Tensor, "*draws n"], trials: Float[Tensor, " n"]) -> Predictor:
    """Predict every unit by the pooled rate ΣX / Σn of the units that are trained on.

    Parameters
    ----------
    successes, trials
        The counts.

    Returns
    -------
    ``predict(train, held_out)``.
    """

    def predict(train: Tensor, held_out: Tensor) -> Tensor:
        rate = successes[..., train].sum(dim=-1, keepdim=True) / trials[train].sum()
        return rate.expand(*successes.shape[:-1], len(held_out))

    return predict


def ridge_regression(
    covariates: Float[Tensor, "n d"],
    successes: Float[Tensor, "*draws n"],
    trials: Float[Tensor, " n"],
    *,
    penalty: float = 5.0,
) -> Predictor:
    """Predict rates by ridge regression on standardised covariates, each unit weighted by its number of trials.

    Parameters
    ----------
    covariates
        Any units; none constant.
    successes, trials
        The counts.
    penalty
        On the squared coefficients; the intercept is free.

    Returns
    -------
    ``predict(train, held_out)``, clipped to [0, 1].

    Raises
    ------
    ValueError
        If `penalty` is not positive.
    """
    check_positive("penalty", penalty)
    standard = (covariates - covariates.mean(dim=0)) / covariates.std(dim=0)
    design = torch.cat([torch.ones_like(standard[:, :1]), standard], dim=1)
    penalties = penalty * torch.eye(design.shape[1], dtype=design.dtype, device=design.device)
    penalties[0, 0] = 0

    def predict(train: Tensor, held_out: Tensor) -> Tensor:
        rows = design[train]
        gram = rows.T @ (trials[train, None] * rows) + penalties
        coefficients = torch.linalg.solve(gram, (successes[..., train] @ rows)[..., None])[..., 0]
        return (coefficients @ design[held_out].T).clamp(0, 1)

    return predict


def random_forest(
    covariates: Float[Tensor, "n d"],
    successes: Float[Tensor, " n"],
    trials: Float[Tensor, " n"],
    *,
    n_trees: int = 80,
    min_leaf: int = 5,
    seed: int = 0,
) -> Predictor:
    """Predict rates by scikit-learn's random forest, each unit weighted by its number of trials.

    Parameters
    ----------
    covariates
        Any units.
    successes, trials
        The counts of one draw.
    n_trees, min_leaf
        Number of trees, and least number of units in a leaf. Each split looks at half the covariates.
    seed
        Of the forest.

    Returns
    -------
    ``predict(train, held_out)``.
    """
    features, rates, weights = (part.cpu().numpy() for part in (covariates, successes / trials, trials))

    def predict(train: Tensor, held_out: Tensor) -> Tensor:
        seen, asked = train.cpu().numpy(), held_out.cpu().numpy()
        options = {"min_samples_leaf": min_leaf, "max_features": 0.5, "random_state": seed}
        forest = RandomForestRegressor(n_trees, **options)
        forest.fit(features[seen], rates[seen], sample_weight=weights[seen])
        return torch.as_tensor(forest.predict(features[asked])).to(successes)

    return predict


# --- What it is compared with: empirical Bayes --------------------------------------------------------------------


def choose_by_likelihood(
    successes: Float[Tensor, "*draws n"],
    trials: Float[Tensor, " n"],
    strengths: Float[Tensor, " k"],
    predictions: Float[Tensor, "*draws n"] | None = None,
) -> Shrinkage:
    """Shrink by the beta-binomial model of most likelihood: the same estimates as by SURE, another criterion.

    Under the prior p ~ Beta(λm, λ(1 − m)) the posterior mean is m + n/(n + λ) · (p̂ − m).

    Parameters
    ----------
    successes, trials
        The counts.
    strengths
        Increasing strengths λ; 0 and ∞, where there is no such prior, are left out.
    predictions
        m, taken to the nearest of 0.001 and 0.999 where it lies beyond. None: one centre for all units is chosen as
        well.

    Returns
    -------
    The estimates and the choice, for each draw on its own; the curve is minus the log-likelihood, up to a constant.

    Raises
    ------
    ValueError
        As for `choose_by_sure`.

    """
    measurements = proportions(successes, trials)
    _check_strengths(strengths)
    strengths = strengths[(strengths > 0) & strengths.isfinite()]
    if predictions is not None:
        _check_predictions(measurements, predictions)
        m = predictions.clamp(1e-3, 1 - 1e-3)
        curve = torch.stack([_beta_binomial_loss(successes, trials, m, s) for s in strengths], dim=-1)
        strength = strengths[curve.argmin(dim=-1)]
        return Shrinkage(shrink(measurements, m, strength), strength, None, curve)
    centres, curve = _profile_likelihood(successes, trials, strengths)
    return _lowest(measurements, strengths, centres, curve)


def _beta_binomial_loss(successes: Tensor, trials: Tensor, m: Tensor, strength: Tensor) -> Tensor:
    """Minus the log-likelihood, without its binomial coefficients."""
    a, b = strength * m, strength * (1 - m)
    terms = (
        torch.lgamma(successes + a) - torch.lgamma(a) + torch.lgamma(trials - successes + b) - torch.lgamma(b)
    )
    common = torch.lgamma(trials + strength) - torch.lgamma(strength)
    return common.sum() - terms.sum(dim=-1)


def _profile_likelihood(successes: Tensor, trials: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
    """For each strength the centre of most likelihood, and minus the log-likelihood there.

    Γ(x + a)/Γ(a) is the product of a + j over j < x. So only the numbers of units with X > j, n − X > j and n > j
    matter, and the log-likelihood is concave in the centre: Newton's method, kept inside (0, 1).
    """
    j = torch.arange(int(trials.max()), dtype=trials.dtype, device=trials.device)
    hits, misses, both = (
        (counts[..., None] > j).sum(dim=-2, keepdim=True).to(trials)
        for counts in (successes, trials - successes, trials)
    )
    s = strengths[:, None]
    m = (hits.sum(dim=-1, keepdim=True) / trials.sum()).clamp(1e-3, 1 - 1e-3)
    for _ in range(10):
        above, below = s / (s * m + j), s / (s * (1 - m) + j)
        slope = (hits * above - misses * below).sum(dim=-1, keepdim=True)
        curvature = (hits * above.square() + misses * below.square()).sum(dim=-1, keepdim=True)
        m = torch.minimum(torch.maximum(m + slope / curvature, m / 2), (1 + m) / 2)
    terms = hits * torch.log(s * m + j) + misses * torch.log(s * (1 - m) + j) - both * torch.log(s + j)
    return m[..., 0], -terms.sum(dim=-1)


def npmle(
    successes: Float[Tensor, "*draws n"],
    trials: Float[Tensor, " n"],
    *,
    n_points: int = 100,
    n_steps: int = 300,
) -> Float[Tensor, "*draws n"]:
    """Estimate each rate by its posterior mean under the prior of most likelihood, whatever its shape.

    Parameters
    ----------
    successes, trials
        The counts.
    n_points
        Points of the prior's grid on (0, 1).
    n_steps
        Steps of expectation maximisation, from the uniform prior.

    Returns
    -------
    The estimates.

    Raises
    ------
    ValueError
        If the counts are not binomial or a unit has fewer than two trials.

    References
    ----------
    Kiefer and Wolfowitz (1956), Consistency of the maximum likelihood estimator in the presence of infinitely many
    incidental parameters; Laird (1978), Nonparametric maximum likelihood estimation of a mixing distribution.
    """
    check_counts(successes, trials)
    points = (torch.arange(n_points, dtype=trials.dtype, device=trials.device) + 0.5) / n_points
    # Units with the same counts are alike: work on the pairs (n, X) that occur.
    base = trials.max() + 1
    pairs, place = (trials * base + successes).unique(return_inverse=True)
    n, x = (pairs // base)[:, None], (pairs % base)[:, None]
    likelihood = torch.exp(x * torch.log(points) + (n - x) * torch.log1p(-points))
    likelihood = likelihood / likelihood.amax(dim=1, keepdim=True)
    shape = (*successes.shape[:-1], len(pairs))
    multiplicity = likelihood.new_zeros(shape).scatter_add_(-1, place, torch.ones_like(successes))
    prior = likelihood.new_full((*successes.shape[:-1], n_points), 1 / n_points)
    for _ in range(n_steps):
        prior = prior * ((multiplicity / (prior @ likelihood.T)) @ likelihood) / len(trials)
    means = (prior * points) @ likelihood.T / (prior @ likelihood.T)
    return means.gather(-1, place)


# --- Checks at the door -------------------------------------------------------------------------------------------


def _check_strengths(strengths: Tensor) -> None:
    if len(strengths) == 0:
        raise ValueError("strengths must not be empty")
    if bool((strengths < 0).any()) or bool(strengths.isnan().any()):
        raise ValueError(f"strengths must not be negative; got {strengths.min().item():g}")
    if bool((strengths[1:] <= strengths[:-1]).any()):
        raise ValueError("strengths must increase; got values out of order")


def _check_predictions(measurements: Measurements, predictions: Tensor) -> None:
    n_units = measurements.values.shape[-1]
    if predictions.shape[-1:] != (n_units,):
        raise ValueError(f"predictions must have one entry a unit, {n_units}; got {tuple(predictions.shape)}")
    if bool(predictions.isnan().any()):
        raise ValueError(f"predictions must be numbers; got {int(predictions.isnan().sum())} NaN")
