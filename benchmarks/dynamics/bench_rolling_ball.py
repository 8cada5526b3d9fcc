"""The rolling ball and its rival SAM beside pytorch_optimizer, on the perceptron and the digits of the chapter."""

import copy
from collections.abc import Callable

import pytest
import torch
from pytorch_optimizer import SAM
from torch import Tensor, nn
from torch.nn import functional

from regularity.data import load_digits
from regularity.dynamics.rolling_ball import RollingBall, build_network, sharpness_aware
from regularity.foundations.curvature import flat_parameters
from regularity.foundations.optimisers import heavy_ball

IMAGES, LABELS = load_digits()
INPUTS = IMAGES.flatten(1)
ORDER = torch.randperm(1024, generator=torch.Generator().manual_seed(0))
BATCHES = list(zip(INPUTS[ORDER].split(64), LABELS[ORDER].split(64), strict=True))
NETWORK = build_network("perceptron", (1, 8, 8), 10, width=32, generator=torch.Generator().manual_seed(0))
RATES = torch.linspace(0.05, 0.6, 12)
N_EPOCHS = 4  # of one run


def peer_sam(rate: float, n_epochs: int) -> nn.Module:
    """Train by pytorch_optimizer's SAM over plain SGD."""
    network = copy.deepcopy(NETWORK)
    optimiser = SAM(network.parameters(), torch.optim.SGD, rho=0.05, lr=rate)
    for _ in range(n_epochs):
        for inputs, labels in BATCHES:

            def closure(inputs: Tensor = inputs, labels: Tensor = labels) -> Tensor:
                optimiser.zero_grad()
                loss = functional.cross_entropy(network(inputs), labels)
                loss.backward()
                return loss

            closure()
            optimiser.step(closure)
    return network


def side_by_side() -> Tensor:
    """Train by SAM at all learning rates at a time, for one epoch, and give the weights."""
    start, call = flat_parameters(NETWORK)
    points, update = start.expand(len(RATES), -1), heavy_ball(RATES[:, None])
    for inputs, labels in BATCHES:

        def gradient(at: Tensor, inputs: Tensor = inputs, labels: Tensor = labels) -> tuple[Tensor, Tensor]:
            at = at.detach().requires_grad_()
            outputs = torch.func.vmap(call, in_dims=(0, None))(at, inputs)
            flat = functional.cross_entropy(outputs.flatten(0, 1), labels.repeat(len(at)), reduction="none")
            losses = flat.view(len(at), -1).mean(dim=1)
            return losses.detach(), torch.autograd.grad(losses.sum(), at)[0]

        points = points + update(sharpness_aware(gradient, 0.05)(points)[1])
    return points


def rolling() -> nn.Module:
    """Train by the ball at two gradients a step, as many as SAM's."""
    network = copy.deepcopy(NETWORK)
    optimiser = RollingBall(
        network.parameters(), learning_rate=3.0, radius=0.3, projection_rate=0.05, n_projections=2
    )
    for _ in range(N_EPOCHS):
        for inputs, labels in BATCHES:
            optimiser.step(lambda x=inputs, y=labels: functional.cross_entropy(network(x), y))
    return network


def accuracy(network: nn.Module) -> float:
    """On the digits that were not trained on."""
    with torch.no_grad():
        return (network(INPUTS[1024:]).argmax(dim=1) == LABELS[1024:]).float().mean().item()


def test_sam_at_many_learning_rates(compare: Callable[..., None]) -> None:
    """A tuning of SAM: twelve learning rates, one epoch."""
    _, call = flat_parameters(NETWORK)
    trained, peers = side_by_side(), [peer_sam(rate, 1) for rate in RATES.tolist()]
    with torch.no_grad():
        ours = [functional.cross_entropy(call(point, INPUTS), LABELS).item() for point in trained]
        theirs = [functional.cross_entropy(peer(INPUTS), LABELS).item() for peer in peers]
    assert ours == pytest.approx(theirs, rel=1e-3)
    compare(
        "tune SAM over 12 learning rates, an epoch of digits",
        method="heavy_ball with sharpness_aware",
        peer="pytorch_optimizer",
        run_method=side_by_side,
        run_peer=lambda: [peer_sam(rate, 1) for rate in RATES.tolist()],
        quality=(min(ours), min(theirs)),
        quality_name="least loss",
        note="All learning rates are one batch of matrix products; an optimiser object trains one at a time.",
    )


def test_ball_at_equal_gradients(compare: Callable[..., None]) -> None:
    """One run, two gradients a step each."""
    ours, theirs = accuracy(rolling()), accuracy(peer_sam(0.5, N_EPOCHS))
    assert ours == pytest.approx(theirs, abs=0.05)
    compare(
        "four epochs of digits at two gradients a step",
        method="RollingBall",
        peer="pytorch_optimizer",
        run_method=rolling,
        run_peer=lambda: peer_sam(0.5, N_EPOCHS),
        n_units=N_EPOCHS * len(BATCHES),
        quality=(ours, theirs),
        quality_name="test accuracy",
        note="The peer's SAM, at as many gradients. The ball works on one flat vector, which is cut up at each one.",
    )
