"""Weighted least squares at random points that repel each other: projection DPPs and volume-rescaled sampling.

A `FeatureSpace` is a space of m functions with a basis φ that is orthonormal under a law μ. A `Sample` holds b draws
of n points with the features there and weights w = dμ/dν, for ν the *reference*: μ itself, or the Christoffel law
dν = (k/m) dμ, k = ‖φ‖². Everything is in double precision: Gram matrices may be close to singular.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive, check_squares
from regularity.foundations.choices import choose


@dataclass(frozen=True)
class FeatureSpace:
    """Functions that a sample is to determine, and the law under which their basis is orthonormal.

    Attributes
    ----------
    n_features
        m, the dimension.
    features
        φ: points (..., d) to features (..., m).
    draw_measure
        Number of points and generator to independent points of μ, (number, d).
    draw_christoffel
        The same for the law (k/m) dμ.
    device
        Where points live.
    """

    n_features: int
    features: Callable[[Tensor], Tensor]
    draw_measure: Callable[[int, Generator | None], Tensor]
    draw_christoffel: Callable[[int, Generator | None], Tensor]
    device: torch.device


@dataclass(frozen=True)
class Sample:
    """Draws of n points each, their features, and the weights of least squares."""

    points: Float[Tensor, "b n d"]
    features: Float[Tensor, "b n m"]
    weights: Float[Tensor, "b n"]

    @property
    def smallest_eigenvalue(self) -> Float[Tensor, " b"]:
        """λ_min of each draw's Gram matrix: how well the points determine the coefficients."""
        return torch.linalg.eigvalsh(gram_matrices(self.features, self.weights))[:, 0]

    def take(self, chosen: Tensor) -> "Sample":
        """Some of the draws."""
        return Sample(self.points[chosen], self.features[chosen], self.weights[chosen])


# --- Drawing points ----------------------------------------------------------------------------------------------

# What draws a reference ν, and its weights dμ/dν from k and m.
REFERENCES = {
    "measure": (lambda space: space.draw_measure, lambda k, m: torch.ones_like(k)),
    "christoffel": (lambda space: space.draw_christoffel, lambda k, m: m / k),
}


def uniform(shape: tuple[int, ...], generator: Generator | None, device: torch.device | str) -> Tensor:
    """Numbers in [0, 1), drawn where the generator lives."""
    where = "cpu" if generator is None else generator.device
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=where).to(device)


def draw_by_rejection(
    n_draws: int,
    n_tries: int,
    propose: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    device: torch.device | str,
) -> Tensor:
    """Take the first proposal that each draw accepts, `n_tries` at a time and twice as many in each round.

    `propose` takes the numbers of the draws that still wait, and of tries, to proposals (a, t, ...) and whether they
    are accepted, (a, t).
    """
    drawn, waiting = None, torch.arange(n_draws, device=device)
    while len(waiting):
        proposals, accepted = propose(waiting, n_tries)
        done, first = accepted.any(dim=1), accepted.int().argmax(dim=1)
        drawn = proposals.new_empty(n_draws, *proposals.shape[2:]) if drawn is None else drawn
        drawn[waiting[done]] = proposals[done, first[done]]
        waiting, n_tries = waiting[~done], 2 * n_tries
    return drawn


def sample_at(space: FeatureSpace, points: Float[Tensor, "b n d"], reference: str = "christoffel") -> Sample:
    """Features at given points, and the weights dμ/dν: m/k(x) for "christoffel", 1 for "measure"."""
    choose("reference", reference, REFERENCES)
    features = space.features(points)
    weights = REFERENCES[reference][1](features.square().sum(dim=-1), space.n_features)
    return Sample(points, features, weights)


