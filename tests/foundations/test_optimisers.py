"""Optimisers of runs side by side against torch's own, one run at a time."""

import pytest
import torch

from regularity.foundations.optimisers import adam, heavy_ball
from tests.draws import random

RATES, SECOND = (0.05, 0.3), (0.5, 0.9)  # of two runs: learning rate, and momentum or damping


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda rate, _: heavy_ball(rate), lambda p, rate, _: torch.optim.SGD(p, rate)),
        (heavy_ball, lambda p, rate, momentum: torch.optim.SGD(p, rate, momentum=momentum)),
        (lambda rate, _: adam(rate), lambda p, rate, _: torch.optim.Adam(p, rate)),
        (adam, lambda p, rate, damping: torch.optim.Adam(p, rate, eps=damping)),
        (
            lambda rate, damping: adam(rate, damping, betas=(0.5, 0.8)),
            lambda p, rate, damping: torch.optim.Adam(p, rate, eps=damping, betas=(0.5, 0.8)),
        ),
    ],
    ids=["sgd", "momentum", "adam", "damped adam", "betas"],
)
def test_updates_are_those_of_torch(ours, theirs):
    """Five steps down a quartic bowl, each run with settings of its own."""
    start, columns = random(2, 3), [torch.tensor(values).double()[:, None] for values in (RATES, SECOND)]
    update, points = ours(*columns), start
    for _ in range(5):
        points = points + update(points**3)
    for run, settings in enumerate(zip(RATES, SECOND, strict=True)):
        weights = start[run].clone().requires_grad_()
        optimiser = theirs([weights], *settings)
        for _ in range(5):
            optimiser.zero_grad()
            (weights.pow(4).sum() / 4).backward()
            optimiser.step()
        torch.testing.assert_close(points[run], weights.detach())
