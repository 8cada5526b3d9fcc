"""What one would use instead: kernel ridge regression, one step of stage 1, and networks trained from end to end."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regularity.foundations.checks import as_floats, check_at_least, check_positive, check_squares
from regularity.foundations.training import Best, train


def polynomial_kernel(
    points: Float[Tensor, "n d"], others: Float[Tensor, "m d"], *, degree: int, shift: float
) -> Float[Tensor, "n m"]:
    """(x·x'/d + shift)^degree, in units of its value at ‖x‖² = d."""
    points, others = as_floats(points=points, others=others)
    check_at_least("degree", degree, 1)
    check_positive("shift", shift)
    if points.ndim != 2 or others.ndim != 2 or points.shape[1] != others.shape[1]:
        shapes = tuple(points.shape), tuple(others.shape)
        raise ValueError(f"points and others must be (n, d) and (m, d); got {shapes[0]} and {shapes[1]}")
    for name, values in {"points": points, "others": others}.items():
        check_squares(name, values)
    cosines = (points @ others.T).div_(points.shape[1])
    return cosines.add_(shift).div_(1 + shift).pow_(degree)


def fit_kernel_ridge(
    kernel: Float[Tensor, "n n"], labels: Float[Tensor, " n"], penalty: float
) -> Float[Tensor, " n"]:
    """Solve (K + penalty·s·I)α = y, with s the mean of K's diagonal; predictions are then k(x, X)α.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, the penalty is not positive, or K + penalty·s·I is not
        positive definite.
    """
    kernel, labels = as_floats(kernel=kernel, labels=labels)
    check_positive("penalty", penalty)
    if kernel.shape != (len(labels), len(labels)):
        raise ValueError(f"kernel must be (n, n) for n = {len(labels)} labels; got {tuple(kernel.shape)}")
    check_squares("labels", labels)
    shifted = kernel.clone()
    shifted.diagonal().add_(penalty * kernel.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if failed or not bool(factor.diagonal().isfinite().all()):
        raise ValueError("kernel must be positive definite with the penalty; got one that is not")
    return torch.cholesky_solve(labels[:, None], factor)[:, 0]


def one_step_feature(
    inputs: Float[Tensor, "n d"],
    labels: Float[Tensor, " n"],
    points: Float[Tensor, "m d"],
    *,
    lower_degrees: bool,
) -> Float[Tensor, " m"]:
    """Compute what one gradient step from zero makes of infinitely many inner features, on a sphere of radius √d.

    It is Σ_i (y_i − ȳ) K(x_i, x)/n, with K = E_v[σ(v·x)σ(v·x')] over unit vectors v, in units of 1/d.

    Parameters
    ----------
    inputs, labels
        Samples; inputs are brought to the sphere, where no radius can be mistaken for the feature.
    points
        Where to compute it; brought to the sphere.
    lower_degrees
        σ = h_0 + h_1 + h_2 (without the constant, which no correlation sees), or h_2 alone.

    Raises
    ------
    ValueError
        If a shape does not fit, or a number is not finite.
    """
    inputs, labels, points = as_floats(inputs=inputs, labels=labels, points=points)
    if (
        inputs.ndim != 2
        or points.ndim != 2
        or inputs.shape[1] != points.shape[1]
        or labels.shape != inputs.shape[:1]
    ):
        shapes = ", ".join(str(tuple(given.shape)) for given in (inputs, labels, points))
        raise ValueError(f"inputs, labels and points must be (n, d), (n,) and (m, d); got {shapes}")
    for name, values in {"inputs": inputs, "labels": labels, "points": points}.items():
        check_squares(name, values)
    d = inputs.shape[1]
    inputs, points = (nn.functional.normalize(v, dim=1) * d**0.5 for v in (inputs, points))
    centred = labels - labels.mean()
    # Degree 2 is t²/(d + 2) − d/(d + 2) with t = x·x', whose sum needs d² numbers and not n·m.
    second = (inputs * centred[:, None]).T @ inputs / len(labels)
    feature = ((points @ second) * points).sum(dim=1) / (d + 2)
    return feature + points @ (inputs.T @ centred) / len(labels) if lower_degrees else feature


def train_relu_network(
    widths: list[int],
    inputs: Float[Tensor, "n d"],
    labels: Float[Tensor, " n"],
    validation: tuple[Float[Tensor, "v d"], Float[Tensor, " v"]],
    *,
    learning_rate: float,
    n_epochs: int,
    weight_decay: float = 0.1,
    batch_size: int = 128,
    generator: torch.Generator,
) -> tuple[nn.Module, float]:
    """Train all weights at once by AdamW on a cosine schedule; the epoch that is best on the validation is kept.

    Returns
    -------
    The network, in single precision, and its validation error.

    Raises
    ------
    ValueError
        If a shape does not fit, a number is not finite, or there is no full batch.
    FloatingPointError
        If the training diverges.
    """
    inputs, labels, *validation = (
        values.float()
        for values in as_floats(
            inputs=inputs, labels=labels, validation_inputs=validation[0], validation_labels=validation[1]
        )
    )
    if inputs.ndim != 2 or inputs.shape[1] != widths[0] or labels.shape != inputs.shape[:1]:
        shapes = tuple(inputs.shape), tuple(labels.shape)
        raise ValueError(
            f"inputs and labels must be (n, {widths[0]}) and (n,); got {shapes[0]} and {shapes[1]}"
        )
    check_at_least("the number of inputs", len(inputs), batch_size)
    check_positive("learning_rate", learning_rate)
    shapes = list(zip(widths, [*widths[1:], 1], strict=True))
    layers = [nn.Linear(*shape, device=inputs.device) for shape in shapes]
    for layer in layers:
        start = torch.randn(layer.weight.shape, generator=generator) * (2 / layer.in_features) ** 0.5
        layer.weight.data.copy_(start)
        nn.init.zeros_(layer.bias)
    network = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]
    weights = list(network.parameters())
    optimiser = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=weight_decay, fused=True)
    n_batches = len(inputs) // batch_size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_epochs * n_batches)
    best = Best([w.data[None] for w in weights], n_runs=1)
    order = torch.empty(0)

    def update(step: int) -> Tensor:
        nonlocal order
        if step % n_batches == 0:
            order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        batch = order[step % n_batches * batch_size :][:batch_size]
        loss = (network(inputs[batch])[:, 0] - labels[batch]).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        return loss

    @torch.no_grad()
    def observe(_: Tensor) -> None:
        error = (network(validation[0])[:, 0] - validation[1]).square().mean()
        best.keep(error[None])

    train(update, n_steps=n_epochs * n_batches, observe=observe, every=n_batches)
    best.restore()
    return network, best.lowest.item()
