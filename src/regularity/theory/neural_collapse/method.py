"""A model of features that are free but for a pull to given ones, its central path, and its minimisers near collapse.

Rows are samples throughout: features are (n, d), one row h_i a sample, a head W is (k, d), and outputs are W h_i.
There are k classes of equally many samples, n/k each.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.nn.functional import one_hot

from regularity.foundations.checks import (
    as_floats,
    check_at_least,
    check_finite,
    check_not_negative,
    check_positive,
    check_squares,
)

# --- How near to collapse ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Collapse:
    """Distances of features from collapse, all zero where it is exact.

    Attributes
    ----------
    nc1_trace
        tr Σ_W / tr Σ_B, the measure of the theory: scatter within classes over scatter of their means.
    nc1
        tr(Σ_W Σ_B⁺)/k, the measure of the experiments.
    nc2
        Distance of the means' Gram matrix, scaled to length one, from that of a regular simplex.
    """

    nc1_trace: Float[Tensor, "*runs"]
    nc1: Float[Tensor, "*runs"]
    nc2: Float[Tensor, "*runs"]


def one_hot_targets(labels: Int[Tensor, " n"], n: int) -> Float[Tensor, "n k"]:
    """Write labels as rows of zeros with a one; refuse classes that are not equally large."""
    if labels.is_floating_point() or labels.is_complex() or labels.shape != (n,):
        raise ValueError(f"labels must be {n} whole numbers; got {labels.dtype}, {tuple(labels.shape)}")
    check_not_negative("labels", labels)
    counts = torch.bincount(labels.long())
    if len(counts) < 2 or not bool((counts == counts[0]).all()):
        raise ValueError(
            f"labels must be 0 to k − 1 with k of at least 2, all equally often; got counts {counts.tolist()}"
        )
    return one_hot(labels.long(), len(counts)).double()


def _as_rows(name: str, rows: Tensor, labels: Tensor, n_axes: int = 2) -> tuple[Tensor, Tensor]:
    """Take features in double precision, with the targets of their labels."""
    (rows,) = as_floats(**{name: rows})
    if rows.ndim < 2 or (n_axes == 2 and rows.ndim != 2):
        raise ValueError(f"{name} must have one row a sample; got shape {tuple(rows.shape)}")
    check_squares(name, rows)
    rows = rows.double()
    return rows, one_hot_targets(labels, rows.shape[-2]).to(rows.device)


def neural_collapse_metrics(features: Float[Tensor, "*runs n d"], labels: Int[Tensor, " n"]) -> Collapse:
    """Measure how near features are to collapse.

    Parameters
    ----------
    features
        One row a sample; leading axes for several networks.
    labels
        Classes 0 to k − 1, equally many samples of each.

    Returns
    -------
    The three measures, in double precision. The pseudo-inverse drops eigenvalues below 10⁻⁸ of the largest.

    Raises
    ------
    ValueError
        If classes are not equally large, all class means agree, or a number is not finite or too large.
    """
    features, targets = _as_rows("features", features, labels, n_axes=3)
    n, k = targets.shape
    means = k / n * targets.T @ features
    within = features - targets @ means
    centred = means - means.mean(dim=-2, keepdim=True)
    scatter, spread = within.square().sum(dim=(-2, -1)) / n, centred.square().sum(dim=(-2, -1)) / k
    size = features.square().sum(dim=(-2, -1)) / n
    if not bool((spread > 1e-24 * size).all()):
        raise ValueError("features must have class means that differ; got means that all agree")
    covariance = within.mT @ within / n
    inverse = torch.linalg.pinv(centred.mT @ centred / k, rtol=1e-8, hermitian=True)
    gram = centred @ centred.mT
    gram = gram / gram.norm(dim=(-2, -1), keepdim=True)
    simplex = (torch.eye(k).to(gram) - 1 / k) / (k - 1) ** 0.5
    nc1 = (covariance * inverse).sum(dim=(-2, -1)) / k
    return Collapse(scatter / spread, nc1, (gram - simplex).norm(dim=(-2, -1)))


# --- The model ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureModel:
    """The prices of the model. Without `beta` it is the unconstrained-features model.

    Attributes
    ----------
    lambda_w
        Price of the last layer's weights, positive.
    lambda_h
        Price of the features, not negative.
    beta
        Price of their distance from the given ones, not negative.

    Raises
    ------
    ValueError
        If a price is out of range.
    """

    lambda_w: float
    lambda_h: float
    beta: float = 0.0

    def __post_init__(self) -> None:
        check_positive("lambda_w", self.lambda_w)
        for name, price in {"lambda_h": self.lambda_h, "beta": self.beta}.items():
            check_finite(name, price)
            check_at_least(name, price, 0)

    @property
    def c(self) -> float:
        """√(λ_H λ_W). From 1 on nothing pays: without `beta` the only minimiser is zero."""
        return (self.lambda_h * self.lambda_w) ** 0.5


@dataclass(frozen=True)
class Minimiser:
    """Features and head that minimise the model, and the sweeps that it took to find them."""

    features: Float[Tensor, "n d"]
    head: Float[Tensor, "k d"]
    n_sweeps: int = 0


def objective(
    features: Float[Tensor, "n d"],
    head: Float[Tensor, "k d"],
    inputs: Float[Tensor, "n d"],
    targets: Float[Tensor, "n k"],
    model: FeatureModel,
) -> Float[Tensor, ""]:
    """Squared error, price of the weights, price of the features, price of leaving the inputs."""
    parts = as_floats(features=features, head=head, inputs=inputs, targets=targets)
    shapes = [tuple(part.shape) for part in parts]
    if len(shapes[0]) != 2 or shapes != [
        shapes[0],
        (shapes[3][-1], shapes[0][1]),
        shapes[0],
        (shapes[0][0], shapes[3][-1]),
    ]:
        raise ValueError(
            f"features, head, inputs, targets must be (n, d), (k, d), (n, d), (n, k); got {shapes}"
        )
    for name, part in zip(("features", "head", "inputs", "targets"), parts, strict=True):
        check_squares(name, part)
    return _objective(*parts, model)


def _objective(
    features: Tensor, head: Tensor, inputs: Tensor, targets: Tensor, model: FeatureModel
) -> Tensor:
    n, k = targets.shape
    errors = (features @ head.T - targets).square().sum()
    price = model.lambda_h * features.square().sum() + model.beta * (features - inputs).square().sum()
    return (errors + price) / (2 * n) + model.lambda_w / (2 * k) * head.square().sum()


def _best_head(features: Tensor, targets: Tensor, lambda_w: float) -> Tensor:
    """The head that minimises the model for these features: ridge regression."""
    n, k = targets.shape
    ridge = n / k * lambda_w * torch.eye(features.shape[1]).to(features)
    return torch.linalg.solve(features.T @ features + ridge, features.T @ targets).T


def minimise(
    inputs: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    model: FeatureModel,
    *,
    tolerance: float = 1e-12,
    max_sweeps: int = 20_000,
) -> Minimiser:
    """Minimise the model from its inputs, in features and head by turns, each exactly.

    Where the turns are slow Anderson's acceleration extrapolates them, as long as the objective falls.

    Parameters
    ----------
    inputs
        H_0, one row a sample: where the features start and what they must stay near.
    labels
        Classes 0 to k − 1, equally many samples of each.
    model
        Its prices; `lambda_h` + `beta` must be positive.
    tolerance
        Largest change of an entry of the head in the last turn, relative to the largest entry that any had.
    max_sweeps
        After which to give up.

    Returns
    -------
    A stationary point, in double precision; the minimiser when `beta` is large.

    Raises
    ------
    ValueError
        If classes are not equally large, a number is not finite or too large, or a price or `tolerance` is out of
        range.
    FloatingPointError
        If `max_sweeps` are not enough.
    """
    inputs, targets = _as_rows("inputs", inputs, labels)
    check_positive("tolerance", tolerance)
    check_at_least("max_sweeps", max_sweeps, 1)
    check_positive("lambda_h + beta of model", model.lambda_h + model.beta)
    head, heads, turned = _best_head(inputs, targets, model.lambda_w), [], []
    least, shortest, scale = torch.inf, torch.inf, 0.0
    for sweep in range(1, max_sweeps + 1):
        features = _best_features(head, inputs, targets, model)
        value = _objective(features, head, inputs, targets, model).item()
        if value > least * (1 + 1e-14):  # the extrapolation went wrong: back to where turns alone had led
            head, heads, turned, least, shortest = turned[-1], [], [], torch.inf, torch.inf
            continue
        least = value
        heads.append(head)
        turned.append(_best_head(features, targets, model.lambda_w))
        step, scale = (turned[-1] - head).abs().max().item(), max(scale, head.abs().max().item())
        if step <= tolerance * scale:
            return Minimiser(_best_features(turned[-1], inputs, targets, model), turned[-1], sweep)
        n_kept = (
            10 if step < shortest else 1
        )  # steps that grow leave a saddle, to which extrapolation would return
        heads, turned, shortest = heads[-n_kept:], turned[-n_kept:], step
        head = _extrapolate(heads, turned)
    raise FloatingPointError(f"heads still move after {max_sweeps} sweeps; raise max_sweeps or tolerance")


def _best_features(head: Tensor, inputs: Tensor, targets: Tensor, model: FeatureModel) -> Tensor:
    """The features that minimise the model for this head."""
    curvature = head.T @ head + (model.lambda_h + model.beta) * torch.eye(head.shape[1]).to(head)
    return torch.linalg.solve(curvature, (targets @ head + model.beta * inputs).T).T


def _extrapolate(heads: list[Tensor], turned: list[Tensor]) -> Tensor:
    """Anderson's acceleration: combine the last turns so that, were the map linear, their steps would cancel."""
    if len(heads) == 1:
        return turned[0]
    after = torch.stack(turned).flatten(1)
    steps = after - torch.stack(heads).flatten(1)
    weights = torch.linalg.pinv(steps.diff(dim=0).T, rtol=1e-10) @ steps[-1]
    return (after[-1] - weights @ after.diff(dim=0)).reshape(turned[-1].shape)


