"""Pareto sets beside botorch's noisy expected hypervolume improvement.

The loops run once, on the four-bar truss from the same initial designs, to compare what they reach; what is timed is
one iteration at the end of a loop: fit the surrogates to its evaluations and propose five more.
"""

import warnings
from functools import partial

import pytest
import torch
from botorch.acquisition.multi_objective.monte_carlo import qNoisyExpectedHypervolumeImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.mlls import SumMarginalLogLikelihood
from torch import Tensor

from regularity.foundations.metrics import hypervolume
from regularity.foundations.randomness import child_seed, stream
from regularity.stein.stein_pareto import (
    PROBLEMS,
    Acquisition,
    Trace,
    acquire_by_expected_improvement,
    acquire_from_pareto_set,
    fit_surrogate,
    latin_hypercube,
    optimise,
)

TRUSS = PROBLEMS["RE21"]
REFERENCE = torch.tensor(TRUSS.reference, dtype=torch.float64)
SEEDS, N_ITERATIONS, BATCH_SIZE, N_FIT_STEPS = (0, 1), 10, 5, (80, 20)
TRAINING = {"width": 64, "n_steps": 200, "n_candidates": 500, "checkpoint_every": 20}
REACHED = "hypervolume after 70 evaluations, of 0.8890"


def propose_by_peer(solutions: Tensor, seed: int) -> Tensor:
    """One iteration as botorch's tutorial on several objectives has it, with 32 samples as ours."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # on the scale of inputs and the ends of optimisations
        torch.manual_seed(seed)
        objectives = -TRUSS.evaluate(solutions)
        models = [
            SingleTaskGP(solutions, column, outcome_transform=Standardize(1))
            for column in objectives.split(1, dim=1)
        ]
        model = ModelListGP(*models)
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        acquisition = qNoisyExpectedHypervolumeImprovement(
            model,
            ref_point=(-REFERENCE).tolist(),
            X_baseline=solutions,
            sampler=SobolQMCNormalSampler(torch.Size([32]), seed=seed),
            prune_baseline=True,
        )
        bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, TRUSS.n_variables)
        options = {"num_restarts": 2, "raw_samples": 64, "options": {"maxiter": 50}, "sequential": True}
        found, _ = optimize_acqf(acquisition, bounds=bounds, q=BATCH_SIZE, **options)
    return found.detach().clamp(0, 1)


def run_peer(seed: int) -> Tensor:
    """All solutions of a loop."""
    design = child_seed(seed, "initial design")  # as `optimise` draws it
    solutions = latin_hypercube(20, TRUSS.n_variables, [design])[0]
    for iteration in range(N_ITERATIONS):
        solutions = torch.cat([solutions, propose_by_peer(solutions, child_seed(seed, "peer", iteration))])
    return solutions


def run_method(acquire: Acquisition) -> Trace:
    """The same loop with one of ours, from all seeds."""
    return optimise(TRUSS, acquire, SEEDS, n_iterations=N_ITERATIONS, n_fit_steps=N_FIT_STEPS)


def iterate(acquire: Acquisition, trace: Trace) -> Tensor:
    """One iteration at the end of the first seed's loop, its kernels starting from the last."""
    solutions, objectives = trace.solutions[:1], trace.objectives[:1]
    before = fit_surrogate(solutions[:, :-BATCH_SIZE], objectives[:, :-BATCH_SIZE], n_steps=1)

    def run() -> Tensor:
        surrogate = fit_surrogate(solutions, objectives, previous=before, n_steps=N_FIT_STEPS[1])
        return acquire(surrogate, [stream(0, "iteration")], BATCH_SIZE).solutions

    return run


@pytest.fixture(scope="module")
def peer_solutions() -> list[Tensor]:
    """The peer's loops, once for all benchmarks."""
    return [run_peer(seed) for seed in SEEDS]


def reached(solutions: Tensor) -> float:
    """Mean hypervolume over the seeds."""
    return hypervolume(TRUSS.evaluate(solutions), REFERENCE).mean().item()


def test_iteration_of_expected_improvement(compare, peer_solutions):
    """Random candidates and joint samples against gradients of the acquisition, at equal evaluations."""
    trace = run_method(acquire_by_expected_improvement)
    quality = reached(trace.solutions), reached(torch.stack(peer_solutions))
    assert quality[0] > quality[1] - 0.01
    compare(
        "iteration (expected improvement)",
        method="acquire_by_expected_improvement",
        peer="botorch",
        run_method=iterate(acquire_by_expected_improvement, trace),
        run_peer=lambda: propose_by_peer(peer_solutions[0], 0),
        quality=quality,
        quality_name=REACHED,
        note="qNEHVI with its default models; both from the same initial designs, one run at a time.",
    )


def test_iteration_of_pareto_set_learning(compare, peer_solutions):
    """A whole training of the network; it reaches less than the peer, and more than random designs would."""
    trace = run_method(partial(acquire_from_pareto_set, **TRAINING))
    quality = reached(trace.solutions), reached(torch.stack(peer_solutions))
    n_evaluations = trace.solutions.shape[1]
    assert quality[0] > reached(latin_hypercube(n_evaluations, TRUSS.n_variables, SEEDS)) + 0.05
    compare(
        "iteration (SVH-PSL)",
        method="acquire_from_pareto_set",
        peer="botorch",
        run_method=iterate(partial(acquire_from_pareto_set, **TRAINING), trace),
        run_peer=lambda: propose_by_peer(peer_solutions[0], 0),
        quality=quality,
        quality_name=REACHED,
        note="Not of the same quality: the learned set reaches less, as the chapter says. One run, its worst case.",
    )