def projection_dpp(
    space: FeatureSpace, n_draws: int, generator: Generator | None = None
) -> Float[Tensor, "b m d"]:
    """Draw sets of m points from the projection determinantal point process, exactly.

    Parameters
    ----------
    space
        The functions, and how to draw from their Christoffel law.
    n_draws
        How many sets, drawn side by side.
    generator
        Source of randomness.

    Returns
    -------
    Points with the joint density det[φ(x_1) ... φ(x_m)]²/m! under μ.

    Raises
    ------
    ValueError
        If `n_draws` is below 1.

    References
    ----------
    Hough, Krishnapur, Peres and Virág (2006), Determinantal processes and independence, algorithm 18.
    """
    check_at_least("n_draws", n_draws, 1)
    m, device = space.n_features, space.device

    def propose(directions: Tensor, waiting: Tensor, n_tries: int) -> tuple[Tensor, Tensor]:
        points = space.draw_christoffel(len(waiting) * n_tries, generator).unflatten(0, (-1, n_tries))
        features = space.features(points)
        old = (features @ directions[waiting].mT).square().sum(dim=-1) / features.square().sum(dim=-1)
        return points, uniform(tuple(old.shape), generator, device) < 1 - old

    chosen, directions = [], torch.zeros(n_draws, 0, m, dtype=torch.float64, device=device)
    for j in range(m):
        # The next point has the density k(x) times the share of φ(x) that is new, outside the span of the features
        # so far. That share has the mean (m − j)/m under the Christoffel law.
        point = draw_by_rejection(n_draws, math.ceil(m / (m - j)), partial(propose, directions), device)
        new = space.features(point)[:, None]
        new = new - (new @ directions.mT) @ directions
        directions = torch.cat([directions, new / new.norm(dim=2, keepdim=True)], dim=1)
        chosen.append(point)
    return torch.stack(chosen, dim=1)


def volume_sampling(
    space: FeatureSpace,
    n_points: int,
    n_draws: int = 1,
    *,
    n_repetitions: int = 1,
    reference: str = "christoffel",
    generator: Generator | None = None,
) -> Sample:
    """Draw from generalised volume-rescaled sampling, or from independent repetitions of it.

    Parameters
    ----------
    space
        The functions.
    n_points
        n, of all repetitions together, m a repetition at least. With m points exactly it is a projection DPP.
    n_draws
        How many samples, drawn side by side.
    n_repetitions
        Number of independent parts of a sample.
    reference
        "christoffel" or "measure": ν. Repetitions want the first, under which E G = I.
    generator
        Source of randomness.

    Returns
    -------
    Of each part, the density under νⁿ is proportional to det G. Points are in random order.

    Raises
    ------
    ValueError
        If `n_points` are fewer than m a repetition or do not divide, or the reference is unknown.
    """
    draw = choose("reference", reference, REFERENCES)[0](space)
    check_at_least("n_draws", n_draws, 1)
    check_at_least("n_repetitions", n_repetitions, 1)
    m, n_parts = space.n_features, n_draws * n_repetitions
    if n_points % n_repetitions or n_points < m * n_repetitions:
        raise ValueError(
            f"n_points must be a multiple of n_repetitions = {n_repetitions} and at least {m} times as many;"
            f" got {n_points}"
        )
    n_padding = n_points // n_repetitions - m
    # A mixture, by Cauchy and Binet: m of the points, no matter which, repel each other; the rest are independent.
    points = projection_dpp(space, n_parts, generator)
    if n_padding:
        padding = draw(n_parts * n_padding, generator).unflatten(0, (n_parts, n_padding))
        points = torch.cat([points, padding], dim=1)
    order = uniform(tuple(points.shape[:2]), generator, points.device).argsort(dim=1)
    points = points.take_along_dim(order[..., None], dim=1)
    return sample_at(space, points.reshape(n_draws, n_points, -1), reference)


def independent_sampling(
    space: FeatureSpace,
    n_points: int,
    n_draws: int = 1,
    *,
    reference: str = "christoffel",
    generator: Generator | None = None,
) -> Sample:
    """Draw points independently from the reference; that of "christoffel" is optimal for least squares."""
    draw = choose("reference", reference, REFERENCES)[0](space)
    check_at_least("n_draws", n_draws, 1)
    check_at_least("n_points", n_points, space.n_features)
    points = draw(n_draws * n_points, generator).unflatten(0, (n_draws, n_points))
    return sample_at(space, points, reference)