# --- The central path --------------------------------------------------------------------------------------------


def _velocity(features: Tensor, targets: Tensor, model: FeatureModel) -> Tensor:
    """−n ∇L, by the envelope theorem: the head is the best one, and its own motion does not count."""
    head = _best_head(features, targets, model.lambda_w)
    return (targets - features @ head.T) @ head - model.lambda_h * features


def central_path(
    inputs: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    model: FeatureModel,
    times: Float[Tensor, " t"],
    *,
    max_evaluations: int = 20_000,
) -> Float[Tensor, "t n d"]:
    """Follow dH/dt = −n ∇L(H) from the inputs, where L(H) is the least over heads of the model without `beta`.

    Parameters
    ----------
    inputs
        H_0, one row a sample.
    labels
        Classes 0 to k − 1, equally many samples of each.
    model
        Its prices; `beta` plays no part.
    times
        Increasing, not negative.
    max_evaluations
        Of the gradient, after which to give up.

    Returns
    -------
    The features at each time, with a relative error of about 10⁻⁸ (Dormand and Prince's method of order 5).

    Raises
    ------
    ValueError
        If classes are not equally large, `times` do not increase or take too many evaluations, or a number is not
        finite or too large.
    """
    inputs, targets = _as_rows("inputs", inputs, labels)
    (times,) = as_floats(times=times)
    check_not_negative("times", times)
    if times.ndim != 1 or not bool((times.diff() > 0).all()):
        raise ValueError(f"times must be a row of increasing numbers; got {times.tolist()}")
    check_squares("times", times)

    budget = iter(range(max_evaluations))

    def derivative(_: float, flat: np.ndarray) -> np.ndarray:
        if next(budget, None) is None:
            raise ValueError(f"times reach too far for these inputs: over {max_evaluations} evaluations")
        features = torch.from_numpy(flat).to(inputs.device).reshape(inputs.shape)
        return _velocity(features, targets, model).flatten().cpu().numpy()

    times = times.double().cpu().numpy()
    size = max(inputs.abs().max().item(), 1e-300)
    options = {"t_eval": times, "rtol": 1e-8, "atol": 1e-11 * size}
    solution = solve_ivp(derivative, (0.0, max(times[-1], 1e-300)), inputs.flatten().cpu().numpy(), **options)
    if not solution.success:
        raise ValueError(f"times are out of reach for these inputs: {solution.message}")
    return torch.from_numpy(solution.y.T.copy()).reshape(-1, *inputs.shape).to(inputs.device)


