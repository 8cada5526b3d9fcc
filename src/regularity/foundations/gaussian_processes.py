"""Exact Gaussian-process regression, many at a time: Matérn-5/2 kernel, marginal likelihood, analytic gradients.

Every function takes leading batch dimensions, so that all objectives of all runs of an experiment are one call.
Double precision is meant: with little noise the kernel matrix is close to singular.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive, check_squares


@dataclass(frozen=True)
class KernelParameters:
    """Parameters of a Matérn-5/2 kernel with a lengthscale for each input, and of the noise.

    Attributes
    ----------
    lengthscale
        One an input, in the units of the inputs.
    variance
        Prior variance of the function, in squared units of the targets.
    noise
        Variance of the noise, in the same units.
    """

    lengthscale: Float[Tensor, "*batch d"]
    variance: Float[Tensor, "*batch"]
    noise: Float[Tensor, "*batch"]


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process of zero prior mean, conditioned on data.

    Attributes
    ----------
    inputs
        Where the function was observed.
    parameters
        Kernel and noise.
    weights
        K⁻¹y, so that the mean at a point is a sum of kernels with these weights.
    precision
        K⁻¹, of the kernel matrix with the noise on its diagonal.
    """

    inputs: Float[Tensor, "*#batch n d"]
    parameters: KernelParameters
    weights: Float[Tensor, "*batch n"]
    precision: Float[Tensor, "*batch n n"]


def _matern(
    points: Tensor, others: Tensor, parameters: KernelParameters
) -> tuple[Float[Tensor, "*batch q n"], Float[Tensor, "*batch q n"]]:
    """Kernel k(r) and −(dk/dr)/r, where r is the scaled distance."""
    scale = math.sqrt(5) / parameters.lengthscale[..., None, :]
    left, right = scale * points, scale * others
    norms = left.square().sum(dim=-1)[..., None] + right.square().sum(dim=-1)[..., None, :]
    scaled = norms.sub_(left @ right.mT, alpha=2).clamp_min_(0).sqrt_()  # √5 r
    decay = torch.exp(-scaled).mul_(parameters.variance[..., None, None])
    slope = (scaled + 1).mul_(decay)
    return torch.addcmul(slope, scaled.square_(), decay, value=1 / 3), slope.mul_(5 / 3)


def _factorise(kernel: Tensor, noise: Tensor) -> Tensor:
    """Cholesky factor of kernel + noise·I."""
    noisy = kernel + torch.diag_embed(noise[..., None].expand(kernel.shape[:-1]))
    factor, info = torch.linalg.cholesky_ex(noisy)
    if bool(info.any()):
        raise ValueError(
            "noise must be larger: the kernel matrix is not positive definite, as where inputs repeat; "
            f"got a least noise of {noise.min().item():g}"
        )
    return factor


def _as_data(
    inputs: Tensor, targets: Tensor, parameters: KernelParameters | None
) -> tuple[Tensor, Tensor, KernelParameters | None]:
    """Bring data and parameters to one floating type, and look that they fit."""
    named = {} if parameters is None else vars(parameters)
    inputs, targets, *values = as_floats(inputs=inputs, targets=targets, **named)
    if inputs.ndim < 2:
        raise ValueError(f"inputs must have two axes or more, (..., n, d); got shape {tuple(inputs.shape)}")
    if inputs.shape[-2] != targets.shape[-1]:
        raise ValueError(
            f"targets must have one entry an input; got {targets.shape[-1]} for {inputs.shape[-2]} inputs"
        )
    parameters = None if parameters is None else KernelParameters(*values)
    if parameters is not None:
        _check_reach("inputs", inputs, parameters)
    check_squares("targets", targets)
    return inputs, targets, parameters


def _check_reach(name: str, points: Tensor, parameters: KernelParameters) -> None:
    """Refuse points so far from zero that the squares of their distances overflow."""
    furthest = (points.detach() / parameters.lengthscale.detach()[..., None, :]).abs().max().item()
    if not furthest < torch.finfo(points.dtype).max ** 0.5 / (10 * points.shape[-1]):
        raise ValueError(f"{name} must be nearer, a few lengthscales from zero; got {furthest:g} of them")


def _as_points(process: GaussianProcess, points: Tensor) -> Tensor:
    """Take points of prediction in the type of the process."""
    (points,) = as_floats(points=points)
    d = process.inputs.shape[-1]
    if points.ndim < 2 or points.shape[-1] != d:
        raise ValueError(f"points must be (..., q, {d}), as the inputs are; got shape {tuple(points.shape)}")
    points = points.to(process.weights.dtype)
    _check_reach("points", points, process.parameters)
    return points


