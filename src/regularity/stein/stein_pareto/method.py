"""SVH-PSL: learn a whole Pareto set from a few dozen evaluations, with Stein variational hypernetworks.

`optimise` is the loop: a Latin hypercube, Gaussian processes, a batch of new solutions, again.
`acquire_from_pareto_set` is the method's batch: a network learns to map preferences to solutions
(`learn_pareto_set`), along the direction that this paper is about (`stein_hypernetwork_direction`).
Every function takes the runs of one method, one a seed, in the leading dimension of its tensors.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from regularity.foundations.checks import as_floats, check_at_least, check_finite, check_positive
from regularity.foundations.choices import choose
from regularity.foundations.metrics import hypervolume, hypervolume_improvement, nondominated
from regularity.foundations.particles import median_bandwidth
from regularity.foundations.randomness import child_seed, stream
from regularity.foundations.training import Best, train
from regularity.stein.stein_pareto.problems import (
    ParetoSetModel,
    Problem,
    Surrogate,
    fit_surrogate,
    latin_hypercube,
)

# --- Preferences -------------------------------------------------------------------------------------------------


def check_preferences(preferences: Float[Tensor, "runs n m"]) -> None:
    """Refuse preferences that are not on the simplex (up to a hundredth), zero, or alone."""
    (preferences,) = as_floats(preferences=preferences)
    if preferences.shape[-2] < 2:
        raise ValueError(f"a kernel needs at least 2 preferences; got {preferences.shape[-2]}")
    if not bool((preferences > 0).all()):
        raise ValueError(f"preferences must be positive; got {preferences.min().item():g}")
    error = (preferences.sum(dim=-1) - 1).abs().max().item()
    if not error < 1e-2:
        raise ValueError(f"preferences must add to 1; got a row that is {error:g} away")


def sample_preferences(
    shape: Sequence[int], generators: Sequence[torch.Generator], *, offset: float = 1e-4
) -> Float[Tensor, "runs ..."]:
    """Draw preferences uniformly on the simplex, in double precision.

    `shape` is that of one run's draws, the number of objectives last; `offset` is added to every weight, since one
    over a preference must exist.
    """
    exponentials = [
        torch.empty(*shape, dtype=torch.float64).exponential_(generator=one) for one in generators
    ]
    drawn = torch.stack(exponentials)
    return drawn / drawn.sum(dim=-1, keepdim=True) + offset


def even_preferences(n_objectives: int, n: int) -> Float[Tensor, "n m"]:
    """Spread at most n preferences evenly over the simplex of two or three objectives, its corners included."""
    if n_objectives not in (2, 3):
        raise ValueError(f"n_objectives must be 2 or 3; got {n_objectives}")
    check_at_least("n", n, n_objectives)  # a corner an objective
    if n_objectives == 2:
        first = torch.linspace(0, 1, n, dtype=torch.float64)
        return torch.stack([first, 1 - first], dim=-1)
    side = math.floor(math.sqrt(2 * n + 0.25) - 1.5)  # the finest triangular lattice of at most n points
    points = [(i, j, side - i - j) for i in range(side + 1) for j in range(side + 1 - i)]
    return torch.tensor(points, dtype=torch.float64) / side


# --- Kernels of preferences, by name -----------------------------------------------------------------------------

SCALARISATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"multiply": lambda preferences: preferences, "divide": lambda preferences: 1 / preferences}
)
NORMALISATIONS = ("coordinate", "particle")


def local_kernel(
    values: Float[Tensor, "runs n m"], active: Float[Tensor, "runs n m"], bandwidth: float
) -> tuple[Float[Tensor, "runs n n"], Float[Tensor, "runs n m"]]:
    """Compare preferences in the active objective of the second alone.

    Parameters
    ----------
    values
        V, one row a preference.
    active
        1 at each preference's active objective, 0 elsewhere.
    bandwidth
        c, the factor of the median bandwidth h = c·median² / log n.

    Returns
    -------
    kernel
        K_ij = exp(−(V_ik − V_jk)²/h_k), k being the active objective of j; it is not symmetric.
    gradient
        ∂(Σ_ij K_ij)/∂V, through both arguments of the kernel; the bandwidth counts as constant.

    References
    ----------
    Nguyen et al. (2025), SVH-PSL, by the authors' code.
    """
    values, active, squares = _compare(values, active)
    by_objective = median_bandwidth(squares.movedim(-1, 1), scale=bandwidth, power=2)
    h = (active * by_objective[:, None, :]).sum(dim=-1)
    return _gaussian_kernel(values, active[:, None], h[:, None, :])


def global_kernel(
    values: Float[Tensor, "runs n m"], active: Float[Tensor, "runs n m"], bandwidth: float
) -> tuple[Float[Tensor, "runs n n"], Float[Tensor, "runs n m"]]:
    """Compare preferences in all objectives: exp(−‖V_i − V_j‖²/h). Otherwise as `local_kernel`."""
    values, active, squares = _compare(values, active)
    h = median_bandwidth(squares.sum(dim=-1), scale=bandwidth, power=2)
    return _gaussian_kernel(values, torch.ones_like(active)[:, None], h[:, None, None])


def no_kernel(
    values: Float[Tensor, "runs n m"], active: Float[Tensor, "runs n m"], bandwidth: float
) -> tuple[Float[Tensor, "runs n n"], Float[Tensor, "runs n m"]]:
    """Leave preferences uncoupled: K is the identity, and nothing repels, whatever the weight of the repulsion."""
    values, *_ = _compare(values, active)
    n = values.shape[1]
    return torch.eye(n).to(values).expand(len(values), n, n), torch.zeros_like(values)


def _compare(values: Tensor, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values and active objectives as a kernel takes them, and the squared differences of the values."""
    values, active = as_floats(values=values, active=active)
    squares = (values[:, :, None, :] - values[:, None, :, :]).square()
    check_finite("squared differences of values", squares)
    return values, active, squares


