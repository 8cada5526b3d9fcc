"""Tweedie's formulas: the posterior's mean out of the score of the noisy data, for three families of noise.

They need the noise's family and parameter, and no clean observation.
"""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_not_negative, check_positive


def _check_shapes(noisy: Tensor, score: Tensor) -> None:
    if noisy.shape != score.shape:
        raise ValueError(
            f"score must have the shape of noisy; got {tuple(score.shape)} for noisy {tuple(noisy.shape)}"
        )


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
    noisy, score, noise_std = as_floats(noisy=noisy, score=score, noise_std=noise_std, empty=True)
    _check_shapes(noisy, score)
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
    noisy, score, gain = as_floats(noisy=noisy, score=score, gain=gain, empty=True)
    _check_shapes(noisy, score)
    check_not_negative("noisy", noisy)
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
    noisy, score, shape = as_floats(noisy=noisy, score=score, shape=shape, empty=True)
    _check_shapes(noisy, score)
    check_not_negative("noisy", noisy)
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
