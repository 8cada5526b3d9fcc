"""A self-tuning run beside Optuna's TPE: dropout, noise and weight decay of a network on 8x8 digits.

A user would train plain networks and let Optuna choose the five hyperparameters, seven trials, the first at the
values where the self-tuning run starts. Both train alike, with the chapter's settings.
"""

from collections.abc import Callable
from functools import partial

import optuna
import torch
from sklearn.datasets import load_digits

from regularity.tuning.self_tuning_networks import (
    HyperMLP,
    Hyperparameter,
    augment,
    classification_losses,
    starting_point,
    train_fixed,
    train_self_tuning,
)

N_STEPS, N_TRIALS, BATCH_SIZE = 200, 7, 50
HYPERPARAMETERS = [
    *(Hyperparameter(f"dropout {i}", 0.0, 0.9, 0.05) for i in range(3)),
    Hyperparameter("noise", 0.0, 1.0, 0.05),
    Hyperparameter("decay", 1e-6, 0.1, 1e-4, logarithmic=True),
]
NAMES = [each.name for each in HYPERPARAMETERS]
START = starting_point(HYPERPARAMETERS)
ORDER = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
IMAGES, LABELS = (torch.as_tensor(load_digits()[key])[ORDER] for key in ("images", "target"))
IMAGES = IMAGES.float() / 16
TRAINING, VALIDATION = ((IMAGES[None, part], LABELS[None, part]) for part in (slice(300), slice(300, 600)))
OPTIONS = {
    "n_steps": N_STEPS,
    "batch_size": BATCH_SIZE,
    "cosine": True,
    "largest_gradient": 5.0,
    "evaluate_every": 10,
}


def train(n_hyperparameters: int, fit: Callable, given: torch.Tensor) -> float:
    """Train one network; its lowest validation loss."""
    generator = torch.Generator().manual_seed(1)
    network = HyperMLP((64, 64, 64, 10), n_hyperparameters, generator=generator)
    losses = classification_losses(
        network,
        HYPERPARAMETERS,
        TRAINING,
        VALIDATION,
        batch_size=BATCH_SIZE,
        augmentation=augment,
        generator=generator,
    )
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    return fit(losses, optimiser, given, generator=generator, **OPTIONS).best()[0].item()


def self_tune() -> float:
    """One run."""
    fit = partial(train_self_tuning, warm_up=10, tuning_rate=0.05, entropy_weight=1e-4)
    return train(len(HYPERPARAMETERS), fit, START)


def search() -> float:
    """Seven trials in the box of all five; the decay's on a logarithmic scale."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=4))
    study.enqueue_trial(dict(zip(NAMES, torch.sigmoid(START[0]).tolist(), strict=True)))

    def objective(trial: optuna.Trial) -> float:
        shares = torch.tensor([trial.suggest_float(name, 1e-6, 1 - 1e-6) for name in NAMES])
        return train(0, train_fixed, torch.logit(shares)[None, None])

    study.optimize(objective, n_trials=N_TRIALS)
    return study.best_value


def test_self_tuning(compare: Callable[..., None]) -> None:
    """One run ends below the best of all trials."""
    ours, theirs = self_tune(), search()
    assert ours <= theirs
    compare(
        "tune five hyperparameters of a network on digits",
        method="train_self_tuning",
        peer="optuna",
        run_method=self_tune,
        run_peer=search,
        quality=(ours, theirs),
        quality_name="validation loss (nats)",
        note="One self-tuning run against seven trials of plain networks; a run costs about two trials.",
    )