def _gaussian_kernel(values: Tensor, counted: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel of the counted differences with bandwidth h, and the gradient of its sum."""
    differences = values[:, :, None, :] - values[:, None, :, :]
    kernel = torch.exp(-(counted * differences.square()).sum(dim=-1) / h)
    slopes = (-2 * kernel / h)[..., None] * counted * differences  # ∂K_ij/∂V_i
    return kernel, slopes.sum(dim=2) - slopes.sum(dim=1)


Kernel = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {"local": local_kernel, "global": global_kernel, "none": no_kernel}
)


@dataclass(frozen=True)
class Method:
    """How the preferences of a step move the network. The defaults are SVH-PSL's.

    Attributes
    ----------
    scalarisation
        Tchebycheff value max_k r_k (V_k − z_k) ("multiply"), or max_k (V_k − z_k) / r_k ("divide").
    sum_weight
        Weight of the plain sum of the objectives, added to it.
    normalisation
        "coordinate": each parameter's gradients are scaled to unit length over the preferences. "particle": each
        preference's gradient in its solution is.
    kernel
        "local" compares two preferences in the active objective of the second alone, "global" in all; "none" leaves
        them uncoupled: there is then no repulsion either.
    repulsion
        α, weight of the kernel's gradient.
    bandwidth
        c, factor of the median bandwidth.
    checkpoint
        Whether the network of the largest hypervolume is kept, and not the last.
    """

    scalarisation: Literal["multiply", "divide"] = "multiply"
    sum_weight: float = 0.0
    normalisation: Literal["coordinate", "particle"] = "coordinate"
    kernel: Literal["local", "global", "none"] = "local"
    repulsion: float = 1e-3
    bandwidth: float = 1.0
    checkpoint: bool = True

    def __post_init__(self) -> None:
        choose("scalarisation", self.scalarisation, SCALARISATIONS)
        choose("normalisation", self.normalisation, dict.fromkeys(NORMALISATIONS))
        choose("kernel", self.kernel, KERNELS)
        check_positive("bandwidth", self.bandwidth)
        for name, value in (("repulsion", self.repulsion), ("sum_weight", self.sum_weight)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative; got {value}")


SVH_PSL = Method()
UNCOUPLED = replace(SVH_PSL, kernel="none")
PSL_MOBO = Method("divide", 0.01, "particle", "none", checkpoint=False)


# --- The direction -----------------------------------------------------------------------------------------------


def tchebycheff(
    values: Float[Tensor, "runs n m"],
    preferences: Float[Tensor, "runs n m"],
    ideal: Float[Tensor, "runs m"],
    scalarisation: str = "multiply",
) -> tuple[Float[Tensor, "runs n m"], Float[Tensor, "runs n m"]]:
    """Weights of the objectives in the Tchebycheff value, and which objective is active in it.

    Parameters
    ----------
    values, preferences, ideal
        V, r and z.
    scalarisation
        Whether the weight of an objective is r ("multiply") or 1/r ("divide").

    Returns
    -------
    weights
        The value is weight·(V − z) of the active objective.
    active
        1 at the objective where that is largest, 0 elsewhere.

    Raises
    ------
    ValueError
        If there is no such scalarisation, or a number is not finite.

    References
    ----------
    Miettinen (1999), Nonlinear multiobjective optimization, Section 3.4.
    """
    values, preferences, ideal = as_floats(values=values, preferences=preferences, ideal=ideal)
    weights = choose("scalarisation", scalarisation, SCALARISATIONS)(preferences)
    largest = (weights * (values - ideal[:, None, :])).argmax(dim=-1)
    return weights, functional.one_hot(largest, values.shape[-1]).to(values)


@dataclass(frozen=True)
class Direction:
    """Direction of one step, an entry a layer.

    Attributes
    ----------
    drive
        (1/n) Σ_j w_j ĝ_j.
    repulsion
        (α/n) ∇ Σ_ij K_ij; empty where nothing repels.
    weights
        w_j, how much each preference counts.
    value
        Mean Tchebycheff value of the preferences.
    """

    drive: list[Float[Tensor, "runs _ _"]]
    repulsion: list[Float[Tensor, "runs _ _"]]
    weights: Float[Tensor, "runs n"]
    value: Float[Tensor, " runs"]

    def total(self) -> list[Float[Tensor, "runs _ _"]]:
        """Add drive and repulsion: Adam descends along the sum."""
        if not self.repulsion:
            return self.drive
        return [drive + push for drive, push in zip(self.drive, self.repulsion, strict=True)]

    def repulsion_share(self) -> Float[Tensor, " runs"]:
        """Compare lengths over all parameters: ‖repulsion‖ / ‖drive‖, one a run."""
        if not self.repulsion:
            return torch.zeros_like(self.value)
        drive, repulsion = (
            torch.cat([part.flatten(1) for part in parts], dim=1).norm(dim=1)
            for parts in (self.drive, self.repulsion)
        )
        return (repulsion / drive).to(self.weights)


@torch.no_grad()
def stein_hypernetwork_direction(
    network: ParetoSetModel,
    preferences: Float[Tensor, "runs n m"],
    surrogate: Surrogate,
    method: Method,
    *,
    confidence: float = 0.1,
) -> Direction:
    """Direction that the network descends along, of all runs.

    Preferences share the network, so SVGD's double sum over pairs collapses: preference j drives with the weight
    w_j = Σ_i K_ij, and the repulsion is the gradient of one number. No gradient of a single preference is formed:
    with inputs a and deltas δ of a layer, Σ_j w_j g_j = aᵀ(w⊙δ) and Σ_j g_j² = (a²)ᵀ(δ²).

    Parameters
    ----------
    network, preferences
        The networks, and the preferences of this step, at least two.
    surrogate
        Where their values come from.
    method
        How they move the network.
    confidence
        β of the lower bound μ − β·s.

    Returns
    -------
    The direction.

    Raises
    ------
    ValueError
        If preferences are not on the simplex, zero, or fewer than two.

    References
    ----------
    Nguyen et al. (2025), SVH-PSL; Lin et al. (2022), PSL-MOBO, without a kernel; both by their code.
    """
    check_preferences(preferences)
    solutions, inputs = network.propagate(preferences)
    values, slopes = surrogate.lower_bound(solutions.to(preferences), confidence)

    def push_back(wishes: Tensor) -> list[Tensor]:
        """Carry what preferences want of their solutions back to the layers' sums."""
        return network.backpropagate(inputs, wishes.to(solutions) * solutions * (1 - solutions))

    # What each preference wants: the gradient of its Tchebycheff value. How much each counts.
    weights, active = tchebycheff(values, preferences, surrogate.ideal, method.scalarisation)
    wishes = ((active * weights + method.sum_weight)[..., None, :] @ slopes)[..., 0, :]
    if method.normalisation == "particle":
        wishes = functional.normalize(wishes, dim=-1)
    kernel, away = KERNELS[method.kernel](values, active, method.bandwidth)
    counts = kernel.sum(dim=1)
    shares = (counts / preferences.shape[1])[..., None].to(solutions)
    deltas = push_back(wishes)
    drive = [torch.bmm(a.mT, shares * delta) for a, delta in zip(inputs, deltas, strict=True)]
    if method.normalisation == "coordinate":
        for whole, a, delta in zip(drive, inputs, deltas, strict=True):
            whole.div_(torch.bmm(a.mT.square(), delta.square()).sqrt_().clamp_min_(1e-12))

    # How they keep apart: down the sum of the kernel.
    repulsion = []
    if method.repulsion and method.kernel != "none":
        pushes = method.repulsion / preferences.shape[1] * (away[..., None, :] @ slopes)[..., 0, :]
        repulsion = [torch.bmm(a.mT, delta) for a, delta in zip(inputs, push_back(pushes), strict=True)]
    reached = (active * weights * (values - surrogate.ideal[:, None])).sum(dim=-1).mean(dim=-1)
    return Direction(drive, repulsion, counts, reached)


# --- Learning the set, and choosing from it ----------------------------------------------------------------------


@dataclass(frozen=True)
class LearnedSet:
    """Networks that were trained on a surrogate.

    Attributes
    ----------
    network
        The networks, those of the checkpoint where the method keeps one.
    repulsion_share
        Mean over the checkpoints of ‖repulsion‖ / ‖drive‖, one a run.
    weight_variation
        Mean over the checkpoints of the coefficient of variation of the weights w_j, one a run.
    """

    network: ParetoSetModel
    repulsion_share: Float[Tensor, " runs"]
    weight_variation: Float[Tensor, " runs"]

    @torch.no_grad()
    def answer(self, preferences: Float[Tensor, "n m"]) -> Float[Tensor, "runs n d"]:
        """Solutions that every network gives for the same preferences."""
        layer = self.network.layers[0]
        return self.network(preferences.to(layer.device).expand(len(layer), -1, -1))


def learn_pareto_set(
    surrogate: Surrogate,
    method: Method,
    generators: Sequence[torch.Generator],
    *,
    width: int = 256,
    n_steps: int = 1000,
    n_preferences: int = 10,
    learning_rate: float = 1e-3,
    confidence: float = 0.1,
    checkpoint_every: int = 1,
    dtype: torch.dtype = torch.float32,
) -> LearnedSet:
    """Train fresh networks to map preferences to solutions, on surrogates, with Adam.

    Parameters
    ----------
    surrogate
        What the runs know.
    method
        How the preferences of a step move the networks.
    generators
        Source of randomness, one a run: runs with equal generators draw equal networks and preferences.
    width
        Units of each hidden layer.
    n_steps
        Steps of Adam.
    n_preferences
        Preferences of a step.
    learning_rate
        Adam's rate.
    confidence
        β of the lower bound.
    checkpoint_every
        Steps between two measurements of the learned front's hypervolume, at 100 even preferences (150 of three
        objectives). The reference is half a unit beyond the data's front.
    dtype
        Type of the networks.

    Returns
    -------
    The trained networks.

    Raises
    ------
    ValueError
        If there is not one generator a run, there are fewer than two preferences, or a number is not positive.
    FloatingPointError
        If the preferences' values stop being finite.

    References
    ----------
    Nguyen et al. (2025), SVH-PSL; Lin et al. (2022), PSL-MOBO; both by their code.
    """
    ideal, (n_runs, m) = surrogate.ideal, surrogate.ideal.shape
    if len(generators) != n_runs:
        raise ValueError(f"generators must have one entry a run, {n_runs}; got {len(generators)}")
    check_at_least("n_steps", n_steps, 1)
    check_at_least("checkpoint_every", checkpoint_every, 1)
    check_positive("learning_rate", learning_rate)
    network = ParetoSetModel(m, surrogate.solutions.shape[-1], generators, width=width, dtype=dtype)
    parameters = list(network.to(ideal.device).layers)
    optimiser = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    preferences = sample_preferences((n_steps, n_preferences, m), generators).to(ideal.device)
    even = even_preferences(m, 50 * m).to(ideal).expand(n_runs, -1, -1)
    reference = surrogate.corners()[1].clamp_min(0) + 0.5  # it does not move
    best, direction, shares, variations = Best(parameters, n_runs), None, [], []

    def update(step: int) -> Tensor:
        """Let Adam descend along the crowd's direction."""
        nonlocal direction
        now = preferences[:, step]
        direction = stein_hypernetwork_direction(network, now, surrogate, method, confidence=confidence)
        for parameter, whole in zip(parameters, direction.total(), strict=True):
            parameter.grad = whole
        optimiser.step()
        return direction.value

    @torch.no_grad()
    def observe(_: Tensor) -> None:
        """Keep the networks whose optimistic front has the largest hypervolume so far."""
        shares.append(direction.repulsion_share())
        variations.append(direction.weights.std(dim=1, correction=0) / direction.weights.mean(dim=1))
        if method.checkpoint:
            best.keep(-hypervolume(surrogate.lower_values(network(even), confidence), reference))

    train(update, n_steps=n_steps, observe=observe, every=checkpoint_every)
    if method.checkpoint:
        best.restore()
    return LearnedSet(network, torch.stack(shares).mean(dim=0), torch.stack(variations).mean(dim=0))


def select_batch(
    candidates: Float[Tensor, "runs *samples c m"],
    front: Float[Tensor, "runs n m"],
    reference: Float[Tensor, "runs m"],
    batch_size: int,
) -> Int[Tensor, "runs b"]:
    """Choose candidates one after the other, each the one that adds most hypervolume to the front and those before.

    Parameters
    ----------
    candidates
        Objective values to choose from, one set a run; or several samples of them, and the mean gain counts.
    front
        Objective values that are there already.
    reference
        Reference point of the hypervolume.
    batch_size
        How many to choose.

    Returns
    -------
    Indices of the chosen candidates, without repetition.

    Raises
    ------
    ValueError
        If there are fewer candidates than `batch_size`, or a number is not finite.
    """
    n_candidates, m = candidates.shape[-2:]
    if not 1 <= batch_size <= n_candidates:
        raise ValueError(f"batch_size must be between 1 and the candidates, {n_candidates}; got {batch_size}")
    candidates, front, reference = as_floats(candidates=candidates, front=front, reference=reference)
    samples, chosen = candidates.reshape(len(candidates), -1, n_candidates, m), []
    for values, known, corner in zip(samples, front, reference, strict=True):
        known = known[nondominated(known)].expand(len(values), -1, -1)
        taken = []
        for _ in range(batch_size):
            gain = hypervolume_improvement(values, known, corner).mean(dim=0)
            gain[taken] = -1.0
            taken.append(int(gain.argmax()))
            known = torch.cat([known, values[:, taken[-1:]]], dim=1)
        chosen.append(taken)
    return torch.tensor(chosen, device=candidates.device)


@dataclass(frozen=True)
class Proposal:
    """Solutions to evaluate next, and what was trained to find them, where a network was."""

    solutions: Float[Tensor, "runs b d"]
    learned: LearnedSet | None = None


Acquisition = Callable[[Surrogate, Sequence[torch.Generator], int], Proposal]


def acquire_from_pareto_set(
    surrogate: Surrogate,
    generators: Sequence[torch.Generator],
    batch_size: int,
    *,
    method: Method = SVH_PSL,
    n_candidates: int = 1000,
    confidence: float = 0.1,
    **training: Any,
) -> Proposal:
    """Learn the Pareto set on the surrogate, draw candidates from it, and keep those of most hypervolume.

    Parameters
    ----------
    surrogate
        What the runs know.
    generators
        Source of randomness, one a run.
    batch_size
        Solutions to propose.
    method
        How the preferences of a step move the networks.
    n_candidates
        Preferences whose solutions are compared.
    confidence
        β of the lower bound, in the training and in the comparison.
    **training
        Further arguments of `learn_pareto_set`.

    Returns
    -------
    The batch, and the trained networks.

    Raises
    ------
    ValueError
        As `learn_pareto_set` and `select_batch`.

    References
    ----------
    Lin et al. (2022), PSL-MOBO, by its code.
    """
    learned = learn_pareto_set(surrogate, method, generators, confidence=confidence, **training)
    preferences = sample_preferences((n_candidates, surrogate.ideal.shape[-1]), generators)
    with torch.no_grad():
        solutions = learned.network(preferences.to(surrogate.ideal))
    values = surrogate.lower_values(solutions, confidence)
    reference = torch.maximum(surrogate.corners()[1], values.amax(dim=1))
    chosen = select_batch(values, surrogate.values, reference, batch_size)
    return Proposal(solutions.gather(1, chosen[..., None].expand(-1, -1, solutions.shape[-1])), learned)


# --- The loop ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """What the runs of an optimisation did.

    Attributes
    ----------
    solutions, objectives
        All evaluations in order, the objectives scaled.
    n_evaluations
        Evaluations after the initial design and after each batch.
    hypervolume
        Hypervolume of the scaled objectives evaluated by then, within the problem's reference.
    surrogate
        The last surrogate, of the data before the last batch.
    learned
        What was trained on it, where a network was.
    repulsion_share, weight_variation
        Their means over the iterations, where networks were trained (see `LearnedSet`).
    """

    solutions: Float[Tensor, "runs n d"]
    objectives: Float[Tensor, "runs n m"]
    n_evaluations: Int[np.ndarray, " batches"]
    hypervolume: Float[Tensor, "runs batches"]
    surrogate: Surrogate
    learned: LearnedSet | None
    repulsion_share: Float[Tensor, " runs"] | None
    weight_variation: Float[Tensor, " runs"] | None


def optimise(
    problem: Problem,
    acquire: Acquisition,
    seeds: Sequence[int],
    *,
    n_initial: int = 20,
    n_iterations: int = 20,
    batch_size: int = 5,
    standardise: bool = True,
    n_fit_steps: tuple[int, int] = (120, 50),
    device: torch.device | str = "cpu",
    iterations: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Trace:
    """Optimise a problem of expensive objectives: a Latin hypercube, then batches from surrogates.

    Parameters
    ----------
    problem
        What is optimised.
    acquire
        ``acquire(surrogate, generators, batch_size)``: the next batch of every run.
    seeds
        One seed a run. Two methods that are given the same seeds share the initial designs, the networks' first
        weights and all draws, so that they can be compared in pairs.
    n_initial
        Size of the initial design.
    n_iterations
        Number of batches.
    batch_size
        Evaluations of each.
    standardise
        Whether the networks see objectives of mean 0 and standard deviation 1, or in their own units.
    n_fit_steps
        Steps of the first fit of the Gaussian processes, and of each later one, which starts where the last ended.
    device
        Where the surrogates and networks are.
    iterations
        Wraps the iterations: a progress bar.

    Returns
    -------
    The trace.

    Raises
    ------
    ValueError
        If there is no seed, a number is not positive, the initial design has fewer than two points, or an
        evaluation is not finite.

    Warns
    -----
    UserWarning
        If no evaluation of a run dominates the problem's reference point: its hypervolume says nothing.

    References
    ----------
    Lin et al. (2022), PSL-MOBO; Nguyen et al. (2025), SVH-PSL; both by their code.
    """
    if not seeds:
        raise ValueError("seeds must not be empty")
    check_at_least("n_initial", n_initial, 2)
    check_at_least("n_iterations", n_iterations, 1)
    check_at_least("batch_size", batch_size, 1)
    generators = [stream(seed, "batches") for seed in seeds]
    designs = [child_seed(seed, "initial design") for seed in seeds]
    solutions = latin_hypercube(n_initial, problem.n_variables, designs).to(device)
    objectives = problem.evaluate(solutions)
    reference = objectives.new_tensor(problem.reference)
    volumes, learned, surrogate = [hypervolume(objectives, reference)], [], None
    for iteration in iterations(range(n_iterations)):
        # Surrogates of all evaluations, a batch that is best on them, its evaluation.
        options = {"standardise": standardise, "n_steps": n_fit_steps[min(iteration, 1)]}
        surrogate = fit_surrogate(solutions, objectives, previous=surrogate, **options)
        proposal = acquire(surrogate, generators, batch_size)
        solutions = torch.cat([solutions, proposal.solutions], dim=1)
        objectives = torch.cat([objectives, problem.evaluate(proposal.solutions)], dim=1)
        volumes.append(hypervolume(objectives, reference))
        learned += [proposal.learned] if proposal.learned is not None else []
    n_empty = int((volumes[-1] == 0).sum())
    if n_empty:
        message = (
            f"no evaluation of {n_empty} of {len(seeds)} runs dominates the reference {problem.reference}"
        )
        warnings.warn(message, stacklevel=2)
    return Trace(
        solutions,
        objectives,
        n_initial + batch_size * np.arange(n_iterations + 1),
        torch.stack(volumes, dim=1),
        surrogate,
        learned[-1] if learned else None,
        torch.stack([one.repulsion_share for one in learned]).mean(dim=0) if learned else None,
        torch.stack([one.weight_variation for one in learned]).mean(dim=0) if learned else None,
    )
