"""Stein's and Tweedie's identities: what noisy data alone say of the denoised.

Stein's unbiased risk estimate needs the divergence of a denoiser, Tweedie's formula the score of the noisy
data; both need the noise's family and parameter, and neither needs a clean observation. For counts the
derivative becomes a difference, and the variance is estimated from the counts themselves.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import check_finite, check_positive
from regularity.foundations.noise import standard_normal_like


def _check_pair(noisy: Tensor, score: Tensor) -> None:
    if noisy.shape != score.shape:
        raise ValueError(
            f"score must have the shape of noisy; got {tuple(score.shape)} for noisy {tuple(noisy.shape)}"
        )
    for name, values in (("noisy", noisy), ("score", score)):
        check_finite(name, values)


def _check_not_negative(noisy: Tensor, family: str) -> None:
    if bool((noisy < 0).any()):
        raise ValueError(f"noisy must not be negative under {family} noise; got {noisy.min().item():g}")


def tweedie_gaussian(
    noisy: Float[Tensor, "*shape"],
    score: Float[Tensor, "*shape"],
    noise_std: float | Float[Tensor, "*#shape"],
) -> Float[Tensor, "*shape"]:
    """Posterior mean under Gaussian noise, from the score of the noisy data.

    Parameters
    ----------
    noisy
        Observations y = x + noise_std·n.
    score
        ∇ log p(y) at the observations, in inverse units of `noisy`.
    noise_std
        Standard deviation of the noise; a number, or a tensor that broadcasts to `noisy`.

    Returns
    -------
    E[x | y] = y + noise_std² ∇ log p(y), exact for the exact score.

    Raises
    ------
    ValueError
        If `noise_std` is not positive, the shapes differ or an entry is not finite.

    References
    ----------
    Efron (2011), Tweedie's formula and selection bias, eq. 1.4; Kim and Ye (2021), Noise2Score.

    Examples
    --------
    Prior N(0, 1) and noise N(0, 1): y has score −y/2, and the posterior mean is y/2.

    >>> y = torch.tensor([1.0, -3.0])
    >>> tweedie_gaussian(y, -y / 2, noise_std=1.0)
    tensor([ 0.5000, -1.5000])
    """
    check_positive("noise_std", noise_std)
    _check_pair(noisy, score)
    return noisy + noise_std**2 * score


def tweedie_poisson(
    noisy: Float[Tensor, "*shape"],
    score: Float[Tensor, "*shape"],
    gain: float | Float[Tensor, "*#shape"],
    *,
    check_lattice: bool = True,
) -> Float[Tensor, "*shape"]:
    """Estimate the intensity under Poisson noise, from the score of the noisy data.

    Parameters
    ----------
    noisy
        Observations y = gain·Poisson(x / gain), not negative.
    score
        ∇ log p(y) at the observations, of the density that interpolates the lattice gain·{0, 1, ...}.
    gain
        Intensity of one count; a number, or a tensor that broadcasts to `noisy`.
    check_lattice
        Warn when observations are no multiples of `gain`. A scan over gains sets it to False.

    Returns
    -------
    (y + gain/2)·exp(gain·∇ log p(y)): close to the geometric posterior mean exp E[log x | y], the mean of the
    natural parameter mapped back. It lies below E[x | y]. The exact factor is gain·exp ψ(y/gain + 1); y + gain/2
    is its form for large counts.

    Raises
    ------
    ValueError
        If `gain` is not positive, `noisy` is negative, the shapes differ or an entry is not finite.

    Warns
    -----
    UserWarning
        If observations are off the lattice: then `gain` is wrong, or the noise is not Poisson.

    References
    ----------
    Kim and Ye (2021), Noise2Score.
    """
    check_positive("gain", gain)
    _check_pair(noisy, score)
    _check_not_negative(noisy, "Poisson")
    if check_lattice:
        counts = noisy / gain
        n_off = int(((counts - counts.round()).abs() > 1e-3 * counts.clamp_min(1)).sum())
        if n_off:
            message = (
                f"{n_off} of {noisy.numel()} observations are no multiples of gain; is gain={gain} wrong?"
            )
            warnings.warn(message, stacklevel=2)
    return (noisy + gain / 2) * torch.exp(gain * score)


def tweedie_gamma(
    noisy: Float[Tensor, "*shape"],
    score: Float[Tensor, "*shape"],
    shape: float | Float[Tensor, "*#shape"],
    *,
    check_denominator: bool = True,
) -> Float[Tensor, "*shape"]:
    """Estimate the intensity under multiplicative Gamma noise, from the score of the noisy data.

    Parameters
    ----------
    noisy
        Observations y = x·g with g ~ Gamma(shape, rate=shape), not negative.
    score
        ∇ log p(y) at the observations.
    shape
        Shape of the Gamma law, above one; a number, or a tensor that broadcasts to `noisy`.
    check_denominator
        Warn when a denominator is not positive. A scan over shapes, most of them wrong, sets it to False.

    Returns
    -------
    shape·y / ((shape − 1) − y ∇ log p(y)): the harmonic posterior mean 1 / E[1/x | y], exact for the exact score.
    It lies below E[x | y].

    Raises
    ------
    ValueError
        If `shape` is not above one, `noisy` is negative, the shapes differ or an entry is not finite.

    Warns
    -----
    UserWarning
        If a denominator is not positive, which no exact score gives: it is clamped to a thousandth of shape − 1,
        and the warning counts the pixels.

    References
    ----------
    Kim and Ye (2021), Noise2Score.
    """
    smallest = torch.as_tensor(shape, dtype=torch.float64).min().item()
    if not smallest > 1:
        raise ValueError(f"the Gamma formula needs shape > 1; got {smallest:g}")
    _check_pair(noisy, score)
    _check_not_negative(noisy, "Gamma")
    denominator = (shape - 1) - noisy * score
    n_clamped = int((denominator <= 0).sum()) if check_denominator else 0
    if n_clamped:
        message = (
            f"clamped {n_clamped} of {noisy.numel()} denominators (shape − 1) − y·score that are not positive"
        )
        warnings.warn(message, stacklevel=2)
    floor = torch.as_tensor(1e-3 * (shape - 1), dtype=noisy.dtype, device=noisy.device)
    return shape * noisy / torch.maximum(denominator, floor)


TWEEDIE: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"gaussian": tweedie_gaussian, "poisson": tweedie_poisson, "gamma": tweedie_gamma}
)


def monte_carlo_divergence(
    estimator: Callable[[Tensor], Tensor],
    observations: Float[Tensor, " n *dims"],
    *,
    step: float = 1e-2,
    value: Float[Tensor, " n *dims"] | None = None,
    generator: torch.Generator | None = None,
    share_direction: bool = False,
) -> Float[Tensor, " n"]:
    """Estimate the divergence of `estimator` at each observation from one random direction.

    Differentiable, so that a training can minimise it. In single precision a step far below 1e-3 of the
    data's range drowns in rounding.

    Parameters
    ----------
    estimator
        Any map that keeps the shape and treats rows alike, differentiable or not.
    observations
        One observation a row, of any shape.
    step
        Length of the finite difference, in the units of `observations`.
    value
        The estimator's value at the observations, where the caller has it: a forward difference from it then
        takes one evaluation, with a bias of O(step) for a curved estimator. None: a central difference takes
        two, with a bias of O(step²).
    generator
        Source of the direction.
    share_direction
        One direction for all rows, so that their divergences can be compared; False: one a row.

    Returns
    -------
    The divergence, summed over the coordinates of each row.

    Raises
    ------
    ValueError
        If `step` is not positive.

    References
    ----------
    Ramani, Blu and Unser (2008), Monte-Carlo SURE, Theorem 2.
    """
    check_positive("step", step)
    drawn = standard_normal_like(observations[:1] if share_direction else observations, generator)
    direction = drawn.expand_as(observations)
    forward = estimator(observations + step * direction)
    if value is not None:
        slope = (forward - value) / step
    else:
        slope = (forward - estimator(observations - step * direction)) / (2 * step)
    return (direction * slope).flatten(1).sum(dim=1)


def exact_divergence(
    estimator: Callable[[Tensor], Tensor], observations: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    """Trace of the Jacobian of `estimator` at each observation, by automatic differentiation.

    The cost grows with d: this is the reference for small d, `monte_carlo_divergence` the tool for images.

    Parameters
    ----------
    estimator
        A differentiable map from (n, d) to (n, d) that treats rows independently.
    observations
        One observation a row.

    Returns
    -------
    The divergence at each row.

    Examples
    --------
    >>> exact_divergence(torch.square, torch.tensor([[1.0, 3.0]]))
    tensor([8.])
    """

    def of_one(row: Tensor) -> Tensor:
        jacobian = torch.func.jacrev(lambda point: estimator(point[None])[0])(row)
        return jacobian.trace()

    return torch.func.vmap(of_one)(observations)


def sure_gaussian(
    denoised: Float[Tensor, " n *dims"],
    noisy: Float[Tensor, " n *dims"],
    noise_std: float | Float[Tensor, " n"],
    divergence: Float[Tensor, " n"],
) -> Float[Tensor, " n"]:
    """Stein's unbiased estimate of the squared error under Gaussian noise.

    Parameters
    ----------
    denoised
        The estimator's values at `noisy`.
    noisy
        Observations y = x + noise_std·n, one a row.
    noise_std
        Standard deviation of the noise: one number, or one a row.
    divergence
        The estimator's divergence at each row (`exact_divergence`, `monte_carlo_divergence`).

    Returns
    -------
    ‖denoised − y‖² − d·noise_std² + 2·noise_std²·divergence, one a row: its mean over the noise is E‖denoised − x‖²,
    summed over the d coordinates.

    Raises
    ------
    ValueError
        If `noise_std` is not positive.

    References
    ----------
    Stein (1981), Estimation of the mean of a multivariate normal distribution, Theorem 1.

    Examples
    --------
    The identity does nothing: its divergence is d, its risk d·noise_std².

    >>> y = torch.zeros(1, 3)
    >>> sure_gaussian(y, y, 2.0, divergence=torch.tensor([3.0]))
    tensor([12.])
    """
    check_positive("noise_std", noise_std)
    residual = (denoised - noisy).flatten(1)
    variance = torch.as_tensor(noise_std, dtype=noisy.dtype, device=noisy.device) ** 2
    return residual.square().sum(dim=1) + variance * (2 * divergence - residual.shape[1])


# --- Counts: Stein's identity under binomial noise -----------------------------------------------------------------


def check_counts(successes: Float[Tensor, "*draws n"], trials: Float[Tensor, " n"]) -> None:
    """Refuse counts that are not binomial, or that say nothing of their own variance.

    Parameters
    ----------
    successes
        Counts of each unit, one draw or several.
    trials
        Numbers of trials.

    Raises
    ------
    ValueError
        If the lengths differ, an entry is no whole number, a count is not between 0 and its number of trials, or
        a unit has fewer than two trials.
    """
    if successes.shape[-1:] != trials.shape:
        raise ValueError(
            f"trials must have one entry a unit; got {len(trials)} for {successes.shape[-1]} units"
        )
    for name, counts in (("successes", successes), ("trials", trials)):
        if not bool((counts == counts.round()).all()) or not bool(torch.isfinite(counts).all()):
            raise ValueError(
                f"{name} must be whole numbers; got {counts[counts != counts.round()][:3].tolist()}"
            )
    if bool((trials < 2).any()):
        unit = int((trials < 2).nonzero()[0])
        raise ValueError(
            "trials must be at least 2, as one trial says nothing of the variance; "
            f"got unit {unit} with n={trials[unit].item():g}"
        )
    outside = ((successes < 0) | (successes > trials)).nonzero()
    if len(outside):
        place = tuple(outside[0].tolist())
        raise ValueError(
            "successes must be between 0 and trials; "
            f"got {successes[place].item():g} of {trials[place[-1]].item():g} at unit {place[-1]}"
        )


def binomial_variance(
    successes: Float[Tensor, "*draws n"], trials: Float[Tensor, " n"]
) -> Float[Tensor, "*draws n"]:
    """Estimate the variance p(1 − p)/n of each unit's average, without bias.

    Parameters
    ----------
    successes, trials
        X ~ Bin(n, p), with n of at least 2.

    Returns
    -------
    p̂(1 − p̂)/(n − 1), where p̂ = X/n.

    Raises
    ------
    ValueError
        If the counts are not binomial or a unit has fewer than two trials.
    """
    check_counts(successes, trials)
    rates = successes / trials
    return rates * (1 - rates) / (trials - 1)


def sure_binomial(
    rule: Callable[[Tensor, Tensor], Tensor],
    successes: Float[Tensor, "*draws n"],
    trials: Float[Tensor, " n"],
    *,
    form: Literal["central", "falling", "third order"] = "central",
) -> Float[Tensor, "*draws n"]:
    """Stein's estimate of the squared error under binomial noise: unbiased for linear rules, nearly so for others.

    Parameters
    ----------
    rule
        ``rule(successes, trials)``, the estimates of p; it is also asked what it would say one or two successes
        away. A table of values for one n is the rule ``lambda x, n: table[x.long()]``.
    successes, trials
        X ~ Bin(n, p), with n of at least 2.
    form
        "central": bias p(1 − p)(1 − 2p) E Δ²δ(Y), Y ~ Bin(n − 2, p). "falling", for small p: bias 2p³ E Δ²δ(Y).
        "third order", for n of at least 3: bias −½p(1 − p)(1 − 2p)² E Δ³δ(Y), Y ~ Bin(n − 3, p).

    Returns
    -------
    One value a unit, which may be negative: its mean over X is E(δ(X) − p)², up to the bias.

    Raises
    ------
    ValueError
        If the counts are not binomial or a unit has too few trials.

    References
    ----------
    Chen and Lei (2025), Compound estimation for binomials, Section 2; Hudson (1978), A natural identity for
    exponential families with applications in multiparameter estimation.

    Examples
    --------
    The plain average errs by its own variance, here ½ · ½ / (4 − 1).

    >>> sure_binomial(lambda x, n: x / n, torch.tensor([2.0]), torch.tensor([4.0]))
    tensor([0.0833])
    """
    variance = binomial_variance(successes, trials)
    x, n = successes, trials

    def at(shift: int) -> Tensor:
        # Outside 0..n the value is multiplied by zero below: any finite one will do.
        return rule(torch.minimum((x + shift).clamp_min(0), n), n)

    if form == "falling":
        pairs = x * (x - 1) / (n * (n - 1))  # estimates p²
        cross = x / n * at(-1) + pairs * (at(-1) - at(-2))  # estimates p E δ
        return at(0).square() - 2 * cross + pairs

    divergence = n / 2 * (at(1) - at(-1))
    risk = (at(0) - x / n).square() + variance * (2 * divergence - 1)
    if form == "central":
        return risk
    if bool((n < 3).any()):
        raise ValueError(f"trials must be at least 3 for the third order; got {n.min().item():g}")
    upper = x * (n - x) * (n - x - 1) * (at(2) - at(1) - at(0) + at(-1))
    lower = x * (x - 1) * (n - x) * (at(1) - at(0) - at(-1) + at(-2))
    return risk - (upper - lower) / (2 * n * (n - 1) * (n - 2))


# --- Stein variational directions: particles that share their drives and keep apart --------------------------------


def median_bandwidth(
    squared_distances: Float[Tensor, "*batch n n"],
    *,
    scale: float | Float[Tensor, "*#batch"] = 1.0,
    power: int = 1,
    floor: float = 5e-6,
) -> Float[Tensor, "*batch"]:
    """Bandwidth h of the kernel exp(−distance²/h), by the median of the pairs.

    Parameters
    ----------
    squared_distances
        Squared distances of at least two particles, all pairs, the diagonal included.
    scale
        Factor c.
    power
        1: h = c·median / log n, in the units of the squared distances. 2, which SVH-PSL's code takes: h = c·median² /
        log n, so that the kernel depends on the units.
    floor
        The bandwidth where the median is 0.

    Returns
    -------
    One bandwidth a set of particles.

    Raises
    ------
    ValueError
        If there are fewer than two particles, `scale` or `floor` is not positive, or `power` is neither 1 nor 2.

    References
    ----------
    Liu and Wang (2016), Stein variational gradient descent, Section 5; Nguyen et al. (2025), SVH-PSL (its code).
    """
    n = squared_distances.shape[-1]
    if n < 2:
        raise ValueError(f"a median bandwidth needs at least 2 particles, as log 1 = 0; got {n}")
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2; got {power}")
    check_positive("scale", scale)
    check_positive("floor", floor)
    pairs = squared_distances.detach().flatten(-2)
    median = (pairs.kthvalue((n * n + 1) // 2).values + pairs.kthvalue(n * n // 2 + 1).values) / 2
    return torch.where(median > 0, scale * median**power / math.log(n), floor)


def stein_variational_direction(
    kernel: Float[Tensor, "*batch n n"],
    drives: Float[Tensor, "*batch n p"],
    repulsions: Float[Tensor, "*batch n p"],
) -> Float[Tensor, "*batch n p"]:
    """Direction of Stein variational gradient descent: each particle follows all drives, and leaves the others.

    Parameters
    ----------
    kernel
        K_ij of particles i and j.
    drives
        What particle j alone would follow: the score of the target where particles are to sample it.
    repulsions
        Σ_j ∇_j K_ij, a row for each particle i.

    Returns
    -------
    (1/n) (Σ_j K_ij drive_j + repulsion_i), one row a particle.

    References
    ----------
    Liu and Wang (2016), Stein variational gradient descent, eq. 8.
    """
    return (kernel @ drives + repulsions) / kernel.shape[-1]
