"""Valid arguments of self_tuning_networks' functions of tensors."""

from types import SimpleNamespace

import torch

from regularity.tuning.self_tuning_networks import HyperMLP, Hyperparameter, Losses
from tests.draws import random, seeded
from tests.inputs import Example

RATE = Hyperparameter("dropout 0", 0.0, 0.9, 0.05)
DECAY = Hyperparameter("decay", 1e-6, 0.1, 1e-4, logarithmic=True)
NETWORK = HyperMLP([4, 3], 2, generator=seeded()).double()
WEIGHTS = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)


class Still(torch.optim.SGD):
    """Takes no step: every call sees the same numbers."""

    def step(self, closure=None):
        return None


STILL = Still([WEIGHTS])
CENTRE, RAW_STD = (random(1, 2, seed=seed).requires_grad_() for seed in (1, 2))


def distance(values):
    """From the weights to the mean of the hyperparameters; one number a run."""
    return (WEIGHTS - values.mean(dim=1)).square().sum(dim=1)


def bounded(values):
    return torch.tanh(values).mean(dim=(1, 2))


def judge(settings, n_steps):
    return SimpleNamespace(validation=torch.sigmoid(settings).square().sum(dim=-1))


def bowl(value, weights):
    return 0.5 * (weights - value.tanh().sum()).square().sum()


LOSSES = Losses(distance, distance, lambda values: (WEIGHTS - values).square().sum(dim=1))
TRAINING = {"losses": LOSSES, "optimiser": STILL, "n_steps": 3, "batch_size": 2, "generator": seeded}
DIVERGES = (FloatingPointError,)

EXAMPLES = {
    "constrain": Example(
        {"hyperparameters": [RATE, DECAY], "unconstrained": random(3, 2)},
        right={"infinity": lambda result: True},  # an infinite λ stands for a bound
    ),
    "perturb": Example(
        {
            "centre": random(2, 3),
            "perturbation_std": random(2, 3, seed=1).exp(),
            "batch_size": 4,
            "generator": seeded,
        },
        random=True,
    ),
    "gaussian_entropy": Example({"perturbation_std": random(2, 3).exp()}),
    "training_step": Example(
        {"training_loss": distance, "optimiser": STILL, "perturbed": random(1, 3, 1)},
    ),
    "validation_step": Example(
        {
            "validation_loss": bounded,
            "optimiser": Still([CENTRE, RAW_STD]),
            "centre": CENTRE,
            "raw_std": RAW_STD,
            "batch_size": 3,
            "entropy_weight": 0.1,
            "generator": seeded,
        },
        random=True,
        # tanh is bounded: an infinite centre has a validation loss like any other.
        right={"infinity centre": lambda result: True},
    ),
    "train_self_tuning": Example(
        TRAINING | {"start": random(1, 1), "warm_up": 1}, random=True, raises=DIVERGES
    ),
    "train_fixed": Example(TRAINING | {"unconstrained": random(2, 1, 1)}, random=True, raises=DIVERGES),
    "dropout": Example(
        {"inputs": random(2, 3, 4), "rate": 0.9 * random(2, 3, seed=1).sigmoid(), "generator": seeded},
        random=True,
        # An entry that is dropped is gone, whatever it was.
        right={case: lambda result: True for case in ("NaN inputs", "infinity inputs")},
    ),
    "augment": Example(
        {
            "images": random(1, 3, 5, 5),
            "values": {"shift": torch.ones(1, 3).double(), "noise": torch.full((1, 3), 0.2).double()},
            "generator": seeded,
        },
        random=True,
        # A pixel that is shifted out is gone, whatever it was.
        right={case: lambda result: True for case in ("NaN images", "infinity images")},
    ),
    "evaluate": Example(
        {
            "network": NETWORK,
            "data": (random(1, 5, 4), torch.tensor([[0, 1, 2, 0, 1]])),
            "unconstrained": random(1, 2, seed=1),
        },
    ),
    "gated_best_response": Example({"design": random(6, 3), "targets": random(6, seed=1)}),
    "affine_best_response": Example(
        {"loss": bowl, "centre": random(1), "perturbation_std": 0.5, "n_weights": 2, "n_nodes": 5},
    ),
    "successive_halving": Example({"train": judge, "candidates": random(3, 1, 2), "n_steps": 9}),
    "tree_parzen_search": Example(
        {
            "train": judge,
            "first": random(2),
            "n_steps": 3,
            "n_splits": 1,
            "n_rounds": 2,
            "n_at_once": 2,
            "seed": 0,
        },
        random=True,
    ),
}
