"""How a batch moves the ends of the curvature's spectrum, and what learning rate and momentum follow from it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap
from torch.nn import functional

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_finite,
    check_not_negative,
    check_positive,
)
from regularity.foundations.choices import choose
from regularity.foundations.curvature import (
    Extremes,
    TraceEstimate,
    extreme_eigenvalues,
    gauss_newton_product,
    hessian_product,
    lanczos,
    spectral_density,
)
from regularity.foundations.hypergradients import Product
from regularity.foundations.randomness import random_signs

Kind = Literal["hessian", "gauss-newton"]

# --- The laws ----------------------------------------------------------------------------------------------------


def effective_batch_size(batch_size: int, n_samples: int) -> float:
    """Size of a batch with replacement as noisy as one of `batch_size` without: b = B(N − 1)/(N − B).

    The mean over a batch has 1/b times the covariance of one sample; b is infinite for the whole set.
    """
    if not 1 <= batch_size <= n_samples:
        raise ValueError(f"batch_size must be between 1 and {n_samples}, all samples; got {batch_size}")
    return math.inf if batch_size == n_samples else batch_size * (n_samples - 1) / (n_samples - batch_size)


def additive_extreme(eigenvalue: float, noise: float, size: int | float) -> float:
    """Where an end of the spectrum goes when independent noise is added to the entries of a matrix.

    Parameters
    ----------
    eigenvalue
        Largest eigenvalue λ of the full matrix, or the smallest, if negative.
    noise
        d σ²: number of rows times the variance of an entry over single samples.
    size
        Effective batch size b.

    Returns
    -------
    λ + dσ²/(bλ) where λ stands out, |λ| > √(dσ²/b); else the edge ±2√(dσ²/b) of the semicircle that swallows it.

    Raises
    ------
    ValueError
        If `eigenvalue` is zero or not finite, `noise` is negative, or `size` is not positive.

    References
    ----------
    Baik, Ben Arous and Péché (2005); Benaych-Georges and Nadakuditi (2011), The eigenvalues and eigenvectors of
    finite, low rank perturbations of large random matrices.

    Examples
    --------
    >>> additive_extreme(2.0, noise=16.0, size=16.0), additive_extreme(-2.0, noise=16.0, size=1.0)
    (2.5, -8.0)
    """
    check_finite("eigenvalue", eigenvalue)
    check_not_negative("noise", noise)
    check_finite("noise", noise)
    if eigenvalue == 0 or not size > 0:
        raise ValueError(f"eigenvalue must not be zero, and size be positive; got {eigenvalue} and {size}")
    spread = noise / size
    if abs(eigenvalue) > math.sqrt(spread):
        return eigenvalue + spread / eigenvalue
    return math.copysign(2 * math.sqrt(spread), eigenvalue)


def multiplicative_extreme(eigenvalue: float, bulk_trace: float, dimension: int, size: int | float) -> float:
    """Where the largest eigenvalue goes when a matrix is the mean of b outer products of Gaussian vectors.

    Parameters
    ----------
    eigenvalue
        Largest eigenvalue l of the full matrix.
    bulk_trace
        Sum of all others; each of them is taken to be s = bulk_trace/d.
    dimension
        Number of rows, d.
    size
        Effective batch size b.

    Returns
    -------
    l + l·bulk_trace/(b(l − s)) where l > s(1 + √(d/b)); else the edge s(1 + √(d/b))² of Marchenko and Pastur.

    Raises
    ------
    ValueError
        If `eigenvalue`, `dimension` or `size` is not positive, or `bulk_trace` is negative.

    References
    ----------
    Baik and Silverstein (2006), Eigenvalues of large sample covariance matrices of spiked population models.

    Examples
    --------
    >>> multiplicative_extreme(2.0, bulk_trace=10.0, dimension=10, size=10.0)
    4.0
    """
    check_positive("eigenvalue", eigenvalue)
    check_at_least("dimension", dimension, 1)
    check_not_negative("bulk_trace", bulk_trace)
    check_finite("bulk_trace", bulk_trace)
    if not size > 0:
        raise ValueError(f"size must be positive; got {size}")
    level, ratio = bulk_trace / dimension, math.sqrt(dimension / size)
    if eigenvalue > level * (1 + ratio):
        return eigenvalue + eigenvalue * bulk_trace / (size * (eigenvalue - level))
    return level * (1 + ratio) ** 2


# --- What the laws need to know of a network ---------------------------------------------------------------------


@dataclass(frozen=True)
class SampledLoss:
    """A loss that is a mean over samples, known by its curvature's products: of all, of a batch, of each.

    Attributes
    ----------
    call
        ``call(point, inputs)``: the outputs, one row a sample, without batch normalisation, through which a sample
        would change what another one gets.
    inputs, labels
        The samples.
    loss
        ``loss(outputs, labels)``: the mean loss of rows.
    """

    call: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    labels: Tensor
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy

    def __len__(self) -> int:
        return len(self.inputs)

    def product(self, point: Tensor, kind: Kind = "hessian", batch: Tensor | slice = slice(None)) -> Product:
        """v ↦ H_B v or G_B v, for the batch of these indices; the whole set where none is given."""
        choose("kind", kind, dict.fromkeys(get_args(Kind)))
        predict, loss = self._parts(self.inputs[batch], self.labels[batch])
        if kind == "hessian":
            return hessian_product(lambda at: loss(predict(at)), point)
        return gauss_newton_product(predict, loss, point)

    def images(self, point: Tensor, vector: Tensor, kind: Kind = "hessian") -> Float[Tensor, "n d"]:
        """H_i v or G_i v for every sample i, one a row."""
        choose("kind", kind, dict.fromkeys(get_args(Kind)))

        def of_one(x: Tensor, y: Tensor) -> Tensor:
            predict, loss = self._parts(x[None], y[None])
            if kind == "hessian":
                return jvp(grad(lambda at: loss(predict(at))), (point,), (vector,))[1]
            outputs, change = jvp(predict, (point,), (vector,))
            return vjp(predict, point)[1](jvp(grad(loss), (outputs,), (change,))[1])[0]

        return vmap(of_one, chunk_size=2048)(self.inputs, self.labels)

    def _parts(self, inputs: Tensor, labels: Tensor) -> tuple[Callable, Callable]:
        """Point to outputs, and outputs to the loss."""
        return lambda at: self.call(at, inputs), lambda outputs: self.loss(outputs, labels)


def curvature_noise(
    sampled: SampledLoss,
    point: Float[Tensor, " d"],
    kind: Kind = "hessian",
    *,
    n_draws: int = 4,
    generator: torch.Generator | None = None,
) -> TraceEstimate:
    """Estimate dσ², what `additive_extreme` asks for, at a point: the noise depends on where one is.

    The mean over vectors z of random signs of (mean_i ‖H_i z‖² − ‖Hz‖²)/d, which is (mean_i ‖H_i − H‖²)/d without
    bias, and its standard error.
    """
    check_at_least("n_draws", n_draws, 2)
    (point,) = as_floats(point=point)
    found = []
    for _ in range(n_draws):
        images = sampled.images(point, random_signs(point, generator), kind)
        spread = images.square().sum(dim=1).mean() - images.mean(dim=0).square().sum()
        found.append(spread.double() / len(point))
    return _mean_of(found)


def _mean_of(draws: list[Float[Tensor, ""]]) -> TraceEstimate:
    """The mean of independent draws, with its standard error."""
    values = torch.stack(draws)
    return TraceEstimate(values.mean().item(), values.std().item() / len(draws) ** 0.5)


def second_order_shift(
    sampled: SampledLoss,
    point: Float[Tensor, " d"],
    kind: Kind = "hessian",
    *,
    n_steps: int = 24,
    n_draws: int = 16,
    generator: torch.Generator | None = None,
) -> tuple[Extremes, TraceEstimate]:
    """Ends of the full matrix's spectrum, and the c of E λ₁(H_B) = λ₁ + c/b + o(1/b), whatever the noise.

    c = Σ_{j>1} Var_i(v_jᵀ H_i v₁)/(λ₁ − λ_j) is the mean of uᵀ(λ₁ − H)⁻¹u over random u with the covariance of the
    H_i v₁, and each such form is a quadrature by Lanczos from u.

    Parameters
    ----------
    sampled, point, kind
        Whose curvature, where, and which.
    n_steps
        Lanczos steps, for λ₁ and for each quadrature.
    n_draws
        Random combinations u of the samples, at least 2.
    generator
        Their source.

    Returns
    -------
    Both ends, and c with its standard error.

    Raises
    ------
    ValueError
        If `n_draws` is below 2, or `n_steps` is not between 1 and d.

    References
    ----------
    Golub and Meurant (2010), Matrices, moments and quadrature.
    """
    check_at_least("n_draws", n_draws, 2)
    (point,) = as_floats(point=point)
    product = sampled.product(point, kind)
    ends = extreme_eigenvalues(
        product, torch.randn(point.shape, generator=generator).to(point), n_steps=n_steps
    )
    top = ends.largest_vector / ends.largest_vector.norm()

    def without_top(vectors: Tensor) -> Tensor:
        return vectors - (vectors @ top)[..., None] * top

    images = sampled.images(point, top, kind)
    deviations = without_top(images - images.mean(dim=0))
    forms = []
    for _ in range(n_draws):
        start = random_signs(deviations[:, 0], generator) @ deviations / len(sampled) ** 0.5
        if not bool(start.any()):  # all samples agree
            forms.append(torch.zeros((), dtype=torch.float64))
            continue
        reduced = lanczos(lambda v: without_top(product(without_top(v))), start, n_steps=n_steps)
        nodes, vectors = reduced.eigenpairs()
        weights = vectors[0].square() * start.double().square().sum()
        forms.append((weights / (ends.largest - nodes)).sum())
    return ends, _mean_of(forms)


@dataclass(frozen=True)
class BatchEnds:
    """Both ends of the spectra of random batches, and vᵀH_B v for a given v of length one: one number a batch.

    The mean of `along` is vᵀHv: with v the top eigenvector of the full matrix, ``largest - along`` has the mean of
    λ₁(H_B) − λ₁ and far less noise.
    """

    smallest: Float[Tensor, " draws"]
    largest: Float[Tensor, " draws"]
    along: Float[Tensor, " draws"]


def batch_extremes(
    sampled: SampledLoss,
    point: Float[Tensor, " d"],
    along: Float[Tensor, " d"],
    kind: Kind = "hessian",
    *,
    batch_size: int,
    n_draws: int,
    n_steps: int = 24,
    generator: torch.Generator | None = None,
) -> BatchEnds:
    """Measure by Lanczos the ends of the spectra of `n_draws` batches, and their curvature along a direction."""
    effective_batch_size(batch_size, len(sampled))
    check_at_least("n_draws", n_draws, 1)
    point, along = as_floats(point=point, along=along)
    if along.shape != point.shape:
        raise ValueError(f"along must have the {len(point)} entries of point; got {tuple(along.shape)}")
    along = along / along.abs().max()
    found = []
    for _ in range(n_draws):
        batch = torch.randperm(len(sampled), generator=generator)[:batch_size].to(point.device)
        start = torch.randn(point.shape, generator=generator).to(point)
        product = sampled.product(point, kind, batch)
        ends = extreme_eigenvalues(product, start, n_steps=n_steps)
        quotient = (along @ product(along) / along.square().sum()).item()
        found.append((ends.smallest, ends.largest, quotient))
    return BatchEnds(*torch.tensor(found, dtype=torch.float64).T)


# --- Largest stable learning rates -------------------------------------------------------------------------------


def largest_stable(
    learning_rates: Float[Tensor, " rates"], losses: Float[Tensor, "*runs rates"], threshold: float
) -> Float[Tensor, "*runs"]:
    """Read off the largest of the ascending rates with which a training still ends with a loss below `threshold`.

    A loss that is not finite is a failure. NaN where no rate works, and infinite where the last one does: the grid is
    too short to tell.
    """
    learning_rates, losses = as_floats(finite=False, learning_rates=learning_rates, losses=losses)
    check_positive("learning_rates", learning_rates)
    if not bool((learning_rates.diff() > 0).all()):
        raise ValueError("learning_rates must be ascending")
    if losses.shape[-1] != len(learning_rates):
        raise ValueError(
            f"losses must have {len(learning_rates)} columns, one a rate; got {losses.shape[-1]}"
        )
    works = losses.isfinite() & (losses < threshold)
    best = torch.where(works, learning_rates, -math.inf).amax(dim=-1)
    best = torch.where(works[..., -1], math.inf, best)
    return torch.where(works.any(dim=-1), best, math.nan)


def log_log_slope(
    sizes: Sequence[int | float], values: Float[Tensor, "*runs sizes"]
) -> Float[Tensor, "*runs"]:
    """Exponent of a power law, d log(values)/d log(sizes), by least squares; not finite where a value is not."""
    (values,) = as_floats(finite=False, values=values)
    abscissa = torch.as_tensor(sizes, dtype=torch.float64, device=values.device)
    check_positive("sizes", abscissa)
    if values.shape[-1:] != abscissa.shape or len(abscissa.unique()) < 2:
        raise ValueError(f"sizes must be different, and as many as values; got {list(sizes)}")
    centred = abscissa.log() - abscissa.log().mean()
    return (values.double().log() @ centred / centred.square().sum()).to(values.dtype)


# --- The learner of learning rate and momentum -------------------------------------------------------------------

MOMENTA = ("none", "polyak", "damped")


@dataclass(frozen=True)
class Steps:
    """What the learner chooses for the next epoch."""

    learning_rate: float
    momentum: float


def learn_steps(
    products: Sequence[Product],
    like: Float[Tensor, " d"],
    *,
    momentum: Literal["none", "polyak", "damped"] = "none",
    safety: float = 0.5,
    n_steps: int = 12,
    generator: torch.Generator | None = None,
) -> Steps:
    """Choose learning rate and momentum for the next epoch from the curvature of a few batches.

    Parameters
    ----------
    products
        v ↦ H_B v, for batches of the size that training uses.
    like
        The parameters.
    momentum
        "none": learning rate alone. "polyak": heavy ball, optimal between the largest and the smallest positive node.
        "damped": the same with both raised by the edge of the bulk, below which curvature is noise.
    safety
        Share that is taken of the optimal learning rate: of 2/λ₁, where stability ends, or of the heavy ball's.
    n_steps
        Lanczos steps a batch, at most d.
    generator
        Source of their first directions.

    Returns
    -------
    What was chosen.

    Raises
    ------
    ValueError
        If a word or number is out of its range, there are no products, or no batch has a positive curvature.

    References
    ----------
    Polyak (1964), Some methods of speeding up the convergence of iteration methods.
    """
    choose("momentum", momentum, dict.fromkeys(MOMENTA))
    check_positive("safety", safety)
    check_at_least("the number of products", len(products), 1)
    (like,) = as_floats(like=like)
    tops, bottoms, edges = [], [], []
    for product in products:
        nodes, weights = spectral_density(product, like, n_steps=n_steps, n_draws=1, generator=generator)
        positive = nodes[nodes > 0]
        if not len(positive):
            raise ValueError("products must have a positive eigenvalue: at a maximum no rate is stable")
        tops.append(positive[-1])
        bottoms.append(positive[0])
        # The edge of a semicircle is twice its standard deviation.
        edges.append(2 * (weights[:-1] * nodes[:-1].square()).sum().sqrt())
    top, bottom, edge = (torch.stack(found).mean().item() for found in (tops, bottoms, edges))
    if momentum == "none":
        return Steps(2 * safety / top, 0.0)
    damping = edge if momentum == "damped" else 0.0
    high, low = math.sqrt(top + damping), math.sqrt(bottom + damping)
    share = ((high - low) / (high + low)) ** 2
    return Steps(safety * 4 / (high + low) ** 2, share)
