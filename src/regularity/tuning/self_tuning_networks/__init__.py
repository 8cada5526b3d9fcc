"""Self-tuning networks: learn the regularisation's strengths while the network trains, in one run.

Matthew MacKay, Paul Vicol, Jonathan Lorraine, David Duvenaud and Roger Grosse, "Self-Tuning Networks: Bilevel
Optimization of Hyperparameters using Structured Best-Response Functions", ICLR 2019, arXiv 1903.03088.

`HyperLinear`, `HyperConv2d` and `HyperLSTMCell` have weights that are affine in the hyperparameters; `training_step`
fits them around the present hyperparameters, `validation_step` moves the hyperparameters through them, and
`train_self_tuning` alternates the two. `train_fixed`, `successive_halving` and `tree_parzen_search` are the rivals.
Every tensor has a leading axis of independent runs, which are computed at once. `gated_best_response` and
`affine_best_response` are the exact cases.
"""

from regularity.tuning.self_tuning_networks.method import (
    History,
    HyperConv2d,
    HyperLinear,
    HyperLSTMCell,
    Hyperparameter,
    Losses,
    constrain,
    gaussian_entropy,
    perturb,
    starting_point,
    train_self_tuning,
    training_step,
    validation_step,
)
from regularity.tuning.self_tuning_networks.problems import (
    GatedNetwork,
    HyperCNN,
    HyperLSTM,
    HyperMLP,
    Ridge,
    Split,
    affine_best_response,
    augment,
    classification_losses,
    dropout,
    evaluate,
    gated_best_response,
    minibatches,
)
from regularity.tuning.self_tuning_networks.rivals import successive_halving, train_fixed, tree_parzen_search

__all__ = [
    "GatedNetwork",
    "History",
    "HyperCNN",
    "HyperConv2d",
    "HyperLSTM",
    "HyperLSTMCell",
    "HyperLinear",
    "HyperMLP",
    "Hyperparameter",
    "Losses",
    "Ridge",
    "Split",
    "affine_best_response",
    "augment",
    "classification_losses",
    "constrain",
    "dropout",
    "evaluate",
    "gated_best_response",
    "gaussian_entropy",
    "minibatches",
    "perturb",
    "starting_point",
    "successive_halving",
    "train_fixed",
    "train_self_tuning",
    "training_step",
    "tree_parzen_search",
    "validation_step",
]
