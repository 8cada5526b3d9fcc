"""Learn a regulariser's parameters although no minimiser, loss or gradient is ever exact.

Mohammad Sadegh Salehi, Subhadip Mukherjee, Lindon Roberts and Matthias J. Ehrhardt, "An adaptively inexact
first-order method for bilevel optimization with application to hyperparameter learning", SIAM Journal on
Mathematics of Data Science 7(3), 2025, arXiv 2308.10098.

The lower level minimises h(x, θ) over x; the upper level minimises f(θ) = g(x̂(θ)) over the regulariser's parameters.
"""

from regularity.tuning.inexact_bilevel.checks import BoundViolatedError, NotStronglyConvexError
from regularity.tuning.inexact_bilevel.method import (
    BilevelResult,
    Bracket,
    Budget,
    Hypergradient,
    Iterate,
    LowerSolution,
    Step,
    certified_bracket,
    inexact_hypergradient,
    line_search,
    maid,
    solve_lower,
)
from regularity.tuning.inexact_bilevel.problems import (
    BilevelProblem,
    Curvature,
    DenoisingProblem,
    FieldOfExperts,
    QuadraticProblem,
    Sensitivity,
    SoftmaxRegression,
    TotalVariation,
)
from regularity.tuning.inexact_bilevel.rivals import Eased, hoag, plain_bracket

__all__ = [
    "BilevelProblem",
    "BilevelResult",
    "BoundViolatedError",
    "Bracket",
    "Budget",
    "Curvature",
    "DenoisingProblem",
    "Eased",
    "FieldOfExperts",
    "Hypergradient",
    "Iterate",
    "LowerSolution",
    "NotStronglyConvexError",
    "QuadraticProblem",
    "Sensitivity",
    "SoftmaxRegression",
    "Step",
    "TotalVariation",
    "certified_bracket",
    "hoag",
    "inexact_hypergradient",
    "line_search",
    "maid",
    "plain_bracket",
    "solve_lower",
]
