"""SVH-PSL: learn a whole Pareto set from a few dozen evaluations, with Stein variational hypernetworks.

Minh-Duc Nguyen, Phuong Mai Dinh, Quang-Huy Nguyen, Long P. Hoang and Dung D. Le, "Improving Pareto Set Learning for
Expensive Multi-objective Optimization via Stein Variational Hypernetworks", AAAI 2025, arXiv 2412.17312.
"""

from regularity.stein.stein_pareto.experiment import (
    SetQuality,
    measure_learned_set,
    preference_regret,
    trapped_shares,
    volumes_of_latin_hypercubes,
    volumes_of_nsga2,
)
from regularity.stein.stein_pareto.method import (
    PSL_MOBO,
    SVH_PSL,
    UNCOUPLED,
    Acquisition,
    Direction,
    LearnedSet,
    Method,
    Proposal,
    Trace,
    acquire_from_pareto_set,
    check_preferences,
    even_preferences,
    global_kernel,
    learn_pareto_set,
    local_kernel,
    no_kernel,
    optimise,
    sample_preferences,
    select_batch,
    stein_hypernetwork_direction,
    tchebycheff,
)
from regularity.stein.stein_pareto.problems import (
    PROBLEMS,
    ParetoSetModel,
    Problem,
    Surrogate,
    fit_surrogate,
    latin_hypercube,
)
from regularity.stein.stein_pareto.rivals import (
    acquire_by_expected_improvement,
    search_by_nsga2,
    stein_direction_by_particles,
)

__all__ = [
    "PROBLEMS",
    "PSL_MOBO",
    "SVH_PSL",
    "UNCOUPLED",
    "Acquisition",
    "Direction",
    "LearnedSet",
    "Method",
    "ParetoSetModel",
    "Problem",
    "Proposal",
    "SetQuality",
    "Surrogate",
    "Trace",
    "acquire_by_expected_improvement",
    "acquire_from_pareto_set",
    "check_preferences",
    "even_preferences",
    "fit_surrogate",
    "global_kernel",
    "latin_hypercube",
    "learn_pareto_set",
    "local_kernel",
    "measure_learned_set",
    "no_kernel",
    "optimise",
    "preference_regret",
    "sample_preferences",
    "search_by_nsga2",
    "select_batch",
    "stein_direction_by_particles",
    "stein_hypernetwork_direction",
    "tchebycheff",
    "trapped_shares",
    "volumes_of_latin_hypercubes",
    "volumes_of_nsga2",
]
