"""Stein's unbiased risk estimate: what noisy data alone say of an estimator's error.

It needs the divergence of the estimator and the noise's family and parameter. For counts the derivative becomes a
difference, and the variance is estimated from the counts themselves.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_positive
from regularity.foundations.choices import choose
from regularity.foundations.noise import standard_normal_like


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
    observations, value = as_floats(observations=observations, value=value)
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
    The divergence at each row; no gradient flows through it.

    Examples
    --------
    >>> exact_divergence(torch.square, torch.tensor([[1.0, 3.0]]))
    tensor([8.])
    """
    (observations,) = as_floats(observations=observations)
    points = observations.detach().requires_grad_()
    with torch.enable_grad():
        sums = estimator(points).sum(dim=0)  # rows do not mix: one backward pass a coordinate serves them all
    if not sums.requires_grad:
        return torch.zeros_like(observations[:, 0])
    options = {"retain_graph": True, "materialize_grads": True}
    slopes = [torch.autograd.grad(total, points, **options)[0][:, j] for j, total in enumerate(sums)]
    return torch.stack(slopes).sum(dim=0)


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
    denoised, noisy, noise_std, divergence = as_floats(
        denoised=denoised, noisy=noisy, noise_std=noise_std, divergence=divergence
    )
    if denoised.shape != noisy.shape:
        raise ValueError(
            f"denoised must have the shape of noisy; got {tuple(denoised.shape)} for {tuple(noisy.shape)}"
        )
    if divergence.shape != noisy.shape[:1]:
        raise ValueError(
            f"divergence must have one entry a row, {len(noisy)}; got shape {tuple(divergence.shape)}"
        )
    residual = (denoised - noisy).flatten(1)
    return residual.square().sum(dim=1) + noise_std**2 * (2 * divergence - residual.shape[1])


# --- Counts: Stein's identity under binomial noise -----------------------------------------------------------------


def as_counts(
    successes: Float[Tensor, "*draws n"],
    trials: Float[Tensor, " n"],
    names: tuple[str, str] = ("successes", "trials"),
) -> tuple[Float[Tensor, "*draws n"], Float[Tensor, " n"]]:
    """Take binomial counts, and refuse those that are none or say nothing of their own variance.

    Parameters
    ----------
    successes
        Counts of each unit, one draw or several.
    trials
        Numbers of trials.
    names
        What the caller calls the two, for the messages.

    Returns
    -------
    The counts in one floating type; what came as integers in double precision.

    Raises
    ------
    TypeError
        If one is no tensor.
    ValueError
        If the lengths differ, an entry is no whole number, a count is not between 0 and its number of trials, or
        a unit has fewer than two trials.
    """
    hits, tries = names
    successes, trials = as_floats(**{hits: successes, tries: trials}, integers=torch.float64)
    if successes.shape[-1:] != trials.shape:
        raise ValueError(
            f"{tries} must have one entry a unit; got shape {tuple(trials.shape)} "
            f"for {hits} of shape {tuple(successes.shape)}"
        )
    for name, counts in ((hits, successes), (tries, trials)):
        if not bool((counts == counts.round()).all()):
            raise ValueError(
                f"{name} must be whole numbers; got {counts[counts != counts.round()][:3].tolist()}"
            )
    if bool((trials < 2).any()):
        unit = int((trials < 2).nonzero()[0])
        raise ValueError(
            f"{tries} must be at least 2, as one trial says nothing of the variance; "
            f"got unit {unit} with n={trials[unit].item():g}"
        )
    outside = ((successes < 0) | (successes > trials)).nonzero()
    if len(outside):
        place = tuple(outside[0].tolist())
        raise ValueError(
            f"{hits} must be between 0 and {tries}; "
            f"got {successes[place].item():g} of {trials[place[-1]].item():g} at unit {place[-1]}"
        )
    return successes, trials


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
    successes, trials = as_counts(successes, trials)
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
        If the counts are not binomial, a unit has too few trials, or there is no such form.

    References
    ----------
    Chen and Lei (2025), Compound estimation for binomials; Hudson (1978), A natural identity for
    exponential families with applications in multiparameter estimation.

    Examples
    --------
    The plain average errs by its own variance, here ½ · ½ / (4 − 1).

    >>> sure_binomial(lambda x, n: x / n, torch.tensor([2.0]), torch.tensor([4.0]))
    tensor([0.0833])
    """
    risk = choose("form", form, _BINOMIAL_RISKS)
    x, n = as_counts(successes, trials)

    def at(shift: int) -> Tensor:
        # Outside 0..n the value is multiplied by zero: any finite one will do.
        return rule(torch.minimum((x + shift).clamp_min(0), n), n)

    return risk(at, x, n)


def _central(at: Callable[[int], Tensor], x: Tensor, n: Tensor) -> Tensor:
    divergence = n / 2 * (at(1) - at(-1))
    return (at(0) - x / n).square() + binomial_variance(x, n) * (2 * divergence - 1)


def _falling(at: Callable[[int], Tensor], x: Tensor, n: Tensor) -> Tensor:
    pairs = x / n * (x - 1) / (n - 1)  # estimates p²
    cross = x / n * at(-1) + pairs * (at(-1) - at(-2))  # estimates p E δ
    return at(0).square() - 2 * cross + pairs


def _third_order(at: Callable[[int], Tensor], x: Tensor, n: Tensor) -> Tensor:
    if bool((n < 3).any()):
        raise ValueError(f"trials must be at least 3 for the third order; got {n.min().item():g}")
    both = x / n * (n - x) / (n - 1)
    upper = both * (n - x - 1) / (n - 2) * (at(2) - at(1) - at(0) + at(-1))
    lower = both * (x - 1) / (n - 2) * (at(1) - at(0) - at(-1) + at(-2))
    return _central(at, x, n) - (upper - lower) / 2


_BINOMIAL_RISKS = {"central": _central, "falling": _falling, "third order": _third_order}
