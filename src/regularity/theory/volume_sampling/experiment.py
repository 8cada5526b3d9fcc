"""The chapter's runs: errors against the number of points, stability, worst cases, exact laws, rows to label."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from sklearn.datasets import load_diabetes
from torch import Generator, Tensor

from regularity.foundations.polynomials import gauss_legendre, legendre_basis
from regularity.foundations.randomness import Stream
from regularity.theory.volume_sampling.method import (
    FeatureSpace,
    Sample,
    independent_sampling,
    sample_at,
    volume_density,
    volume_sampling,
    weighted_least_squares,
)
from regularity.theory.volume_sampling.problems import Problem, approximate, population_space

Design = Callable[..., Sample]


def repeated(
    space: FeatureSpace, n_points: int, n_draws: int, *, multiple: int = 1, generator: Generator | None
) -> Sample:
    """As many volume samples as fit, of a multiple of m points each: of m points, projection DPPs."""
    n_repetitions = n_points // (multiple * space.n_features)
    return volume_sampling(space, n_points, n_draws, n_repetitions=n_repetitions, generator=generator)


DESIGNS: Mapping[str, Design] = {
    "independent, plain": partial(independent_sampling, reference="measure"),
    "independent, optimal": independent_sampling,
    "volume": volume_sampling,
    "repeated DPP": repeated,
}


# --- Errors -------------------------------------------------------------------------------------------------------


def error_ratios(problem: Problem, sample: Sample) -> Float[Tensor, " b"]:
    """‖f − f̂‖²/‖f − Pf‖² of each draw: 1 for the best approximation."""
    values = problem.function(sample.points)[..., None]
    found = weighted_least_squares(sample.features, sample.weights, values)[..., 0]
    return 1 + (found - problem.coefficients).square().sum(dim=1) / problem.best


def noise_shares(problem: Problem, sample: Sample) -> Float[Tensor, " b"]:
    """‖(1/n) Σ w φ r‖² over (m/n)‖r‖², for r = f − Pf: independent optimal points have the mean 1."""
    residuals = problem.function(sample.points) - sample.features @ problem.coefficients
    noise = ((sample.weights * residuals)[..., None] * sample.features).mean(dim=1).square().sum(dim=1)
    n, m = sample.features.shape[1:]
    return noise / (m / n * problem.best)


def mean_squared_cosines(sample: Sample) -> Float[Tensor, " b"]:
    """Of the angles between the features of two different points, over all pairs of each draw."""
    n = sample.features.shape[1]
    unit = torch.nn.functional.normalize(sample.features, dim=2)
    return ((unit @ unit.mT).square().sum(dim=(1, 2)) - n) / (n * (n - 1))


@dataclass(frozen=True)
class Sweep:
    """Error ratios and smallest eigenvalues of each draw, at each number of points."""

    sizes: list[int]
    ratios: Float[Tensor, "b s"]
    stability: Float[Tensor, "b s"]


def sweep(
    problem: Problem, designs: Mapping[str, Design], multiples: list[int], n_draws: int, stream: Stream
) -> dict[str, Sweep]:
    """Every design at multiples of m points."""
    sizes = [multiple * problem.space.n_features for multiple in multiples]
    found = {}
    for name, design in designs.items():
        ratios, stability = [], []
        for size in sizes:
            sample = design(problem.space, size, n_draws, generator=stream(name, size))
            ratios.append(error_ratios(problem, sample).cpu())
            stability.append(sample.smallest_eigenvalue.cpu())
        found[name] = Sweep(sizes, torch.stack(ratios, dim=1), torch.stack(stability, dim=1))
    return found


def half_stable_multiple(
    space: FeatureSpace, design: Design, multiples: list[int], n_draws: int, stream: Stream, delta: float
) -> tuple[Float[Tensor, " s"], Float[Tensor, " g"]]:
    """Shares of draws with λ_min ≥ 1 − δ, and in ten groups of draws the n/m at which they first reach a half.

    Between the multiples by linear interpolation; NaN where they never do.
    """
    stable = []
    for multiple in multiples:
        sample = design(space, multiple * space.n_features, n_draws, generator=stream(multiple))
        stable.append((sample.smallest_eigenvalue >= 1 - delta).double().cpu())
    shares = torch.stack(stable, dim=1)
    reached = [_crossing(multiples, group.tolist()) for group in shares.unflatten(0, (10, -1)).mean(dim=1)]
    return shares.mean(dim=0), torch.tensor(reached, dtype=torch.float64)


def _crossing(multiples: list[int], shares: list[float]) -> float:
    last = next((i for i, share in enumerate(shares) if share >= 0.5), None)
    if not last:
        return math.nan if last is None else float(multiples[0])
    weight = (0.5 - shares[last - 1]) / (shares[last] - shares[last - 1])
    return multiples[last - 1] + weight * (multiples[last] - multiples[last - 1])


def growing_spaces(
    targets: list[str],
    dimensions: list[int],
    factor: float,
    design: Design,
    n_draws: int,
    stream: Stream,
    device: torch.device,
) -> tuple[dict[str, Float[Tensor, "k b"]], Float[Tensor, "k b"]]:
    """Error ratios of each function and smallest eigenvalues with n = m⌈factor · log m⌉ points of one variable."""
    ratios, stability = {target: [] for target in targets}, []
    for m in dimensions:
        problems = {target: approximate(target, m - 1, device) for target in targets}
        space = problems[targets[0]].space
        sample = design(space, m * math.ceil(factor * math.log(m)), n_draws, generator=stream(m))
        stability.append(sample.smallest_eigenvalue.cpu())
        for target, problem in problems.items():
            ratios[target].append(error_ratios(problem, sample).cpu())
    return {target: torch.stack(found) for target, found in ratios.items()}, torch.stack(stability)


# --- Almost surely -------------------------------------------------------------------------------------------------


def minimax_error(problem: Problem, n_grid: int = 1000) -> float:
    """Least error in the supremum norm that the space allows, on a grid of one variable, by linear programming."""
    points = torch.cos(math.pi * torch.arange(n_grid + 1, dtype=torch.float64) / n_grid)[:, None]
    points = points.to(problem.space.device)
    features, values = (
        part.cpu().numpy() for part in (problem.space.features(points), problem.function(points))
    )
    slack = -np.ones((len(features), 1))
    rows = np.block([[features, slack], [-features, slack]])
    objective = np.eye(features.shape[1] + 1)[-1]
    bounds = [(None, None)] * (features.shape[1] + 1)
    return float(linprog(objective, rows, np.concatenate([values, -values]), bounds=bounds).fun)


@dataclass(frozen=True)
class SmoothFunctions:
    """The reproducing kernel Hilbert space of Σ c_j φ_j with norm Σ (1 + j)^{2s} c_j², j below `n_modes`, on [−1, 1].

    The Legendre polynomials below degree m are its best approximation: f − Pf is the tail from m on.
    """

    n_modes: int
    smoothness: float

    def tail(self, points: Tensor, m: int) -> Float[Tensor, "*shape j"]:
        """Functions of norm one, orthogonal to V_m, at points of one variable."""
        scales = (
            1 + torch.arange(self.n_modes, dtype=torch.float64, device=points.device)
        ) ** -self.smoothness
        return (legendre_basis(points[..., 0], self.n_modes - 1) * scales)[..., m:]

    def worst_errors(self, sample: Sample) -> Float[Tensor, " b"]:
        """The largest ‖f − f̂‖/‖f − Pf‖_H over all f, of each draw."""
        m = sample.features.shape[2]
        tail = self.tail(sample.points, m)
        aliased = weighted_least_squares(sample.features, sample.weights, tail)
        scales = (1 + torch.arange(m, self.n_modes).to(tail)) ** -self.smoothness
        squares = torch.diag(scales**2) + aliased.mT @ aliased
        return torch.linalg.eigvalsh(squares)[:, -1].sqrt()


def sure_bounds(space: FeatureSpace, smooth: SmoothFunctions, delta: float) -> tuple[float, float]:
    """Bounds on error over best error for every stable draw: in the supremum norm, and in that of H."""
    points = torch.cos(math.pi * torch.linspace(0, 1, 4001, dtype=torch.float64, device=space.device))[
        :, None
    ]
    m = space.n_features
    weights = m / space.features(points).square().sum(dim=1)
    kernel = smooth.tail(points, m).square().sum(dim=1)
    in_supremum = 1 + (weights.max().item() / (1 - delta)) ** 0.5
    return in_supremum, (1 + m) ** -smooth.smoothness + ((weights * kernel).max().item() / (1 - delta)) ** 0.5


# --- Exact laws ----------------------------------------------------------------------------------------------------


def every_sample(space: FeatureSpace, n_members: int, n_points: int, reference: str) -> tuple[Sample, Tensor]:
    """All ordered samples of a small population with their probabilities under νⁿ."""
    members = torch.arange(n_members, dtype=torch.float64)
    points = torch.cartesian_prod(*[members] * n_points).reshape(-1, n_points, 1)
    sample = sample_at(space, points, reference)
    return sample, (1 / (n_members * sample.weights)).prod(dim=1)


def exact_bias_and_ratio(
    space: FeatureSpace, values: Float[Tensor, " n"], n_points: int, reference: str, *, by_volume: bool
) -> tuple[float, float]:
    """Norm of E ĉ − c* in units of the best error, and mean error ratio, where G is invertible; summed over all."""
    basis = space.features(torch.arange(len(values))[:, None].double())
    best_coefficients = basis.T @ values / len(values)
    best = (values - basis @ best_coefficients).square().mean()
    sample, law = every_sample(space, len(values), n_points, reference)
    density = volume_density(sample.features, sample.weights)
    invertible = density > 1e-12
    sample, law = sample.take(invertible), (law * density if by_volume else law)[invertible]
    law = law / law.sum()
    observed = values[sample.points[..., 0].long()][..., None]
    errors = weighted_least_squares(sample.features, sample.weights, observed)[..., 0] - best_coefficients
    bias = (law @ errors).norm() / best.sqrt()
    return bias.item(), (1 + law @ errors.square().sum(dim=1) / best).item()


def law_misfit(space: FeatureSpace, n_members: int, sample: Sample, reference: str) -> tuple[float, float]:
    """χ² of drawn samples against volume-rescaled sampling, in units of its degrees of freedom, and its deviation."""
    n_draws, n_points = sample.points.shape[:2]
    every, law = every_sample(space, n_members, n_points, reference)
    law = law * volume_density(every.features, every.weights)
    digits = n_members ** torch.arange(n_points - 1, -1, -1)
    counts = torch.bincount((sample.points[..., 0].long() * digits).sum(dim=1), minlength=len(law))
    possible = law > 1e-12
    if counts[~possible].any():
        return math.inf, 0.0
    expected = n_draws * law[possible]
    freedom = int(possible.sum()) - 1
    statistic = ((counts[possible] - expected).square() / expected).sum().item()
    return statistic / freedom, math.sqrt(2 / freedom)


# --- Rows to label -------------------------------------------------------------------------------------------------


def diabetes_problem() -> Problem:
    """442 patients: which of them to follow up, if a linear model is to predict the disease's progress in all."""
    rows, outcomes = (torch.as_tensor(part) for part in load_diabetes(return_X_y=True))
    space = population_space(torch.cat([torch.ones(len(rows), 1), rows], dim=1).double())
    basis = space.features(torch.arange(len(rows))[:, None].double())
    coefficients = basis.T @ outcomes / len(rows)
    best = (outcomes - basis @ coefficients).square().mean().item()
    return Problem(space, lambda points: outcomes[points[..., 0].long()], coefficients, best)


def without_replacement(n_members: int) -> Design:
    """Plain least squares on different members, all sets alike."""

    def draw(space: FeatureSpace, n_points: int, n_draws: int, *, generator: Generator | None) -> Sample:
        order = torch.rand(n_draws, n_members, generator=generator).argsort(dim=1)[:, :n_points]
        return sample_at(space, order[..., None].double(), "measure")

    return draw


def gauss_ratio(problem: Problem, n_points: int) -> float:
    """Error ratio of the fixed Gauss-Legendre nodes, in one variable."""
    nodes, weights = gauss_legendre(n_points)
    features = problem.space.features(nodes[:, None])
    sample = Sample(nodes[None, :, None], features[None], n_points * weights[None])
    return error_ratios(problem, sample).item()