def log_marginal_likelihood(
    inputs: Float[Tensor, "*#batch n d"], targets: Float[Tensor, "*batch n"], parameters: KernelParameters
) -> tuple[Float[Tensor, "*batch"], KernelParameters]:
    """Log density of the targets, and its gradient in the logarithms of the parameters.

    Parameters
    ----------
    inputs
        Where the function was observed.
    targets
        What was observed there, noise included.
    parameters
        Kernel and noise.

    Returns
    -------
    value
        log p(targets) = −½ yᵀK⁻¹y − ½ log det K − ½ n log 2π.
    gradient
        ½ tr((K⁻¹y yᵀK⁻¹ − K⁻¹) ∂K/∂log θ) for each parameter θ.

    Raises
    ------
    ValueError
        If the sizes differ, an entry is not finite or too large, or the kernel matrix is not positive definite.

    References
    ----------
    Rasmussen and Williams (2006), Gaussian processes for machine learning, eqs. 2.30 and 5.9.
    """
    inputs, targets, parameters = _as_data(inputs, targets, parameters)
    kernel, slope = _matern(inputs, inputs, parameters)
    factor = _factorise(kernel, parameters.noise)
    precision = torch.cholesky_inverse(factor)
    weights = (precision @ targets[..., None])[..., 0]
    n = targets.shape[-1]
    log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    value = -0.5 * ((targets * weights).sum(dim=-1) + log_determinant + n * math.log(2 * math.pi))

    sensitivity = weights[..., None] * weights[..., None, :] - precision
    by_variance = 0.5 * (sensitivity * kernel).sum(dim=(-2, -1))
    by_noise = 0.5 * parameters.noise * sensitivity.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    # ∂k/∂log ℓ = slope·(difference/ℓ)², and Σ W (x − x')² = 2 Σ x² (W1) − 2 xᵀWx for a symmetric W.
    weighted = sensitivity.mul_(slope)
    squares = (weighted.sum(dim=-1)[..., None] * inputs.square()).sum(dim=-2)
    products = (inputs * (weighted @ inputs)).sum(dim=-2)
    by_lengthscale = (squares - products) / parameters.lengthscale.square()
    return value, KernelParameters(by_lengthscale, by_variance, by_noise)


def condition(
    inputs: Float[Tensor, "*#batch n d"], targets: Float[Tensor, "*batch n"], parameters: KernelParameters
) -> GaussianProcess:
    """Condition a Gaussian process of zero mean on data.

    Parameters
    ----------
    inputs
        Where the function was observed.
    targets
        What was observed there, centred.
    parameters
        Kernel and noise.

    Returns
    -------
    The posterior process.

    Raises
    ------
    ValueError
        If the sizes differ, an entry is not finite or the kernel matrix is not positive definite.
    """
    inputs, targets, parameters = _as_data(inputs, targets, parameters)
    precision = torch.cholesky_inverse(_factorise(_matern(inputs, inputs, parameters)[0], parameters.noise))
    return GaussianProcess(inputs, parameters, (precision @ targets[..., None])[..., 0], precision)


def fit_gaussian_process(
    inputs: Float[Tensor, "*#batch n d"],
    targets: Float[Tensor, "*batch n"],
    *,
    start: KernelParameters | None = None,
    n_steps: int = 120,
    learning_rate: float = 0.1,
    scale_bounds: tuple[float, float] = (0.03, 30.0),
    noise_bounds: tuple[float, float] = (1e-5, 1.0),
) -> GaussianProcess:
    """Choose kernel and noise by marginal likelihood, and condition on the data.

    Adam climbs in the logarithms of the parameters, which stay within their bounds.

    Parameters
    ----------
    inputs
        Where the functions were observed, of order one.
    targets
        What was observed there: centred, of order one.
    start
        First parameters; None: lengthscale and variance 1, noise 0.01.
    n_steps
        Steps of Adam.
    learning_rate
        Its rate, in units of log θ.
    scale_bounds
        Bounds of lengthscales and variance.
    noise_bounds
        Bounds of the noise.

    Returns
    -------
    The posterior process.

    Raises
    ------
    ValueError
        If the sizes differ, an entry is not finite or too large, `learning_rate` or a bound is not positive, bounds
        do not increase, or the kernel matrix is not positive definite.

    References
    ----------
    Rasmussen and Williams (2006), Gaussian processes for machine learning, Section 5.4.1.
    """
    inputs, targets, start = _as_data(inputs, targets, start)
    check_positive("learning_rate", learning_rate)
    check_at_least("n_steps", n_steps, 0)
    for name, (low, high) in (("scale_bounds", scale_bounds), ("noise_bounds", noise_bounds)):
        check_positive(name, low)
        if low > high:
            raise ValueError(f"{name} must increase; got ({low}, {high})")
    d = inputs.shape[-1]
    logs = targets.new_zeros(*targets.shape[:-1], d + 2)
    logs[..., -1] = math.log(0.01)
    if start is not None:
        stacked = [start.lengthscale, start.variance[..., None], start.noise[..., None]]
        logs = torch.cat(stacked, dim=-1).log()
    low = logs.new_tensor([scale_bounds[0]] * (d + 1) + [noise_bounds[0]]).log()
    high = logs.new_tensor([scale_bounds[1]] * (d + 1) + [noise_bounds[1]]).log()

    def parameters() -> KernelParameters:
        values = logs.exp()
        return KernelParameters(values[..., :d], values[..., d], values[..., d + 1])

    optimiser = torch.optim.Adam([logs], lr=learning_rate)
    for _ in range(n_steps):
        _, gradient = log_marginal_likelihood(inputs, targets, parameters())
        ascent = [gradient.lengthscale, gradient.variance[..., None], gradient.noise[..., None]]
        logs.grad = -torch.cat(ascent, dim=-1)
        optimiser.step()
        logs.clamp_(low, high)
    return condition(inputs, targets, parameters())


