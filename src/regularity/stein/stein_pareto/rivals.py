"""What SVH-PSL is put beside: the authors' double loop, expected hypervolume improvement, and NSGA-II."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from regularity.foundations.checks import check_at_least
from regularity.foundations.gaussian_processes import sample_jointly
from regularity.foundations.metrics import nondominated
from regularity.foundations.particles import median_bandwidth, stein_variational_direction
from regularity.stein.stein_pareto.method import (
    SCALARISATIONS,
    Method,
    Proposal,
    check_preferences,
    select_batch,
)
from regularity.stein.stein_pareto.problems import ParetoSetModel, Problem, Surrogate


def stein_direction_by_particles(
    network: ParetoSetModel,
    preferences: Float[Tensor, "1 n m"],
    surrogate: Surrogate,
    method: Method,
    *,
    confidence: float = 0.1,
) -> list[Float[Tensor, "1 _ _"]]:
    """SVH-PSL's direction as its authors write and compute it: a gradient for each preference, then all pairs.

    It takes 2n backward passes where `stein_hypernetwork_direction` takes two, and serves as its check. One network,
    and a method that normalises by coordinate; drive and repulsion come out together, an entry a layer.
    """
    check_preferences(preferences)
    if method.normalisation != "coordinate":
        raise ValueError(f"method must normalise by coordinate; got {method.normalisation!r}")
    parameters = list(network.layers)
    solutions, _ = network.propagate(preferences)
    at = solutions.detach()
    bound, slopes = surrogate.lower_bound(at.to(preferences), confidence)
    # To first order, so exact where it is differentiated.
    values = (bound + ((solutions - at)[:, :, None, :] * slopes).sum(dim=-1))[0]

    def gradient(number: Tensor) -> Tensor:
        parts = torch.autograd.grad(number, parameters, retain_graph=True, allow_unused=True)
        zipped = zip(parts, parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if part is None else part).flatten() for part, p in zipped])

    n = len(values)
    weights = SCALARISATIONS[method.scalarisation](preferences[0])
    scalarised, active = (weights * (values - surrogate.ideal)).max(dim=1)
    drives = torch.stack([gradient(scalarised[j] + method.sum_weight * values[j].sum()) for j in range(n)])
    drives = functional.normalize(drives, dim=0)

    squares = (values[:, None] - values).square()
    distances = squares.sum(dim=2)
    kernel = torch.eye(n).to(distances) + 0 * distances  # "none": constant, but differentiable
    if method.kernel == "local":
        h = [median_bandwidth(squares[:, :, k], scale=method.bandwidth, power=2) for k in active.tolist()]
        kernel = torch.stack([torch.exp(-squares[:, j, active[j]] / h[j]) for j in range(n)], dim=1)
    if method.kernel == "global":
        kernel = torch.exp(-distances / median_bandwidth(distances, scale=method.bandwidth, power=2))
    repulsions = method.repulsion * torch.stack([gradient(kernel[i].sum()) for i in range(n)])
    direction = stein_variational_direction(kernel.detach(), drives, repulsions).sum(dim=0)
    sizes = [parameter.numel() for parameter in parameters]
    return [part.view_as(p) for part, p in zip(direction.split(sizes), parameters, strict=True)]


def acquire_by_expected_improvement(
    surrogate: Surrogate,
    generators: Sequence[torch.Generator],
    batch_size: int,
    *,
    pool_size: int = 400,
    n_samples: int = 32,
) -> Proposal:
    """Choose from a random pool, greedily, by the expected hypervolume improvement of joint posterior samples.

    Half the pool is uniform; the other half perturbs non-dominated solutions, each coordinate with probability ½ by
    a normal step of standard deviation 0.02, 0.1 or 0.3.

    Parameters
    ----------
    surrogate
        What the runs know.
    generators
        Source of randomness, one a run.
    batch_size
        Solutions to propose.
    pool_size
        Solutions to choose from.
    n_samples
        Joint samples of the objectives at the pool.

    Returns
    -------
    The batch.

    Raises
    ------
    ValueError
        If the pool is smaller than `batch_size`, or there is no sample.

    References
    ----------
    Daulton, Balandat and Bakshy (2020), Differentiable expected hypervolume improvement.
    """
    check_at_least("n_samples", n_samples, 1)
    front = nondominated(surrogate.values)
    m, d = surrogate.ideal.shape[-1], surrogate.solutions.shape[-1]
    half = pool_size // 2
    pools, normals = [], []
    for run, generator in enumerate(generators):
        known = surrogate.solutions[run, front[run]].cpu()
        centres = known[torch.randint(len(known), (half,), generator=generator)]
        scales = torch.tensor([0.02, 0.1, 0.3]).double()[torch.randint(3, (half, 1), generator=generator)]
        moved = torch.rand(half, d, generator=generator) < 0.5
        steps = scales * torch.randn(half, d, generator=generator, dtype=torch.float64)
        uniform = torch.rand(pool_size - half, d, generator=generator, dtype=torch.float64)
        pools.append(torch.cat([uniform, (centres + moved * steps).clamp(0, 1)]))
        normals.append(torch.randn(m, n_samples, pool_size, generator=generator, dtype=torch.float64))
    pool = torch.stack(pools).to(surrogate.solutions)
    samples = sample_jointly(surrogate.process, pool[:, None], torch.stack(normals).to(pool))
    samples = surrogate.shift[:, None] + surrogate.unit[:, None] * samples.permute(0, 2, 3, 1)
    lowest, highest = surrogate.corners()
    reference = highest + (0.1 * (highest - lowest)).clamp_min(0.5)
    chosen = select_batch(samples, surrogate.values, reference, batch_size)
    return Proposal(pool.gather(1, chosen[..., None].expand(-1, -1, d)))


def search_by_nsga2(
    problem: Problem, seed: int, *, population: int, n_evaluations: int
) -> Float[Tensor, "n_evaluations m"]:
    """Scaled objective values that pymoo's NSGA-II meets, in order."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem as PymooProblem
    from pymoo.optimize import minimize

    seen = []

    class Watched(PymooProblem):
        """The problem in pymoo's form, which keeps what was evaluated."""

        def _evaluate(self, solutions: np.ndarray, out: dict) -> None:
            seen.append(problem.evaluate(torch.as_tensor(solutions)))
            out["F"] = seen[-1].numpy()

    watched = Watched(n_var=problem.n_variables, n_obj=problem.n_objectives, xl=0.0, xu=1.0)
    minimize(watched, NSGA2(pop_size=population), ("n_evals", n_evaluations), seed=seed)
    return torch.cat(seen)[:n_evaluations]
