"""Valid arguments of compound_binomials' functions of tensors."""

from regularity.data import load_rand_health
from regularity.stein.compound_binomials import proportions, strength_grid
from tests.draws import random, seeded
from tests.inputs import Example, doubles

TRIALS = doubles(4, 9, 7, 5)
SUCCESSES = doubles(0, 3, 6, 2)[None]
COUNTS = {"successes": SUCCESSES, "trials": TRIALS}
MEASURED = proportions(SUCCESSES, TRIALS)
PREDICTIONS = doubles(0.25, 0.5, 0.75, 0.5)[None]
STRENGTHS = strength_grid(0.5, 50.0, 5)
GIVEN = {"measurements": MEASURED, "predictions": PREDICTIONS}
ARMS = {
    "treated": SUCCESSES,
    "treated_trials": TRIALS,
    "control": doubles(1, 2, 3, 4)[None],
    "control_trials": doubles(6, 6, 6, 6),
}
COVARIATES = {"covariates": random(4, 2)}


def infinite(result: object) -> bool:
    """The strength that discards a value is infinite, and belongs to the grid."""
    return True


EXAMPLES = {
    "proportions": Example(COUNTS),
    "differences": Example(ARMS),
    "pulls": Example(
        {"sizes": TRIALS, "strengths": doubles(0.5, 3.0)}, right={"infinity strengths": infinite}
    ),
    "shrink": Example(GIVEN | {"strength": doubles(2.0)}, right={"infinity strength": infinite}),
    "sure_curve": Example(GIVEN | {"strengths": STRENGTHS}),
    "loss_curve": Example(GIVEN | {"strengths": STRENGTHS, "truth": doubles(0.1, 0.4, 0.8, 0.5)}),
    "choose_by_sure": Example(GIVEN | {"strengths": STRENGTHS}),
    "best_loss": Example(
        {"measurements": MEASURED, "strengths": STRENGTHS, "truth": doubles(0.1, 0.4, 0.8, 0.5)}
    ),
    "shrink_monotonically": Example(GIVEN),
    "risk_interval": Example({"terms": random(1, 6)}),
    "arcsine": Example(COUNTS),
    "check_predictions": Example(GIVEN),
    "check_strengths": Example({"strengths": STRENGTHS}, right={"infinity": infinite}),
    "school_districts": Example(
        {"columns": {"NABOVE": TRIALS, "NBELOW": TRIALS, "LOWINC": TRIALS}, "n": 3, "generator": seeded}
    ),
    "visit_rates": Example({"years": load_rand_health()}),
    "choose_by_likelihood": Example(COUNTS | {"strengths": STRENGTHS, "predictions": PREDICTIONS}),
    "npmle": Example(COUNTS | {"n_points": 20, "n_steps": 5}),
    "shrink_on_arcsine_scale": Example(COUNTS | {"strengths": STRENGTHS, "predictions": PREDICTIONS}),
    "draw_counts": Example(
        {"rates": doubles(0.2, 0.5, 0.8, 0.4), "trials": TRIALS, "n_draws": 3, "generator": seeded},
        random=True,
    ),
    "mean_of_values": Example({"values": PREDICTIONS}),
    "pooled_mean": Example(COUNTS),
    "ridge_regression": Example(COUNTS | COVARIATES),
    "random_forest": Example({"successes": SUCCESSES[0], "trials": TRIALS} | COVARIATES),
}
