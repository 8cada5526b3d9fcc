"""Eigenvalues of a symmetric matrix under noise: free convolution with a semicircle, and the best shrinkage.

A d × d signal S is symmetric, with eigenvectors in no preferred direction and eigenvalues of a known law. It is seen
as Y = S + √(q/d) Z, where Z is symmetric with standard normal entries above the diagonal and variance 2 on it (GOE).
As d grows, the eigenvalues of Y follow the free convolution of the law with a semicircle of variance q. Then no
estimate of S is better than Y with each eigenvalue λ replaced by λ − 2q h(λ), where h is p.v. ∫ρ(s)/(λ − s) ds for
their density ρ.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import Polynomial
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive, check_squares

# --- Laws --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpectralLaw:
    """A law of eigenvalues, known by a rational R-transform R(g) = P(g)/Q(g).

    The Stieltjes transform g(z) = ∫ρ(s)/(z − s) ds of the law solves z = R(g) + 1/g. R-transforms of free sums add,
    and that of a semicircle of variance q is qg.

    Attributes
    ----------
    numerator, denominator
        Coefficients of P and Q, from the constant on; Q(0) = 1.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, ...] = (1.0,)

    @property
    def mean(self) -> float:
        """Mean of the eigenvalues, R(0)."""
        return self.numerator[0]


def wishart_law(ratio: float) -> SpectralLaw:
    """Law of WᵀW/√(md) for an m × d matrix W of standard normal entries: Marchenko and Pastur's, of variance 1.

    Parameters
    ----------
    ratio
        κ = m/d, positive. Below 1, a share 1 − κ of the eigenvalues is zero. Their mean is √κ.

    Returns
    -------
    The law, with R(g) = √κ/(1 − g/√κ).

    Raises
    ------
    ValueError
        If `ratio` is not positive and finite.
    """
    check_positive("ratio", ratio)
    root = ratio**0.5
    return SpectralLaw((root,), (1.0, -1 / root))


def semicircle_law(variance: float = 1.0) -> SpectralLaw:
    """Wigner's law of symmetric matrices with independent entries, for which the best shrinkage is linear.

    Parameters
    ----------
    variance
        Of the eigenvalues, positive; the semicircle ends at ±2√variance.

    Returns
    -------
    The law, with R(g) = variance · g.

    Raises
    ------
    ValueError
        If `variance` is not positive and finite.
    """
    check_positive("variance", variance)
    return SpectralLaw((0.0, float(variance)))


# --- Free convolution with a semicircle --------------------------------------------------------------------------


