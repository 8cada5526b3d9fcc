"""What a practitioner would do instead: plain networks at fixed values, and searches for these values."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least
from regularity.foundations.randomness import child_seed
from regularity.foundations.training import Schedule
from regularity.tuning.self_tuning_networks.method import History, Losses, follow, perturb, training_step


def train_fixed(
    losses: Losses,
    optimiser: torch.optim.Optimizer,
    unconstrained: Float[Tensor, "t runs h"],
    *,
    n_steps: int,
    batch_size: int,
    perturbation_std: float = 0.0,
    schedule: Schedule = "constant",
    largest_gradient: float = math.inf,
    evaluate_every: int = 50,
    generator: torch.Generator | None = None,
    steps: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> History:
    """Train the weights with hyperparameters that are given: fixed, perturbed, or replayed from a history.

    Parameters
    ----------
    losses
        Only the training loss and the evaluation are used.
    unconstrained
        λ, in equal parts of the training; one entry is a constant.
    perturbation_std
        Standard deviation of a perturbation of each example's λ.
    optimiser, n_steps, batch_size, schedule, largest_gradient, evaluate_every, generator, steps
        As for `train_self_tuning`.

    Returns
    -------
    The history; the weights end as those of each run's best evaluation.

    Raises
    ------
    ValueError
        If a number is out of its range, or a weight lacks the axis of runs.
    FloatingPointError
        If a training loss stops being finite.
    """
    (unconstrained,) = as_floats(unconstrained=unconstrained, empty=True)
    if not len(unconstrained):
        raise ValueError("unconstrained must have at least one entry in time; got none")
    if perturbation_std < 0:
        raise ValueError(f"perturbation_std must not be negative; got {perturbation_std}")
    now, spread = unconstrained[0], torch.full_like(unconstrained[0], perturbation_std)

    def update(step: int) -> Tensor:
        nonlocal now
        now = unconstrained[step * len(unconstrained) // n_steps]
        perturbed = perturb(now, spread, batch_size, generator)
        return training_step(losses.training, optimiser, perturbed, largest_gradient=largest_gradient)

    return follow(update, lambda: (now, spread), losses, optimiser, n_steps, schedule, evaluate_every, steps)


@runtime_checkable
class Trained(Protocol):
    """What the searches ask of a training: its validation losses."""

    validation: Float[Tensor, "trials splits"]


Trainer = Callable[[Float[Tensor, "trials splits h"], int], Trained]


def successive_halving(
    train: Trainer, candidates: Float[Tensor, "trials splits h"], n_steps: int, *, keep_one_in: int = 3
) -> list[Trained]:
    """Train many candidates for a short time, the best of them for longer, and the last one in full.

    Each rung costs about as much as one training in full; a split's candidates compete with each other alone.

    Parameters
    ----------
    train
        Trains settings from the beginning, for a number of steps.
    candidates
        Their λ.
    n_steps
        Of a training in full.
    keep_one_in
        The share of the candidates that goes on, with as many times the steps.

    Returns
    -------
    The outcome of each rung; the last one holds one setting a split.

    References
    ----------
    Jamieson and Talwalkar (2016), Non-stochastic best arm identification and hyperparameter optimization.
    """
    (candidates,) = as_floats(candidates=candidates)
    check_at_least("keep_one_in", keep_one_in, 2)
    n_left, outcomes = [len(candidates)], []
    while n_left[-1] > 1:
        n_left.append(max(1, n_left[-1] // keep_one_in))
    for rung, n in enumerate(n_left):
        if outcomes:
            order = outcomes[-1].validation.argsort(dim=0)[:n].to(candidates.device)
            candidates = candidates.gather(0, order[..., None].expand(-1, -1, candidates.shape[-1]))
        n_short = max(1, n_steps // keep_one_in ** (len(n_left) - 1 - rung))
        outcomes.append(train(candidates, n_short))
    return outcomes


def tree_parzen_search(
    train: Trainer,
    first: Float[Tensor, " h"],
    n_steps: int,
    *,
    n_splits: int,
    n_rounds: int,
    n_at_once: int,
    seed: int,
) -> tuple[Float[Tensor, "trials splits h"], list[Trained]]:
    """Let Optuna's tree-structured Parzen estimator propose settings, several at once, a study for each split.

    The first round is `first` and random settings; all later ones come from the model.

    Parameters
    ----------
    train
        As for `successive_halving`.
    first
        λ of the first trial. The box that is searched is that of sigmoid(λ) between 0 and 1.
    n_steps
        Of each trial.
    n_splits
        Number of studies.
    n_rounds, n_at_once
        Rounds, and trials in each.
    seed
        Of the samplers.

    Returns
    -------
    λ of all trials, and the outcome of each round.

    References
    ----------
    Bergstra et al. (2011), Algorithms for hyper-parameter optimization; Akiba et al. (2019), Optuna.
    """
    (first,) = as_floats(first=first)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # its progress bar asks for ipywidgets, and its `constant_liar` is new
        import optuna

        samplers = [
            optuna.samplers.TPESampler(
                seed=child_seed(seed, "samplers", split), n_startup_trials=n_at_once, constant_liar=True
            )
            for split in range(n_splits)
        ]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies = [optuna.create_study(sampler=sampler) for sampler in samplers]
    names = [str(k) for k in range(len(first))]
    for study in studies:
        study.enqueue_trial(dict(zip(names, torch.sigmoid(first).tolist(), strict=True)))
    settings, outcomes = [], []
    for _ in range(n_rounds):
        trials = [[study.ask() for study in studies] for _ in range(n_at_once)]
        shares = [[[each.suggest_float(k, 1e-6, 1 - 1e-6) for k in names] for each in row] for row in trials]
        settings.append(torch.logit(torch.tensor(shares)))
        outcomes.append(train(settings[-1], n_steps))
        for row, losses in zip(trials, outcomes[-1].validation.tolist(), strict=True):
            for study, trial, loss in zip(studies, row, losses, strict=True):
                study.tell(trial, loss)
    return torch.cat(settings), outcomes
