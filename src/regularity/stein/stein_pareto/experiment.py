"""What the chapter measures of learned sets, on the surrogate and on the true objectives, and its cheap baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regularity.foundations.checks import check_at_least
from regularity.foundations.gaussian_processes import predict
from regularity.foundations.metrics import hypervolume
from regularity.foundations.randomness import child_seed
from regularity.stein.stein_pareto.method import LearnedSet, even_preferences, tchebycheff
from regularity.stein.stein_pareto.problems import Problem, Surrogate, latin_hypercube
from regularity.stein.stein_pareto.rivals import search_by_nsga2


@dataclass(frozen=True)
class SetQuality:
    """What learned sets are worth, one entry a run, at even preferences.

    Attributes
    ----------
    objectives
        True objectives of the learned solutions, scaled.
    volume
        Hypervolume of these, within the problem's reference.
    optimistic_volume
        Hypervolume of what the surrogate promises instead, within the highest values of the data.
    neighbours
        Mean distance of a learned solution's true objectives to the nearest other's.
    optimistic_neighbours
        The same distance of the values that the surrogate promises.
    spread
        Mean over the objectives of the range of the surrogate's values.
    uncertainty
        Mean posterior standard deviation at the learned solutions, in standard deviations of the data.
    error
        Root mean square error of the surrogate's mean there, in scaled objectives.
    """

    objectives: Float[Tensor, "runs n m"]
    volume: Float[Tensor, " runs"]
    optimistic_volume: Float[Tensor, " runs"]
    neighbours: Float[Tensor, " runs"]
    optimistic_neighbours: Float[Tensor, " runs"]
    spread: Float[Tensor, " runs"]
    uncertainty: Float[Tensor, " runs"]
    error: Float[Tensor, " runs"]

    def stretch(self, front: Float[Tensor, "n m"]) -> Float[Tensor, " runs"]:
        """Share of a front's range in the first objective that each learned set covers."""
        return _range(self.objectives[..., 0]) / _range(front[:, 0].to(self.objectives))


def _range(values: Tensor) -> Tensor:
    return values.amax(dim=-1) - values.amin(dim=-1)


def _neighbour_distance(values: Tensor) -> Tensor:
    distances = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
    distances.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    return distances.amin(dim=-1).mean(dim=-1)


def measure_learned_set(
    problem: Problem, surrogate: Surrogate, learned: LearnedSet, *, confidence: float = 0.1
) -> SetQuality:
    """Measure learned sets twice: by what the surrogate promises, and by the true objectives."""
    solutions = learned.answer(even_preferences(problem.n_objectives, 50 * problem.n_objectives))
    objectives, promised = problem.evaluate(solutions), surrogate.lower_values(solutions, confidence)
    mean, std = _location(problem, surrogate)
    predicted = mean + std * (surrogate.lower_values(solutions, 0.0) - surrogate.shift) / surrogate.unit
    return SetQuality(
        objectives=objectives,
        volume=hypervolume(objectives, objectives.new_tensor(problem.reference)),
        optimistic_volume=hypervolume(promised, surrogate.values.amax(dim=1)),
        neighbours=_neighbour_distance(objectives),
        optimistic_neighbours=_neighbour_distance(promised),
        spread=_range(promised.mT).mean(dim=-1),
        uncertainty=predict(surrogate.process, solutions[:, None])[1].mean(dim=(1, 2)),
        error=(predicted - objectives).square().mean(dim=(1, 2)).sqrt(),
    )


def _location(problem: Problem, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the scaled objectives in the surrogate's data."""
    known = problem.evaluate(surrogate.solutions)
    return known.mean(dim=1, keepdim=True), known.std(dim=1, keepdim=True, correction=0)


def preference_regret(
    problem: Problem,
    surrogate: Surrogate,
    learned: LearnedSet,
    front: Float[Tensor, "p m"],
    *,
    n_preferences: int = 21,
) -> Float[Tensor, " runs"]:
    """By how much the true Tchebycheff value of each preference's answer exceeds the best on the true front.

    The value is max_k r_k (F_k − z_k), with F in the surrogate's units and its z; the mean over even preferences.
    """
    even = even_preferences(problem.n_objectives, n_preferences)
    mean, std = _location(problem, surrogate)
    got = problem.evaluate(learned.answer(even))
    even, front = even.to(got), front.to(got).expand(len(got), -1, -1)

    def gap(objectives: Tensor) -> Tensor:
        return surrogate.shift + surrogate.unit * (objectives - mean) / std - surrogate.ideal[:, None]

    reached = (even * gap(got)).amax(dim=-1)
    best = (even[:, None] * gap(front)[:, None]).amax(dim=-1).amin(dim=-1)
    return (reached - best).mean(dim=-1)


@torch.no_grad()
def _descend(
    surrogate: Surrogate, starts: Tensor, preferences: Tensor, confidence: float, n_steps: int
) -> Tensor:
    """Lowest Tchebycheff value that Adam meets from each start, a preference each, as its rate falls to zero."""
    points = starts.clone()
    optimiser = torch.optim.Adam([points], lr=0.02)
    lowest = points.new_full(points.shape[:-1], torch.inf)
    for step in range(n_steps):
        values, slopes = surrogate.lower_bound(points, confidence)
        weights, active = tchebycheff(values, preferences, surrogate.ideal)
        lowest = lowest.minimum((weights * (values - surrogate.ideal[:, None])).amax(dim=-1))
        points.grad = ((active * weights)[..., None, :] @ slopes)[..., 0, :]
        optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / n_steps)
        optimiser.step()
        points.clamp_(0, 1)
    return lowest