def volume_density(features: Float[Tensor, "b n m"], weights: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Density of volume-rescaled sampling with respect to νⁿ: nᵐ (n − m)!/n! det G."""
    features, weights = _checked(features, weights)
    n, m = features.shape[1:]
    log_scale = m * math.log(n) + math.lgamma(n - m + 1) - math.lgamma(n + 1)
    return math.exp(log_scale) * torch.linalg.det(gram_matrices(features, weights))


def conditioned(
    draw: Callable[[int], Sample], n_draws: int, *, delta: float = 0.5, max_tries: int = 1_000_000
) -> tuple[Sample, float]:
    """Draw anew until the Gram matrix is stable: λ_min(G) ≥ 1 − δ.

    Parameters
    ----------
    draw
        Number of draws to a sample.
    n_draws
        How many are wanted.
    delta
        δ, between 0 and 1.
    max_tries
        Most draws in all.

    Returns
    -------
    sample
        Stable draws, exactly of the law given the event.
    acceptance
        Share of the draws that were stable.

    Raises
    ------
    ValueError
        If `delta` is not between 0 and 1.
    RuntimeError
        If there are too few stable draws among `max_tries`.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must be between 0 and 1; got {delta}")
    kept, n_kept, n_tried = [], 0, 0
    while n_kept < n_draws and n_tried < max_tries:
        sample = draw(n_draws)
        stable = sample.smallest_eigenvalue >= 1 - delta
        kept.append(sample.take(stable))
        n_kept, n_tried = n_kept + int(stable.sum()), n_tried + n_draws
    if n_kept < n_draws:
        raise RuntimeError(
            f"{n_kept} of {n_tried} draws had λ_min(G) ≥ {1 - delta:g}, and {n_draws} are wanted"
        )
    joined = Sample(*(torch.cat(parts)[:n_draws] for parts in zip(*map(_parts, kept), strict=True)))
    return joined, n_kept / n_tried


def _parts(sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
    return sample.points, sample.features, sample.weights


def boosted(draw: Callable[[int], Sample], n_draws: int, n_candidates: int) -> Sample:
    """Draw several candidates for each sample, and take the one with the largest λ_min(G)."""
    check_at_least("n_candidates", n_candidates, 1)
    sample = draw(n_draws * n_candidates)
    best = sample.smallest_eigenvalue.unflatten(0, (n_draws, n_candidates)).argmax(dim=1)
    return sample.take(torch.arange(n_draws, device=best.device) * n_candidates + best)


# --- Least squares -----------------------------------------------------------------------------------------------


def gram_matrices(features: Float[Tensor, "b n m"], weights: Float[Tensor, "b n"]) -> Float[Tensor, "b m m"]:
    """G = (1/n) Σ_i w_i φ(x_i) φ(x_i)ᵀ of each draw."""
    features, weights = _checked(features, weights)
    return (features * weights[..., None]).mT @ features / features.shape[1]


def weighted_least_squares(
    features: Float[Tensor, "b n m"], weights: Float[Tensor, "b n"], values: Float[Tensor, "b n q"]
) -> Float[Tensor, "b m q"]:
    """Coefficients of the approximations that minimise Σ_i w_i (f(x_i) − cᵀφ(x_i))².

    Parameters
    ----------
    features, weights
        Of a sample.
    values
        q functions at its points.

    Returns
    -------
    One column of coefficients a function, for each draw.

    Raises
    ------
    ValueError
        If sizes differ, there are fewer points than features, a weight is not positive, or the features at the
        points of a draw are not linearly independent.
    """
    features, weights = _checked(features, weights)
    features, weights, values = as_floats(features=features, weights=weights, values=values)
    if values.ndim != 3 or values.shape[:2] != weights.shape:
        raise ValueError(
            f"values must be {tuple(weights.shape)} and a column a function; got {tuple(values.shape)}"
        )
    check_squares("values", values)
    roots = weights.sqrt()[..., None]
    orthogonal, triangular = torch.linalg.qr(roots * features)
    diagonal = triangular.diagonal(dim1=-2, dim2=-1).abs()
    if bool((diagonal.amin(-1) <= 4 * torch.finfo(features.dtype).eps * diagonal.amax(-1)).any()):
        raise ValueError(
            "features must be linearly independent at the points of each draw; their rank is too small"
        )
    return torch.linalg.solve_triangular(triangular, orthogonal.mT @ (roots * values), upper=True)


def _checked(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    features, weights = as_floats(features=features, weights=weights)
    if features.ndim != 3 or weights.shape != features.shape[:2]:
        raise ValueError(
            "features must be (draws, points, features) and weights (draws, points);"
            f" got {tuple(features.shape)} and {tuple(weights.shape)}"
        )
    check_at_least("number of points in features", features.shape[1], features.shape[2])
    check_positive("weights", weights)
    check_squares("features", features)
    check_squares("weights", weights)
    return features, weights
