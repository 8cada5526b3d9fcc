"""What one would use without knowing the model: SciPy's L-BFGS on features and head together."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least, check_positive, check_squares
from regularity.theory.neural_collapse.method import FeatureModel, Minimiser, one_hot_targets


def minimise_by_lbfgs(
    inputs: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    model: FeatureModel,
    head: Float[Tensor, "k d"],
    *,
    tolerance: float = 1e-10,
    max_steps: int = 10_000,
) -> Minimiser:
    """Minimise the model from its inputs and a head, by SciPy's L-BFGS-B with the gradient in closed form.

    Parameters
    ----------
    inputs, labels, model
        As for `minimise`; all prices but that of the head may be zero.
    head
        Where the head starts.
    tolerance
        Largest entry of n times the gradient at which to stop.
    max_steps
        Steps after which to stop.

    Returns
    -------
    Where it stopped, in double precision.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite or too large, or `tolerance` is not positive.
    """
    inputs, head = as_floats(inputs=inputs, head=head)
    check_positive("tolerance", tolerance)
    check_at_least("max_steps", max_steps, 1)
    if inputs.ndim != 2:
        raise ValueError(f"inputs must have one row a sample; got shape {tuple(inputs.shape)}")
    targets = one_hot_targets(labels, len(inputs)).cpu().numpy()
    n, d, k = *inputs.shape, targets.shape[1]
    if head.shape != (k, d):
        raise ValueError(f"head must be ({k}, {d}), classes by features; got {tuple(head.shape)}")
    for name, values in {"inputs": inputs, "head": head}.items():
        check_squares(name, values)
    given, start = (values.double().cpu().numpy() for values in (inputs, head))

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        features, weights = flat[: n * d].reshape(n, d), flat[n * d :].reshape(k, d)
        errors, moved = features @ weights.T - targets, features - given
        of_features = errors @ weights + model.lambda_h * features + model.beta * moved
        of_head = errors.T @ features + n / k * model.lambda_w * weights
        value = (errors**2).sum() + model.lambda_h * (features**2).sum() + model.beta * (moved**2).sum()
        value += n / k * model.lambda_w * (weights**2).sum()
        return value / 2, np.concatenate([of_features.ravel(), of_head.ravel()])

    options = {"maxiter": max_steps, "maxfun": 2 * max_steps, "ftol": 1e-16, "gtol": tolerance}
    point = np.concatenate([given.ravel(), start.ravel()])
    found = minimize(value_and_gradient, point, jac=True, method="L-BFGS-B", options=options)
    features, weights = torch.from_numpy(found.x).to(inputs.device).split([n * d, k * d])
    return Minimiser(features.reshape(n, d), weights.reshape(k, d))