@dataclass(frozen=True)
class Rates:
    """Derivatives along the flow of log tr Σ_W and log tr Σ_B."""

    within: Float[Tensor, ""]
    between: Float[Tensor, ""]

    @property
    def nc1_trace(self) -> Float[Tensor, ""]:
        """Derivative of log(tr Σ_W / tr Σ_B): λ_H has dropped out."""
        return self.within - self.between


def collapse_rates(features: Float[Tensor, "n d"], labels: Int[Tensor, " n"], model: FeatureModel) -> Rates:
    """How fast scatter within classes falls, and that of the means, at a point of the flow: closed forms.

    Parameters
    ----------
    features
        One row a sample.
    labels
        Classes 0 to k − 1, equally many samples of each.
    model
        Its prices; `beta` plays no part.

    Returns
    -------
    The logarithmic derivatives. With M the class means, A = M (kΣ_W + λ_W I)⁻¹ Mᵀ and C the projection that centres,
    they are −2λ_H − 2 tr(W Σ_W Wᵀ)/tr Σ_W and −2λ_H + 2 tr(C A (I + A)⁻²)/‖CM‖².

    Raises
    ------
    ValueError
        If classes are not equally large, have no scatter or no two means, or a number is not finite or too large.
    """
    features, targets = _as_rows("features", features, labels)
    n, k = targets.shape
    means = k / n * targets.T @ features
    within, centred = features - targets @ means, means - means.mean(dim=0)
    for what, part in {"scatter within classes": within, "class means that differ": centred}.items():
        if not part.norm() > 1e-12 * features.norm():
            raise ValueError(f"features must have {what}")
    head = _best_head(features, targets, model.lambda_w)
    shrinking = (within @ head.T).square().sum() / within.square().sum()
    ridge = k / n * within.T @ within + model.lambda_w * torch.eye(features.shape[1]).to(features)
    values, vectors = torch.linalg.eigh(means @ torch.linalg.solve(ridge, means.T))
    vectors = vectors - vectors.mean(dim=0)
    pushing = (values / (1 + values).square() * vectors.square().sum(dim=0)).sum() / centred.square().sum()
    return Rates(-2 * model.lambda_h - 2 * shrinking, -2 * model.lambda_h + 2 * pushing)


