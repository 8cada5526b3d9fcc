"""Noise models of the exponential family, and the transforms that make their variance constant.

Each model has one parameter, under one name in the whole book: ``noise_std`` for Gaussian noise, ``gain`` for
Poisson noise (one photon is worth ``gain`` of intensity), ``shape`` for multiplicative Gamma noise of mean one
(``shape`` looks are averaged).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import check_positive

Family = Literal["gaussian", "poisson", "gamma"]


def check_clean(clean: Tensor) -> None:
    """Refuse images whose intensities are not in [0, 1].

    Parameters
    ----------
    clean
        Intensities, any shape.

    Raises
    ------
    ValueError
        If any intensity is NaN, below 0 or above 1.
    """
    if bool(torch.isnan(clean).any()):
        raise ValueError("intensities must be in [0, 1]; got NaN")
    low, high = clean.min().item(), clean.max().item()
    if low < 0 or high > 1:
        raise ValueError(f"intensities must be in [0, 1]; got a range of [{low:g}, {high:g}]")


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
    """
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
    check_clean(clean)
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
    check_clean(clean)
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
    check_clean(clean)
    # torch's own Gamma sampler takes no generator, so NumPy draws from a seed that the generator gives.
    device = generator.device if generator is not None else None
    seed = torch.randint(2**62, (), generator=generator, device=device).item()
    factors = np.random.default_rng(seed).gamma(shape, 1 / shape, size=tuple(clean.shape))
    return clean * torch.as_tensor(factors, dtype=clean.dtype, device=clean.device)


ADD_NOISE: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"gaussian": add_gaussian_noise, "poisson": add_poisson_noise, "gamma": add_gamma_noise}
)


def stabilise_variance(
    noisy: Float[Tensor, "*shape"], family: Family, parameter: float
) -> tuple[Float[Tensor, "*shape"], float]:
    """Map noisy intensities to where their noise is close to Gaussian with one standard deviation.

    Parameters
    ----------
    noisy
        Noisy intensities.
    family
        ``"gaussian"`` (left alone), ``"poisson"`` (Anscombe's square root) or ``"gamma"`` (logarithm).
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
        If `parameter` is not positive.

    References
    ----------
    Anscombe (1948), The transformation of Poisson, binomial and negative-binomial data.
    """
    check_positive("parameter", parameter)
    if family == "gaussian":
        return noisy, parameter
    if family == "poisson":
        return 2 * torch.sqrt(noisy / parameter + 3 / 8), 1.0
    trigamma = torch.special.polygamma(1, torch.tensor(parameter, dtype=torch.float64))
    return torch.log(noisy.clamp_min(torch.finfo(noisy.dtype).tiny)), trigamma.sqrt().item()


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
        If `parameter` is not positive.

    References
    ----------
    Mäkitalo and Foi (2011), A closed-form approximation of the exact unbiased inverse of the Anscombe
    transformation, eq. 8. For Gamma noise the mean of log y is log x + ψ(k) − log k, which is subtracted.
    """
    check_positive("parameter", parameter)
    if family == "gaussian":
        return transformed
    if family == "poisson":
        root = transformed.clamp_min(2 * (3 / 8) ** 0.5)  # the transform of zero counts: nothing lies below
        series = (3 / 2) ** 0.5 * (1 / root / 4 + 5 / 8 / root**3) - 11 / 8 / root**2
        return parameter * (root.square() / 4 + series - 1 / 8).clamp_min(0)
    log_bias = torch.digamma(torch.tensor(parameter, dtype=torch.float64)).item() - np.log(parameter)
    return torch.exp(transformed - log_bias)
