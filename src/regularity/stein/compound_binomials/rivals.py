"""What the method is compared with: empirical Bayes with a Beta prior and with any prior, and a Gaussian scale."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import check_at_least
from regularity.foundations.risk import as_counts
from regularity.stein.compound_binomials.method import (
    Measurements,
    Shrinkage,
    _lowest,
    check_predictions,
    check_strengths,
    choose_by_sure,
    proportions,
    shrink,
)


def arcsine(successes: Float[Tensor, "*draws n"], trials: Float[Tensor, " n"]) -> Measurements:
    """Measure arcsin √p, whose variance is close to 1/(4n) whatever p is (Brown, 2008); sin² leads back."""
    successes, trials = as_counts(successes, trials)
    values = torch.asin(torch.sqrt((successes + 0.25) / (trials + 0.5)))
    return Measurements(values, (1 / (4 * trials)).expand_as(values), trials, high=math.pi / 2)


def choose_by_likelihood(
    successes: Float[Tensor, "*draws n"],
    trials: Float[Tensor, " n"],
    strengths: Float[Tensor, " k"],
    predictions: Float[Tensor, "*draws n"] | None = None,
) -> Shrinkage:
    """Shrink by the beta-binomial model of most likelihood: the same estimates as by SURE, another criterion.

    Under the prior p ~ Beta(λm, λ(1 − m)) the posterior mean is m + n/(n + λ) · (p̂ − m). Strengths 0 and ∞ are left
    out, and predictions are taken to the nearest of 0.001 and 0.999 where they lie beyond. Without predictions one
    centre for all units is chosen as well. The curve is minus the log-likelihood, up to a constant.
    """
    successes, trials = as_counts(successes, trials)
    measurements = proportions(successes, trials)
    check_strengths(strengths)
    strengths = strengths[(strengths > 0) & strengths.isfinite()]
    if len(strengths) == 0:
        raise ValueError("strengths must hold a positive, finite one; got none")
    if predictions is not None:
        check_predictions(measurements, predictions)
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

    By expectation maximisation from the uniform prior on a grid (Kiefer and Wolfowitz, 1956; Laird, 1978).
    """
    successes, trials = as_counts(successes, trials)
    check_at_least("n_points", n_points, 2)
    check_at_least("n_steps", n_steps, 1)
    points = (torch.arange(n_points, dtype=torch.float64, device=trials.device) + 0.5) / n_points
    # Units with the same counts are alike: work on the pairs (n, X) that occur.
    units = torch.stack([trials.expand_as(successes), successes]).long().flatten(1)
    pairs, place = units.unique(dim=1, return_inverse=True)
    place = place.reshape(successes.shape)
    n, x = pairs.double()[:, :, None]
    # Scaled to a maximum of 1 before it leaves the logarithm: p^x alone underflows from a thousand trials on.
    log_likelihood = x * torch.log(points) + (n - x) * torch.log1p(-points)
    likelihood = torch.exp(log_likelihood - log_likelihood.amax(dim=1, keepdim=True))
    shape = (*successes.shape[:-1], len(likelihood))
    multiplicity = likelihood.new_zeros(shape)
    multiplicity.scatter_add_(-1, place, torch.ones_like(place, dtype=torch.float64))
    prior = likelihood.new_full((*successes.shape[:-1], n_points), 1 / n_points)
    for _ in range(n_steps):
        prior = prior * ((multiplicity / (prior @ likelihood.T)) @ likelihood) / len(trials)
    means = (prior * points) @ likelihood.T / (prior @ likelihood.T)
    return means.gather(-1, place).to((successes / trials).dtype)


def shrink_on_arcsine_scale(
    successes: Float[Tensor, "*draws n"],
    trials: Float[Tensor, " n"],
    strengths: Float[Tensor, " k"],
    predictions: Float[Tensor, "*draws n"] | None = None,
) -> Float[Tensor, "*draws n"]:
    """Shrink by Gaussian SURE on the scale arcsin √p̂, and come back by the square of the sine."""
    targets = None if predictions is None else torch.asin(torch.sqrt(predictions))
    angles = choose_by_sure(arcsine(successes, trials), strengths, targets).estimates
    return torch.sin(angles.clamp(0, math.pi / 2)).square()
