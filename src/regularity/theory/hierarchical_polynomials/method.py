"""A three-layer network that is trained layer by layer: a feature first, then a function of that feature.

`train_layerwise` is the algorithm. Either of its stages minimises a square loss with weight decay, which is strongly
convex: `descend` is gradient descent on it and `ridge` the point at which that ends.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_not_negative,
    check_positive,
    check_squares,
)
from regularity.foundations.polynomials import hermite_basis

Solver = Callable[[Tensor, Tensor, Tensor], Tensor]
PENALTIES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 10.0)
BLOCK = 256  # rows at a time, so that what is computed from them stays in a cache

# --- The network -------------------------------------------------------------------------------------------------


def inner_features(
    points: Float[Tensor, "n d"], directions: Float[Tensor, "m d"], degree: int
) -> Float[Tensor, "n m"]:
    """Compute the first hidden layer, σ_1(Vx) with σ_1 = h_0 + h_1 + ... + h_k in orthonormal Hermite polynomials.

    Parameters
    ----------
    points
        Inputs x, standard normal in the theory.
    directions
        Rows of V, of length 1.
    degree
        k, at least 1.

    Returns
    -------
    One row a point. With unit rows their span is as large as that of degree k on a sphere, C(d + k − 1, k) +
    C(d + k − 2, k − 1), and for k = 2 lacks one dimension of all quadratics: a constant comes with its trace.

    Raises
    ------
    ValueError
        If shapes do not fit, numbers are not finite or too large, or `degree` is below 1.
    """
    check_at_least("degree", degree, 1)
    points, directions = as_floats(points=points, directions=directions)
    if points.ndim != 2 or directions.ndim != 2 or points.shape[1] != directions.shape[1]:
        shapes = tuple(points.shape), tuple(directions.shape)
        raise ValueError(f"points and directions must be (n, d) and (m, d); got {shapes[0]} and {shapes[1]}")
    check_squares("points", points)
    check_squares("directions", directions)
    return torch.cat([hermite_basis(rows @ directions.T, degree).sum(dim=-1) for rows in points.split(BLOCK)])


@dataclass(frozen=True)
class ThreeLayerNetwork:
    """x ↦ φ(x) + c·relu(a φ(x)/s + b), with φ(x) = u·σ_1(Vx) between two wide layers: a bottleneck of one unit.

    Attributes
    ----------
    directions
        V, random and never trained.
    outer
        u, trained in stage 1.
    scale
        s, the standard deviation of φ.
    slopes, shifts
        a and b, random and never trained.
    combination
        c, trained in stage 2.
    degree
        Of σ_1.
    penalty
        λ_1 that was chosen, in units of the features' mean square.
    """

    directions: Float[Tensor, "m d"]
    outer: Float[Tensor, " m"]
    scale: float
    slopes: Float[Tensor, " w"]
    shifts: Float[Tensor, " w"]
    combination: Float[Tensor, " w"]
    degree: int
    penalty: float

    def feature(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Compute φ, in which the polynomial p should be found."""
        return inner_features(points.to(self.directions), self.directions, self.degree) @ self.outer

    def link(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Compute the output at values of φ."""
        return values + _outer_features(values / self.scale, self.slopes, self.shifts) @ self.combination

    def predict(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Compute the output."""
        return self.link(self.feature(points))


def _outer_features(values: Tensor, slopes: Tensor, shifts: Tensor) -> Tensor:
    """relu(a z + b) of each z, one row a value."""
    return torch.relu(values[:, None] * slopes + shifts)


# --- One stage ---------------------------------------------------------------------------------------------------


def _check_stage(gram: Tensor, moment: Tensor, penalties: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gram, moment, penalties = as_floats(gram=gram, moment=moment, penalties=penalties)
    if gram.ndim != 2 or gram.shape != (len(gram), len(gram)) or moment.shape != gram.shape[:1]:
        raise ValueError(
            f"gram and moment must be (m, m) and (m,); got {tuple(gram.shape)} and {tuple(moment.shape)}"
        )
    if penalties.ndim != 1:
        raise ValueError(f"penalties must be (p,); got {tuple(penalties.shape)}")
    check_not_negative("penalties", penalties)
    for name, values in {"gram": gram, "moment": moment}.items():
        check_squares(name, values)
    return gram, moment, penalties * gram.diagonal().mean()


def descend(
    gram: Float[Tensor, "m m"],
    moment: Float[Tensor, " m"],
    penalties: Float[Tensor, " p"],
    *,
    n_steps: int,
    learning_rate: float | None = None,
) -> Float[Tensor, "p m"]:
    """Minimise ‖y − Fu‖²/(2n) + λ‖u‖²/2 by gradient descent from u = 0, for several λ side by side.

    Parameters
    ----------
    gram, moment
        FᵀF/n and Fᵀy/n for features F, one row a sample: all that the gradient knows of the data.
    penalties
        λ, the weight decay, in units of the features' mean square, the mean of the diagonal of `gram`.
    n_steps
        After which it stops: an early stop regularises like a larger λ.
    learning_rate
        η. None: one over the largest eigenvalue of the quadratic form, half of what is stable.

    Returns
    -------
    The weights, one row a penalty.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, a penalty is negative, `gram` is zero, or η is beyond the
        limit 2/(λ_max + λ) of stability.
    """
    check_at_least("n_steps", n_steps, 1)
    gram, moment, decay = _check_stage(gram, moment, penalties)
    steepest = (torch.linalg.eigvalsh(gram)[-1] + decay.max()).item()
    check_positive("the largest eigenvalue of gram", steepest)
    learning_rate = 1 / steepest if learning_rate is None else learning_rate
    check_positive("learning_rate", learning_rate)
    if learning_rate * steepest >= 2:
        raise ValueError(
            f"learning_rate must be below 2/(λ_max + λ) = {2 / steepest:g}; got {learning_rate:g}"
        )
    weights = gram.new_zeros(len(gram), len(decay))
    for _ in range(n_steps):
        weights -= learning_rate * (gram @ weights - moment[:, None] + decay * weights)
    return weights.T


def ridge(
    gram: Float[Tensor, "m m"], moment: Float[Tensor, " m"], penalties: Float[Tensor, " p"]
) -> Float[Tensor, "p m"]:
    """Find where `descend` ends: (FᵀF/n + λI)⁻¹Fᵀy/n.

    Parameters
    ----------
    gram, moment, penalties
        As for `descend`.

    Returns
    -------
    The weights, one row a penalty.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, a penalty is negative, or the form is not positive definite.
    """
    gram, moment, decay = _check_stage(gram, moment, penalties)
    found = []
    for strength in decay:
        factor, failed = torch.linalg.cholesky_ex(gram + strength * torch.eye(len(gram)).to(gram))
        if failed or not bool(factor.diagonal().isfinite().all()):
            raise ValueError("gram must be positive definite with the penalty; got one that is not")
        found.append(torch.cholesky_solve(moment[:, None], factor)[:, 0])
    return torch.stack(found)


def _solve(
    features: Tensor, labels: Tensor, penalties: tuple[float, ...], solve: Solver
) -> Float[Tensor, "p m"]:
    """A stage on samples, its linear algebra in double precision: the eigenvalues span many powers of ten."""
    gram, moment = (features.T @ features).double(), (features.T @ labels).double()
    strengths = torch.tensor(penalties).to(gram)
    return solve(gram / len(labels), moment / len(labels), strengths).to(features)


# --- The algorithm -----------------------------------------------------------------------------------------------


def train_layerwise(
    inputs: Float[Tensor, "n d"],
    labels: Float[Tensor, " n"],
    *,
    degree: int,
    width1: int,
    width2: int = 300,
    penalties1: tuple[float, ...] = PENALTIES,
    penalty2: float = 1e-2,
    share: float = 0.8,
    solve: Solver = ridge,
    generator: torch.Generator | None = None,
) -> ThreeLayerNetwork:
    """Train a three-layer network in two stages, on two parts of the samples.

    Parameters
    ----------
    inputs, labels
        n samples, standard normal inputs in the theory.
    degree
        k of the polynomial p that is looked for, and of σ_1.
    width1
        m_1, at least the number C(d + k, k) of monomials, or p may not be expressible.
    width2
        m_2.
    penalties1
        Candidates for λ_1; the samples of stage 2, which stage 1 has not seen, choose the one of least error.
    penalty2
        λ_2. Both in units of the features' mean square.
    share
        Of the samples for stage 1.
    solve
        `ridge`, or ``functools.partial(descend, n_steps=...)``.
    generator
        Source of V, a and b.

    Returns
    -------
    The network, in the type of the inputs.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, a size or a share is out of range, or φ comes out constant.

    References
    ----------
    Wang, Nichani and Lee (2024), Learning hierarchical polynomials with three-layer neural networks.
    """
    inputs, labels = as_floats(inputs=inputs, labels=labels)
    if inputs.ndim != 2 or labels.shape != inputs.shape[:1]:
        raise ValueError(
            f"inputs and labels must be (n, d) and (n,); got {tuple(inputs.shape)}, {tuple(labels.shape)}"
        )
    check_squares("inputs", inputs)
    check_squares("labels", labels)
    for name, size in {"degree": degree, "width1": width1, "width2": width2}.items():
        check_at_least(name, size, 1)
    check_at_least("the number of penalties1", len(penalties1), 1)
    n, d = inputs.shape
    n_first = round(share * n) if 0 < share < 1 else 0
    if not 2 <= n_first <= n - 2:
        raise ValueError(f"share must leave two samples or more to either stage; got {share} of {n}")
    if width1 < comb(d + degree, degree):
        warnings.warn(
            f"width1 = {width1} features cannot span {comb(d + degree, degree)} monomials", stacklevel=2
        )

    def draw(sampler: str, *shape: int) -> Tensor:
        return getattr(torch, sampler)(shape, generator=generator, dtype=torch.float64).to(inputs)

    directions = torch.nn.functional.normalize(draw("randn", width1, d), dim=1)
    slopes, shifts = 1 - 2 * draw("rand", width2).round(), 6 * draw("rand", width2) - 3
    (first, second), (first_labels, second_labels) = (
        v.split([n_first, n - n_first]) for v in (inputs, labels)
    )

    # Stage 1: the labels by random features of degree k.
    candidates = _solve(inner_features(first, directions, degree), first_labels, penalties1, solve)
    features = inner_features(second, directions, degree) @ candidates.T
    best = int((features - second_labels[:, None]).square().mean(dim=0).argmin())
    feature = features[:, best]
    scale = feature.std().item()
    if not 0 < scale < torch.inf:
        raise ValueError(
            f"inputs and labels must vary, so that the feature does; got one of deviation {scale:g}"
        )

    # Stage 2: what is left of the labels, as a function of the feature alone.
    basis = _outer_features(feature / scale, slopes, shifts)
    (combination,) = _solve(basis, second_labels - feature, (penalty2,), solve)
    trained = candidates[best], scale, slopes, shifts, combination
    return ThreeLayerNetwork(directions, *trained, degree, penalties1[best])