def noisy_density(
    law: SpectralLaw, noise: float, points: Float[Tensor, "*shape"]
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Density of a law under noise, and its Hilbert transform.

    Parameters
    ----------
    law
        Of the signal's eigenvalues.
    noise
        q, the variance of the semicircle that is added, positive.
    points
        Where on the real line.

    Returns
    -------
    density
        ρ, in double precision.
    hilbert
        The principal value of ∫ρ(s)/(x − s) ds, which is π times the Hilbert transform.

    Raises
    ------
    ValueError
        If `noise` is not positive, or a point not finite or too large.

    Notes
    -----
    Both are parts of the Stieltjes transform g(x − i0). z = R(g) + qg + 1/g is a polynomial equation in w = 1/g with
    leading coefficient 1. On the support two of its roots are complex. Outside all are real: g is the one that falls
    with z.
    """
    check_positive("noise", noise)
    (points,) = as_floats(points=points)
    check_squares("points", points)
    z = points.detach().double().cpu()
    free, slope = _equation(law, noise)
    # w^k (free(1/w) - z slope(1/w)): from the highest power of w on, which is the lowest of g.
    coefficients = torch.as_tensor(free) - z[..., None] * torch.as_tensor(slope)
    k = len(free) - 1
    companion = torch.diag(torch.ones(k - 1, dtype=z.dtype), -1).expand(*z.shape, k, k).clone()
    companion[..., 0, :] = -coefficients[..., 1:] / coefficients[..., :1]
    roots = 1 / torch.linalg.eigvals(companion)
    on_support = roots.imag > 1e-9 * roots.abs()
    rank = torch.where(on_support, 1e300, -_inverse_slope(law, noise, roots.real))
    chosen = roots.gather(-1, rank.argmax(dim=-1, keepdim=True))[..., 0].to(points.device)
    return chosen.imag.clamp_min(0) / torch.pi, chosen.real


def _equation(law: SpectralLaw, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """z = R(g) + qg + 1/g times gQ(g): coefficients, in powers of g, of the free part and of z."""
    p, q = Polynomial(law.numerator), Polynomial(law.denominator)
    g = Polynomial([0.0, 1.0])
    free, slope = (p * g + (noise * g**2 + 1) * q).coef, (g * q).coef
    return free, np.pad(slope, (0, len(free) - len(slope)))


def _inverse_slope(law: SpectralLaw, noise: float, g: Tensor) -> Tensor:
    """dz/dg for real g; not a number becomes infinite, which is never chosen."""
    p, q = Polynomial(law.numerator), Polynomial(law.denominator)
    turn = p.deriv() * q - p * q.deriv()
    at = g.numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = turn(at) / q(at) ** 2 + noise - 1 / at**2
    return torch.as_tensor(slope).nan_to_num(torch.inf)


def noisy_support(law: SpectralLaw, noise: float) -> Float[Tensor, "k 2"]:
    """Intervals on which a law under noise has its eigenvalues.

    Parameters
    ----------
    law, noise
        As for `noisy_density`.

    Returns
    -------
    The ends of the intervals, from left to right, in double precision.

    Raises
    ------
    ValueError
        If `noise` is not positive.
    """
    check_positive("noise", noise)
    p, q = Polynomial(law.numerator), Polynomial(law.denominator)
    g = Polynomial([0.0, 1.0])
    # The density ends where dz/dg = 0 for a real g.
    critical = (g**2 * (p.deriv() * q - p * q.deriv()) + (noise * g**2 - 1) * q**2).roots()
    real = critical.real[np.abs(critical.imag) < 1e-7 * np.abs(critical)]
    edges = np.sort(p(real) / q(real) + noise * real + 1 / real)
    return torch.as_tensor(edges).reshape(-1, 2)


# --- The best denoiser -------------------------------------------------------------------------------------------


def shrink_eigenvalues(
    eigenvalues: Float[Tensor, "*shape"], law: SpectralLaw, noise: float
) -> Float[Tensor, "*shape"]:
    """Move the eigenvalues of a noisy matrix to where the best estimate of the signal has them.

    Parameters
    ----------
    eigenvalues
        Of Y = S + √(q/d) Z.
    law
        Of the eigenvalues of S.
    noise
        q, positive.

    Returns
    -------
    λ − 2q Re g(λ − i0) for each λ, in the type given. One that lies outside the support of the law under noise, where
    fluctuations of a finite matrix may put it, is first moved to the nearest end: beyond it the formula, whose slope
    is infinite there, would magnify the fluctuation.

    Raises
    ------
    ValueError
        If `noise` is not positive, or an eigenvalue not finite.

    References
    ----------
    Bun, Allez, Bouchaud and Potters (2016), Rotational invariant estimator for general noisy matrices.
    """
    (eigenvalues,) = as_floats(eigenvalues=eigenvalues)
    given = eigenvalues.double()[..., None]
    low, high = noisy_support(law, noise).to(given.device).unbind(dim=1)
    nearest = given.clamp(low, high)
    which = (nearest - given).abs().argmin(dim=-1, keepdim=True)
    inside = nearest.gather(-1, which)[..., 0]
    _, hilbert = noisy_density(law, noise, inside)
    return (inside - 2 * noise * hilbert).to(eigenvalues.dtype)


def denoise_symmetric(noisy: Float[Tensor, "d d"], law: SpectralLaw, noise: float) -> Float[Tensor, "d d"]:
    """Estimate a rotationally invariant matrix: the eigenvectors of the noisy one, with its eigenvalues shrunk.

    Parameters
    ----------
    noisy
        Y = S + √(q/d) Z, symmetric.
    law, noise
        As for `shrink_eigenvalues`.

    Returns
    -------
    The estimate of S. As d grows, none has a smaller mean squared error.

    Raises
    ------
    ValueError
        If `noisy` is not square, symmetric and finite, or `noise` not positive.

    References
    ----------
    Bun, Allez, Bouchaud and Potters (2016), Rotational invariant estimator for general noisy matrices.
    """
    values, vectors = _eigen(noisy)
    return (vectors * shrink_eigenvalues(values, law, noise)) @ vectors.T


def denoising_error(law: SpectralLaw, noise: float, n_nodes: int = 200) -> float:
    """Least mean squared error of an estimate of S from Y, ‖Ŝ − S‖²/d, as d grows.

    Parameters
    ----------
    law, noise
        As for `shrink_eigenvalues`.
    n_nodes
        Nodes of the quadrature on each interval of the support.

    Returns
    -------
    F(q) = q − (4π²/3) q² ∫ρ³, with ρ the density of the noisy eigenvalues.

    Raises
    ------
    ValueError
        If `noise` is not positive, or `n_nodes` below 2.

    References
    ----------
    Maillard, Krzakala, Mézard and Zdeborová (2022), Perturbative construction of mean-field equations in
    extensive-rank matrix factorization and denoising.
    """
    check_at_least("n_nodes", n_nodes, 2)
    low, high = noisy_support(law, noise).unbind(dim=1)
    # With x = middle − half cos θ the square roots at the ends become smooth: the midpoint rule converges fast.
    angles = (torch.arange(n_nodes, dtype=torch.float64) + 0.5) * torch.pi / n_nodes
    half = (high - low)[:, None] / 2
    points = low[:, None] + half * (1 - angles.cos())
    density, _ = noisy_density(law, noise, points)
    cubes = (density**3 * half * angles.sin()).sum().item() * torch.pi / n_nodes
    return noise - 4 / 3 * torch.pi**2 * noise**2 * cubes


def truncate_symmetric(matrix: Float[Tensor, "d d"], rank: int) -> Float[Tensor, "d d"]:
    """Keep the largest eigenvalues of a symmetric matrix as they are, and put the others to zero.

    Parameters
    ----------
    matrix
        Symmetric.
    rank
        How many to keep, between 0 and d.

    Returns
    -------
    The truncated matrix.

    Raises
    ------
    ValueError
        If `matrix` is not square, symmetric and finite, or `rank` out of range.
    """
    values, vectors = _eigen(matrix, "matrix")
    if not 0 <= rank <= len(values):
        raise ValueError(f"rank must be between 0 and {len(values)}; got {rank}")
    kept = slice(len(values) - rank, None)
    return (vectors[:, kept] * values[kept]) @ vectors[:, kept].T


def _eigen(matrix: Tensor, name: str = "noisy") -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a matrix that is looked at first."""
    (matrix,) = as_floats(**{name: matrix})
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be square; got shape {tuple(matrix.shape)}")
    gap = (matrix - matrix.T).abs().max().item()
    if gap > 1e3 * torch.finfo(matrix.dtype).eps * matrix.abs().max().item():
        raise ValueError(
            f"{name} must be symmetric; got entries that differ from their mirror images by {gap:g}"
        )
    return torch.linalg.eigh(matrix)