def predict(
    process: GaussianProcess, points: Float[Tensor, "*#batch q d"]
) -> tuple[Float[Tensor, "*batch q"], Float[Tensor, "*batch q"]]:
    """Posterior mean and standard deviation of the function, without noise.

    Parameters
    ----------
    process
        The conditioned process.
    points
        Where to predict.

    Returns
    -------
    mean
        In the units of the targets.
    std
        In the same units.

    Raises
    ------
    ValueError
        If `points` have another number of coordinates, are not finite or too far away.
    """
    points = _as_points(process, points)
    cross, _ = _matern(points, process.inputs, process.parameters)
    mean = (cross @ process.weights[..., None])[..., 0]
    explained = (cross * (cross @ process.precision)).sum(dim=-1)
    return mean, (process.parameters.variance[..., None] - explained).clamp_min(1e-12).sqrt()


def confidence_bound(
    process: GaussianProcess, points: Float[Tensor, "*#batch q d"], width: float
) -> tuple[Float[Tensor, "*batch q"], Float[Tensor, "*batch q d"]]:
    """Bound mean + width·std of the function, and its gradient in the points.

    Parameters
    ----------
    process
        The conditioned process.
    points
        Where to evaluate.
    width
        Number of standard deviations: negative for the lower bound that minimisation is optimistic with.

    Returns
    -------
    bound
        In the units of the targets.
    gradient
        In units of the targets by units of the inputs.

    Raises
    ------
    ValueError
        If `points` have another number of coordinates, are not finite or too far away.

    References
    ----------
    Srinivas et al. (2010), Gaussian process optimization in the bandit setting (confidence bounds).
    """
    points = _as_points(process, points)
    cross, slope = _matern(points, process.inputs, process.parameters)
    mean = (cross @ process.weights[..., None])[..., 0]
    reduction = cross @ process.precision
    explained = (cross * reduction).sum(dim=-1)
    std = (process.parameters.variance[..., None] - explained).clamp_min(1e-12).sqrt()
    # Both gradients are sums over the data of ∂k = −slope·(x − x_n)/ℓ²: one pass with the joint coefficients.
    coefficients = process.weights[..., None, :] - (width / std)[..., None] * reduction
    pull = coefficients.mul_(slope)
    toward_data = pull @ process.inputs - pull.sum(dim=-1)[..., None] * points
    return mean + width * std, toward_data / process.parameters.lengthscale.square()[..., None, :]


def sample_jointly(
    process: GaussianProcess, points: Float[Tensor, "*#batch q d"], normals: Float[Tensor, "*batch s q"]
) -> Float[Tensor, "*batch s q"]:
    """Draw the function at several points jointly.

    Parameters
    ----------
    process
        The conditioned process.
    points
        Where to draw.
    normals
        Independent standard normal variables, one row a sample.

    Returns
    -------
    One row a sample, in the units of the targets. A millionth of the prior variance is added to the covariance's
    diagonal, without which its factorisation fails by rounding.

    Raises
    ------
    ValueError
        If the covariance is not positive definite even so, `points` have another number of coordinates, are not
        finite or too far away, or `normals` do not have one entry a point.
    """
    points = _as_points(process, points)
    (normals,) = as_floats(normals=normals)
    if normals.shape[-1] != points.shape[-2]:
        raise ValueError(
            f"normals must have one entry a point, {points.shape[-2]}; got shape {tuple(normals.shape)}"
        )
    cross, _ = _matern(points, process.inputs, process.parameters)
    prior, _ = _matern(points, points, process.parameters)
    mean = (cross @ process.weights[..., None]).mT
    covariance = prior - cross @ process.precision @ cross.mT
    factor = _factorise(covariance, 1e-6 * process.parameters.variance)
    return mean + normals.to(factor.dtype) @ factor.mT