# --- Near collapse -----------------------------------------------------------------------------------------------


def collapsed_minimiser(
    basis: Float[Tensor, "k d"], labels: Int[Tensor, " n"], model: FeatureModel
) -> Minimiser:
    """Write down a minimiser of the model without `beta`, which is one of the model that has it as its inputs.

    Parameters
    ----------
    basis
        Orthonormal directions of the class means, one row a class.
    labels
        Classes 0 to k − 1, equally many samples of each.
    model
        Its prices, with 0 < λ_H λ_W < 1.

    Returns
    -------
    Features √ρ r_y and head √(ρ λ_H/λ_W) R, ρ = (1 − c) √(λ_W/λ_H).

    Raises
    ------
    ValueError
        If λ_H λ_W is not between 0 and 1, classes are not equally large, or `basis` is not orthonormal.
    """
    (basis,) = as_floats(basis=basis)
    targets = one_hot_targets(labels, len(labels)).to(basis.device)
    k = targets.shape[1]
    if basis.ndim != 2 or len(basis) != k or basis.shape[1] < k:
        raise ValueError(f"basis must be {k} rows of at least {k} numbers; got {tuple(basis.shape)}")
    rounding = 100 * torch.finfo(basis.dtype).eps
    if not bool((basis @ basis.T - torch.eye(k).to(basis)).abs().max() < rounding):
        raise ValueError("basis must have rows that are orthonormal")
    _check_collapsing(model)
    basis = basis.double()
    rho = (1 - model.c) * (model.lambda_w / model.lambda_h) ** 0.5
    return Minimiser(targets @ basis * rho**0.5, basis * (rho * model.lambda_h / model.lambda_w) ** 0.5)


def _check_collapsing(model: FeatureModel) -> None:
    if not 0 < model.c < 1:
        raise ValueError(
            f"model must have λ_H λ_W between 0 and 1, or there is no collapse but to zero; got {model.c**2:g}"
        )


def perturbation_operator(
    features: Float[Tensor, "n d"],
    head: Float[Tensor, "k d"],
    labels: Int[Tensor, " n"],
    model: FeatureModel,
) -> Float[Tensor, "nd nd"]:
    """Derivative of the features that minimise the model in the inputs, at a minimiser: Theorem 4.1.

    Parameters
    ----------
    features, head
        The minimiser.
    labels
        Classes 0 to k − 1, equally many samples of each.
    model
        Its prices, with a positive `beta`.

    Returns
    -------
    (β/n) S⁻¹, where S is the Hessian in the features less what the head's answer takes off (a Schur complement).
    Rows and columns run through the samples, and through a sample's features.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite or too large, or `beta` is not positive.
    """
    features, targets = _as_rows("features", features, labels)
    (head,) = as_floats(head=head)
    check_squares("head", head)
    check_positive("beta of model", model.beta)
    n, d, k = *features.shape, targets.shape[1]
    if head.shape != (k, d):
        raise ValueError(f"head must be ({k}, {d}), classes by features; got {tuple(head.shape)}")

    def loss(flat: Tensor) -> Tensor:
        moved, weights = flat.split([n * d, k * d])
        return _objective(moved.reshape(n, d), weights.reshape(k, d), features, targets, model)

    point = torch.cat([features.flatten(), head.double().flatten()])
    hessian = torch.func.hessian(loss)(point)
    of_features, cross, of_head = (
        hessian[: n * d, : n * d],
        hessian[n * d :, : n * d],
        hessian[n * d :, n * d :],
    )
    schur = of_features - cross.T @ torch.linalg.solve(of_head, cross)
    return model.beta / n * torch.linalg.inv(schur)


