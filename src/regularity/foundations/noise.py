"""Noise models of the exponential family, and the transforms that make their variance constant.

Each model has one parameter, under one name in the whole book: ``noise_std`` for Gaussian noise, ``gain`` for
Poisson noise (one photon is worth ``gain`` of intensity), ``shape`` for multiplicative Gamma noise of mean one
(``shape`` looks are averaged).
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import digamma, polygamma
from torch import Tensor

from regularity.foundations.checks import (
    as_floats,
    as_unit_interval,
    check_floating,
    check_not_negative,
    check_positive,
)
from regularity.foundations.choices import choose

Family = Literal["gaussian", "poisson", "gamma"]


def standard_normal_like(
    reference: Float[Tensor, "*shape"], generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """Draw independent standard normal variables, with the shape, type and device of `reference`.

    Parameters
    ----------
    reference
        Any tensor.
    generator
        Source of randomness. One on the CPU gives the same numbers whatever the device of `reference`.

    Returns
    -------
    The variables.

    Raises
    ------
    TypeError
        If `reference` is not of a floating type.
    """
    check_floating("reference", reference)
    device = reference.device if generator is None else generator.device
    drawn = torch.randn(reference.shape, generator=generator, dtype=reference.dtype, device=device)
    return drawn.to(reference.device)


def add_gaussian_noise(
    clean: Float[Tensor, "*shape"], noise_std: float, generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """Add white Gaussian noise.

    Parameters
    ----------
    clean
        Intensities in [0, 1].
    noise_std
        Standard deviation, in units of intensity (25/255 is the literature's "σ = 25").
    generator
        Source of randomness.

    Returns
    -------
    The noisy intensities, not clipped.

    Raises
    ------
    ValueError
        If `noise_std` is not positive or an intensity is outside [0, 1].
    """
    check_positive("noise_std", noise_std)
    clean = as_unit_interval("clean", clean)
    return clean + noise_std * standard_normal_like(clean, generator)


def add_poisson_noise(
    clean: Float[Tensor, "*shape"], gain: float, generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """Replace each intensity by `gain` times a Poisson count of mean intensity / gain.

    Parameters
    ----------
    clean
        Intensities in [0, 1].
    gain
        Intensity of one photon: the larger, the noisier; the variance is gain times the intensity.
    generator
        Source of randomness, on the device of `clean`.

    Returns
    -------
    The noisy intensities, all of them on the lattice gain·{0, 1, 2, ...}.

    Raises
    ------
    ValueError
        If `gain` is not positive or an intensity is outside [0, 1].
    """
    check_positive("gain", gain)
    clean = as_unit_interval("clean", clean)
    return gain * torch.poisson(clean / gain, generator=generator)


def add_gamma_noise(
    clean: Float[Tensor, "*shape"], shape: float, generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """Multiply each intensity by an independent Gamma(shape, rate=shape) variable, of mean one.

    Parameters
    ----------
    clean
        Intensities in [0, 1].
    shape
        Shape of the Gamma law: the smaller, the noisier; the relative variance is 1 / shape.
    generator
        Source of randomness: one draw of it seeds the Gamma variables.

    Returns
    -------
    The noisy intensities.

    Raises
    ------
    ValueError
        If `shape` is not positive or an intensity is outside [0, 1].
    """
    check_positive("shape", shape)
    clean = as_unit_interval("clean", clean)
    # torch's own Gamma sampler takes no generator, so NumPy draws from a seed that the generator gives.
    device = generator.device if generator is not None else None
    seed = torch.randint(2**62, (), generator=generator, device=device).item()
    factors = np.random.default_rng(seed).gamma(shape, 1 / shape, size=tuple(clean.shape))
    return clean * torch.as_tensor(factors, dtype=clean.dtype, device=clean.device)


ADD_NOISE: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"gaussian": add_gaussian_noise, "poisson": add_poisson_noise, "gamma": add_gamma_noise}
)


class _Stabilisation(NamedTuple):
    """How the variance of one family is made constant, and the way back without the transform's bias."""

    forward: Callable[[Tensor, float], tuple[Tensor, float]]
    back: Callable[[Tensor, float], Tensor]


def _square_root(noisy: Tensor, gain: float) -> tuple[Tensor, float]:
    check_not_negative("noisy", noisy)
    return 2 * torch.sqrt(noisy / gain + 3 / 8), 1.0


def _undo_square_root(transformed: Tensor, gain: float) -> Tensor:
    root = transformed.clamp_min(2 * (3 / 8) ** 0.5)  # the transform of zero counts: nothing lies below
    series = (3 / 2) ** 0.5 * (1 / root / 4 + 5 / 8 / root**3) - 11 / 8 / root**2
    return gain * (root.square() / 4 + series - 1 / 8).clamp_min(0)


def _logarithm(noisy: Tensor, shape: float) -> tuple[Tensor, float]:
    check_not_negative("noisy", noisy)
    return torch.log(noisy.clamp_min(torch.finfo(noisy.dtype).tiny)), polygamma(1, shape).item() ** 0.5


def _undo_logarithm(transformed: Tensor, shape: float) -> Tensor:
    return torch.exp(transformed - (digamma(shape).item() - math.log(shape)))


_STABILISATIONS = {
    "gaussian": _Stabilisation(lambda noisy, noise_std: (noisy, noise_std), lambda values, noise_std: values),
    "poisson": _Stabilisation(_square_root, _undo_square_root),
    "gamma": _Stabilisation(_logarithm, _undo_logarithm),
}


def stabilise_variance(
    noisy: Float[Tensor, "*shape"], family: Family, parameter: float
) -> tuple[Float[Tensor, "*shape"], float]:
    """Map noisy intensities to where their noise is close to Gaussian with one standard deviation.

    Parameters
    ----------
    noisy
        Noisy intensities, not negative unless the noise is Gaussian.
    family
        "gaussian" (left alone), "poisson" (Anscombe's square root) or "gamma" (logarithm).
    parameter
        The family's parameter: noise_std, gain or shape.

    Returns
    -------
    transformed
        The intensities in the new domain.
    noise_std
        The standard deviation of the noise there.

    Raises
    ------
    ValueError
        If `parameter` is not positive, there is no such family, or `noisy` is not finite or negative.

    References
    ----------
    Anscombe (1948), The transformation of Poisson, binomial and negative-binomial data.
    """
    transform = choose("family", family, _STABILISATIONS)
    check_positive("parameter", parameter)
    (noisy,) = as_floats(noisy=noisy, empty=True)
    return transform.forward(noisy, parameter)


def undo_stabilisation(
    transformed: Float[Tensor, "*shape"], family: Family, parameter: float
) -> Float[Tensor, "*shape"]:
    """Map denoised values from the stabilised domain back to intensities, without the transform's bias.

    Parameters
    ----------
    transformed
        Denoised values in the domain of `stabilise_variance`.
    family, parameter
        As there.

    Returns
    -------
    Intensities.

    Raises
    ------
    ValueError
        If `parameter` is not positive, there is no such family, or `transformed` is not finite.

    References
    ----------
    Mäkitalo and Foi (2011), A closed-form approximation of the exact unbiased inverse of the Anscombe
    transformation, eq. 8. For Gamma noise the mean of log y is log x + ψ(k) − log k, which is subtracted.
    """
    transform = choose("family", family, _STABILISATIONS)
    check_positive("parameter", parameter)
    (transformed,) = as_floats(transformed=transformed, empty=True)
    return transform.back(transformed, parameter)