def trapped_shares(
    surrogate: Surrogate,
    learned_sets: Mapping[str, LearnedSet],
    generators: Sequence[torch.Generator],
    *,
    confidence: float = 0.1,
    n_preferences: int = 21,
    n_starts: int = 200,
    n_best: int = 4,
    n_steps: int = 100,
    tolerance: float = 0.02,
) -> dict[str, Float[Tensor, " runs"]]:
    """Share of preferences whose learned solution lies in the basin of a local optimum that is not the best one.

    A preference is *trapped* where descent on the surrogate from its own solution ends more than `tolerance`
    (standard deviations of the data, weighted by the preference) above the lowest Tchebycheff value that any
    descent finds. Those start from all learned sets, the evaluations, and uniform points: the `n_best` of them
    for each preference. "each alone" in the result is descent from one uniform point a preference: no network at all.
    """
    check_at_least("n_starts", n_starts, n_preferences)
    even = even_preferences(surrogate.ideal.shape[-1], n_preferences)
    own = {name: learned.answer(even) for name, learned in learned_sets.items()}
    even = even.to(surrogate.ideal).expand(len(surrogate.ideal), -1, -1)
    d = surrogate.solutions.shape[-1]
    uniform = torch.stack([torch.rand(n_starts, d, generator=one).double() for one in generators])
    starts = torch.cat([*own.values(), surrogate.solutions, uniform.to(surrogate.solutions)], dim=1)
    gaps = surrogate.lower_values(starts, confidence) - surrogate.ideal[:, None]
    wanted = (even[:, :, None] * gaps[:, None]).amax(dim=-1).topk(n_best, largest=False).indices
    chosen = starts.gather(1, wanted.flatten(1)[..., None].expand(-1, -1, d))
    repeated = even.repeat_interleave(n_best, dim=1)
    best = _descend(surrogate, chosen, repeated, confidence, n_steps).unflatten(1, (-1, n_best)).amin(dim=-1)
    own["each alone"] = starts[:, -even.shape[1] :]
    ends = {name: _descend(surrogate, at, even, confidence, n_steps) for name, at in own.items()}
    lowest = torch.stack([best, *ends.values()]).amin(dim=0)
    return {name: (end > lowest + tolerance).double().mean(dim=-1) for name, end in ends.items()}


def volumes_of_nsga2(
    problem: Problem,
    counts: Int[Tensor, " b"],
    seeds: Sequence[int],
    *,
    populations: Sequence[int] = (10, 20),
) -> Float[Tensor, "runs b"]:
    """Hypervolume that NSGA-II has reached after some counts of evaluations, with the better of two populations."""
    reference = torch.tensor(problem.reference, dtype=torch.float64)
    best = torch.zeros(len(seeds), len(counts), dtype=torch.float64)
    for population in populations:
        for run, seed in enumerate(seeds):
            drawn = child_seed(seed, "NSGA-II", population)
            seen = search_by_nsga2(problem, drawn, population=population, n_evaluations=int(counts[-1]))
            reached = torch.stack([hypervolume(seen[:count], reference) for count in counts.tolist()])
            best[run] = best[run].maximum(reached)
    return best


def volumes_of_latin_hypercubes(
    problem: Problem, counts: Int[Tensor, " b"], seeds: Sequence[int]
) -> Float[Tensor, "runs b"]:
    """Hypervolume of the first points of a Latin hypercube as large as the last count."""
    drawn = [child_seed(seed, "Latin hypercube") for seed in seeds]
    seen = problem.evaluate(latin_hypercube(int(counts[-1]), problem.n_variables, drawn))
    reference = torch.tensor(problem.reference, dtype=torch.float64)
    return torch.stack([hypervolume(seen[:, :count], reference) for count in counts.tolist()], dim=1)