def first_order(operator: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """The operator up to first order in 1/β, which is 2I less its inverse: F of the paper's equation 5."""
    (operator,) = as_floats(operator=operator)
    if operator.ndim != 2 or operator.shape[0] != operator.shape[1]:
        raise ValueError(f"operator must be square; got {tuple(operator.shape)}")
    inverse, failed = torch.linalg.inv_ex(operator)
    if failed or not bool(torch.isfinite(inverse).all()):
        raise ValueError("operator must have an inverse; got a singular matrix")
    return 2 * torch.eye(len(operator)).to(operator) - inverse


def near_collapse_response(
    perturbation: Float[Tensor, "n d"],
    basis: Float[Tensor, "k d"],
    labels: Int[Tensor, " n"],
    model: FeatureModel,
) -> Float[Tensor, "n d"]:
    """Answer of the minimiser's features to a small change of collapsed inputs, in closed form.

    Parameters
    ----------
    perturbation
        Change of the inputs, one row a sample.
    basis
        Orthonormal directions of the class means, one row a class.
    labels
        Classes 0 to k − 1, equally many samples of each.
    model
        Its prices, with 0 < λ_H λ_W < 1 and a positive `beta`.

    Returns
    -------
    The perturbation with each of its five parts over 1 + τ/β: within classes τ = √(λ_H/λ_W) in the span of the means
    and λ_H out of it; of the means τ = 4λ_H(1 − c) for what is symmetric in the basis, and 0 for rotations and for
    what is out of the span.

    Raises
    ------
    ValueError
        If λ_H λ_W is not between 0 and 1, `beta` is not positive, or a shape does not fit.
    """
    perturbation, targets = _as_rows("perturbation", perturbation, labels)
    basis = collapsed_minimiser(basis, labels, model).head
    basis = basis / basis.norm(dim=1, keepdim=True)
    check_positive("beta of model", model.beta)
    if basis.shape[1] != perturbation.shape[1]:
        raise ValueError(f"basis must have {perturbation.shape[1]} columns; got {basis.shape[1]}")
    n, k = targets.shape

    def kept(tau: float) -> float:
        return 1 / (1 + tau / model.beta)

    means = k / n * targets.T @ perturbation
    within = perturbation - targets @ means
    inside = within @ basis.T @ basis
    coordinates = means @ basis.T
    symmetric = (coordinates + coordinates.T) / 2
    answer = means + (kept(4 * model.lambda_h * (1 - model.c)) - 1) * symmetric @ basis
    in_span, out_of_span = kept((model.lambda_h / model.lambda_w) ** 0.5), kept(model.lambda_h)
    return targets @ answer + in_span * inside + out_of_span * (within - inside)


def block_spectrum(
    model: FeatureModel, *, n_samples: int, n_features: int, n_classes: int
) -> Float[Tensor, " m"]:
    """Singular values of the block of one class in the first-order operator at collapse, the largest first.

    Parameters
    ----------
    model
        Its prices, with 0 < λ_H λ_W < 1 and a positive `beta`.
    n_samples, n_features, n_classes
        Of samples in a class; of features d, at least as many as classes; of classes k.

    Returns
    -------
    1 − τ/β with τ = 0 (d − k times), λ_H, 2λ_H(1 − c) (k − 1), 4λ_H(1 − c) (once) and √(λ_H/λ_W).

    Raises
    ------
    ValueError
        If λ_H λ_W is not between 0 and 1, `beta` is not positive, or a number of things is too small.
    """
    _check_collapsing(model)
    check_positive("beta of model", model.beta)
    check_at_least("n_samples", n_samples, 1)
    check_at_least("n_classes", n_classes, 2)
    check_at_least("n_features", n_features, n_classes)
    outside, mean = n_features - n_classes, 2 * model.lambda_h * (1 - model.c)
    taus = [0.0] * outside + [model.lambda_h] * ((n_samples - 1) * outside)
    taus += [mean] * (n_classes - 1) + [2 * mean]
    taus += [(model.lambda_h / model.lambda_w) ** 0.5] * ((n_samples - 1) * n_classes)
    return (1 - torch.tensor(taus, dtype=torch.float64) / model.beta).sort(descending=True).values
