"""Valid arguments of extensive_width's functions of tensors."""

from regularity.foundations.spectra import wishart_law
from regularity.theory.extensive_width import draw_samples
from tests.draws import random, seeded
from tests.inputs import Example, doubles

DRAWN = draw_samples(4, 0.5, 0.75, 0.1, generator=seeded())
DATA = {"inputs": DRAWN.inputs, "labels": DRAWN.labels}
WEIGHTS = random(3, 2, 4, seed=1)
NETWORKS = DATA | {"start": WEIGHTS}

EXAMPLES = {
    "learning_curve": Example({"width_ratio": 0.5, "noises": doubles(0.3, 1.2), "label_noise": 0.2}),
    "gamp_rie": Example(DATA | {"law": wishart_law(0.5), "label_noise": 0.5, "n_steps": 2}, tolerance=1e-3),
    "quadratic_forms": Example({"inputs": DRAWN.inputs, "matrix": DRAWN.matrix}),
    "quadratic_adjoint": Example({"inputs": DRAWN.inputs, "weights": DRAWN.labels}),
    "matrix_error": Example({"estimate": random(2, 4, 4), "truth": DRAWN.matrix}),
    "network_labels": Example({"inputs": DRAWN.inputs, "weights": WEIGHTS}),
    "network_gradient": Example(DATA | {"weights": WEIGHTS}),
    "network_matrix": Example({"weights": WEIGHTS}),
    "train_networks": Example(NETWORKS | {"learning_rate": 0.01, "n_steps": 3}),
    "label": Example({"inputs": DRAWN.inputs, "weights": WEIGHTS[0]}),
    "regress_on_inputs": Example(DATA | {"prior_mean": 0.7}, tolerance=1e-3),
    "regress_on_products": Example(DATA | {"prior_mean": 0.7, "label_noise": 0.5}, tolerance=1e-3),
    "sample_posterior": Example(
        NETWORKS | {"label_noise": 0.5, "n_trajectories": 2, "n_leaps": 2, "step": 0.01, "generator": seeded},
        random=True,
    ),
}
