"""Choose how far to shrink many small samples by an estimate of the risk that needs no truth.

`proportions` and `differences` turn counts into unbiased values with unbiased variances; `sure_curve` estimates the
risk of every strength of linear shrinkage, and `choose_by_sure` takes the best. The estimate for rules that are not
linear is `regularity.foundations.risk.sure_binomial`.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import ndtri
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least
from regularity.foundations.risk import as_counts, binomial_variance

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
    return _rates(*as_counts(successes, trials), plug_in)


def _rates(successes: Tensor, trials: Tensor, plug_in: bool) -> Measurements:
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

    The effective size is 4 n₁n₀ / (n₁ + n₀), four times the inverse of 1/n₁ + 1/n₀. As for `proportions`.
    """
    first = _rates(*as_counts(treated, treated_trials, ("treated", "treated_trials")), plug_in)
    second = _rates(*as_counts(control, control_trials, ("control", "control_trials")), plug_in)
    sizes = 4 * first.sizes * second.sizes / (first.sizes + second.sizes)
    return Measurements(first.values - second.values, first.variances + second.variances, sizes, low=-1.0)


# --- Linear shrinkage: its loss, and the loss's estimate ----------------------------------------------------------


def strength_grid(low: float = 0.05, high: float = 2000.0, n_values: int = 80) -> Float[Tensor, " k"]:
    """Strengths to choose from: 0 (keep each unit's own value), a geometric progression in trials, ∞ (discard it)."""
    if not 0 < low < high < math.inf:
        raise ValueError(f"low and high must be positive, finite and increasing; got {low} and {high}")
    check_at_least("n_values", n_values, 2)
    steps = torch.logspace(math.log10(low), math.log10(high), n_values, dtype=torch.float64)
    return torch.cat([torch.zeros(1), steps, torch.tensor([math.inf])])


def pulls(sizes: Float[Tensor, " n"], strengths: Float[Tensor, "*k"]) -> Float[Tensor, "*k n"]:
    """Share 1 − n/(n + λ) of the way from a unit's own value to its prediction: one a strength and unit."""
    return 1 - sizes / (sizes + strengths[..., None])


def shrink(
    measurements: Measurements,
    predictions: Float[Tensor, "*draws n"],
    strength: float | Float[Tensor, "*#draws"],
) -> Float[Tensor, "*draws n"]:
    """Pull each value towards its prediction: m + n/(n + λ) · (value − m), with one λ, or one a draw.

    Warns of predictions outside the range of the parameters.
    """
    strength = torch.as_tensor(strength, device=measurements.values.device).to(measurements.values.dtype)
    if not bool((strength >= 0).all()):
        raise ValueError(f"strength must not be negative; got {strength.min().item():g}")
    check_predictions(measurements, predictions)
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
    Chen and Lei (2025), Compound estimation for binomials, of which the abstract was read; the terms follow from
    equation (compound-loss) of the chapter.
    """
    check_predictions(measurements, predictions)
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
    """Mean squared error of `shrink` at every strength, for those who know the truth; as for `sure_curve`."""
    check_predictions(measurements, predictions)
    _check_units("truth", truth, measurements)
    noise, gap = measurements.values - truth, measurements.values - predictions
    return _error_curve(noise.square(), noise * gap, gap.square(), measurements.sizes, strengths)


def _error_curve(noise: Tensor, cross: Tensor, gap: Tensor, sizes: Tensor, strengths: Tensor) -> Tensor:
    """Mean over the units of noise − 2·pull·cross + pull²·gap, at every strength."""
    check_strengths(strengths)
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
    Chen and Lei (2025), Compound estimation for binomials, of which the abstract was read; Xie, Kou and Brown (2012),
    SURE estimates for a heteroscedastic hierarchical model, for the free centre.
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
    """Least mean squared error over all strengths and all common centres in range: the oracle of `choose_by_sure`."""
    check_strengths(strengths)
    _check_units("truth", truth, measurements)
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

    Among all such weights those of least estimated risk, by isotonic regression (Xie, Kou and Brown, 2012).
    """
    check_predictions(measurements, predictions)
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
    (terms,) = as_floats(terms=terms, finite=False)
    half = ndtri((1 + level) / 2) * terms.std(dim=-1) / math.sqrt(terms.shape[-1])
    mean = terms.mean(dim=-1)
    return mean - half, mean + half


# --- Checks at the door -------------------------------------------------------------------------------------------


def check_strengths(strengths: Tensor) -> None:
    """Refuse strengths that are missing, negative or out of order."""
    if len(strengths) == 0:
        raise ValueError("strengths must not be empty")
    if bool((strengths < 0).any()) or bool(strengths.isnan().any()):
        raise ValueError(f"strengths must not be negative; got {strengths.min().item():g}")
    if bool((strengths[1:] <= strengths[:-1]).any()):
        raise ValueError("strengths must increase; got values out of order")


def check_predictions(measurements: Measurements, predictions: Tensor) -> None:
    """Refuse predictions of another length, or that are no numbers near the parameters' range."""
    _check_units("predictions", predictions, measurements)
    if bool(predictions.isnan().any()):
        raise ValueError(f"predictions must be numbers; got {int(predictions.isnan().sum())} NaN")
    if bool((predictions.abs() > 1e6).any()):
        raise ValueError(f"predictions must be near the parameters' range; got {predictions.abs().max():g}")


def _check_units(name: str, values: Tensor, measurements: Measurements) -> None:
    n_units = measurements.values.shape[-1]
    if values.shape[-1:] != (n_units,) or values.numel() == 0:
        raise ValueError(f"{name} must have one entry a unit, {n_units}; got {tuple(values.shape)}")
