"""Valid arguments of neural_collapse's functions of tensors."""

import torch

from regularity.theory.neural_collapse import FeatureModel, draw_networks
from tests.draws import random, seeded
from tests.inputs import Example, doubles

LABELS = torch.arange(2).repeat(3)
FEATURES = random(6, 3) + 2 * torch.nn.functional.one_hot(LABELS, 3)
BASIS = torch.eye(3).double()[:2]
MODEL = FeatureModel(0.5, 0.2, 3.0)
HEAD = random(2, 3, seed=1)
NETWORKS = draw_networks([3, 4, 2], n_runs=2, generator=seeded())
GIVEN = {"labels": LABELS, "model": MODEL}

EXAMPLES = {
    "neural_collapse_metrics": Example({"features": FEATURES, "labels": LABELS}),
    "one_hot_targets": Example({"labels": LABELS, "n": 6}),
    "objective": Example(
        {
            "features": FEATURES,
            "head": HEAD,
            "inputs": random(6, 3, seed=2),
            "targets": random(6, 2, seed=3),
            "model": MODEL,
        }
    ),
    "minimise": Example({"inputs": FEATURES} | GIVEN, raises=(FloatingPointError,)),
    "minimise_by_lbfgs": Example({"inputs": FEATURES, "head": HEAD} | GIVEN),
    "central_path": Example({"inputs": FEATURES, "times": doubles(0.0, 0.4, 1.0)} | GIVEN),
    "collapse_rates": Example({"features": FEATURES} | GIVEN),
    "collapsed_minimiser": Example({"basis": BASIS} | GIVEN),
    "perturbation_operator": Example({"features": FEATURES, "head": HEAD} | GIVEN),
    "first_order": Example({"operator": torch.eye(3).double() + 0.1 * random(3, 3)}),
    "near_collapse_response": Example({"perturbation": random(6, 3), "basis": BASIS} | GIVEN),
    "features_of": Example({"networks": NETWORKS, "inputs": random(2, 5, 3)}),
    "train_networks": Example(
        {
            "networks": NETWORKS,
            "inputs": random(2, 5, 3),
            "labels": torch.arange(10).reshape(2, 5) % 2,
            "feature_decay": doubles(0.1, 0.2),
            "head_decay": doubles(0.0, 0.3),
            "learning_rate": 0.1,
            "n_steps": 3,
        },
        raises=(FloatingPointError,),
    ),
}
