"""The training loop against Adam written out in NumPy and torch's schedules; interruptions against a fit without."""

import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from regularity.foundations.networks import UNet
from regularity.foundations.noise import standard_normal_like
from regularity.foundations.training import Best, fit, train
from tests.draws import seeded

SCHEDULES = ["one_cycle", "constant", "halfway_tenth", "cosine"]


class Point(torch.nn.Module):
    """A point of the plane, as a network without inputs."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.position = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=dtype))


def quartic(position):
    """A curved valley with a gradient by hand."""
    x, y = position
    return x**4 + 0.5 * (y - x) ** 2


def quartic_gradient(position):
    x, y = position
    return np.array([4 * x**3 - (y - x), y - x])


# --- The optimiser and its schedules ------------------------------------------------------------------------------


def cosine(start, end, share):
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def written_out_schedule(schedule, peak, n_steps):
    """Learning rate and first averaging constant at each step."""
    if schedule == "constant":
        return [(peak, 0.9)] * n_steps
    if schedule == "halfway_tenth":
        return [(peak if step < n_steps // 2 else peak / 10, 0.9) for step in range(n_steps)]
    if schedule == "cosine":
        return [(cosine(peak, 0, step / n_steps), 0.9) for step in range(n_steps)]
    turn, rates = (
        0.3 * n_steps - 1,
        [],
    )  # up for 30 % of the steps from 1/25, then down to 1/25/10,000 at the last
    for step in range(n_steps):
        up, down = step / turn, (step - turn) / (n_steps - 1 - turn)
        rate = cosine(peak / 25, peak, up) if step <= turn else cosine(peak, peak / 25e4, down)
        beta = cosine(0.95, 0.85, up) if step <= turn else cosine(0.85, 0.95, down)
        rates.append((rate, beta))
    return rates


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_fit_is_adam_under_its_schedule(schedule):
    """Algorithm 1 of Kingma and Ba in NumPy, and the schedules by their formulas."""
    n_steps, peak, beta2 = 40, 0.05, 0.999
    position, mean, square, losses = np.array([1.0, -2.0]), 0.0, 0.0, []
    for step, (rate, beta1) in enumerate(written_out_schedule(schedule, peak, n_steps), start=1):
        losses.append(quartic(position))
        gradient = quartic_gradient(position)
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        unbiased = mean / (1 - beta1**step), square / (1 - beta2**step)
        position = position - rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)

    point = Point()
    history = fit(
        point,
        lambda _: quartic(point.position),
        n_steps=n_steps,
        learning_rate=peak,
        generator=seeded(),
        schedule=schedule,
    )
    np.testing.assert_allclose(point.position.detach(), position, rtol=1e-10)
    np.testing.assert_allclose(history, losses, rtol=1e-6)  # kept in single precision
    assert not history.requires_grad


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_fit_is_torch_by_hand(schedule):
    n_steps, betas = 25, (0.5, 0.99)
    point, twin = Point(), Point()
    optimiser = torch.optim.Adam(twin.parameters(), lr=0.05, betas=betas)
    scheduler = {
        "one_cycle": lambda: torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.05, total_steps=n_steps),
        "constant": lambda: torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0),
        "halfway_tenth": lambda: torch.optim.lr_scheduler.StepLR(optimiser, step_size=12, gamma=0.1),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=n_steps),
    }[schedule]()
    for _ in range(n_steps - 1):  # StepLR would drop a second time at step 24
        optimiser.zero_grad()
        quartic(twin.position).backward()
        optimiser.step()
        scheduler.step()

    moved = []

    def loss(step):
        moved.append(point.position.detach().clone())
        return quartic(point.position)

    fit(point, loss, n_steps=n_steps, learning_rate=0.05, generator=seeded(), schedule=schedule, betas=betas)
    torch.testing.assert_close(moved[-1], twin.position.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_very_short_fits(schedule, n_steps):
    point = Point()
    history = fit(
        point,
        lambda _: quartic(point.position),
        n_steps=n_steps,
        learning_rate=0.1,
        generator=seeded(),
        schedule=schedule,
    )
    assert history.shape == (n_steps,)
    assert torch.isfinite(history).all()


def test_steps_are_counted_from_zero_and_wrapped():
    point, counted, wrapped = Point(), [], []

    def loss(step):
        counted.append(step)
        return quartic(point.position)

    def bar(steps):
        for step in steps:
            wrapped.append(step)
            yield step

    fit(point, loss, n_steps=5, learning_rate=0.1, generator=seeded(), steps=bar)
    assert counted == wrapped == [0, 1, 2, 3, 4]


# --- The loop, and the best weights -------------------------------------------------------------------------------


def test_runs_side_by_side_are_observed_when_it_is_due_and_the_last_time():
    seen, wrapped = [], []

    def bar(steps):
        for step in steps:
            wrapped.append(step)
            yield step

    losses = train(
        lambda step: torch.tensor([1.0, 2.0]) * step,
        n_steps=7,
        observe=lambda losses: seen.append(losses.clone()),
        every=3,
        steps=bar,
    )
    expected = torch.arange(7.0)[:, None] * torch.tensor([1.0, 2.0])
    assert torch.equal(losses, expected)
    assert [len(part) for part in seen] == [3, 6, 7]
    assert all(torch.equal(part, expected[: len(part)]) for part in seen)
    assert wrapped == list(range(7))


def test_a_loop_goes_on_behind_what_is_done():
    taken = []

    def update(step):
        taken.append(step)
        return torch.tensor(float(step))

    done = torch.tensor([5.0, 6.0])
    assert train(update, n_steps=4, done=done).tolist() == [5, 6, 2, 3]
    assert taken == [2, 3]
    assert torch.equal(train(update, n_steps=2, done=done), done)
    assert taken == [2, 3]


def test_each_run_ends_with_the_weights_of_its_own_best_evaluation():
    values = torch.tensor([[3.0, 1.0, math.nan], [2.0, 1.0, math.nan], [4.0, 5.0, 7.0], [9.0, 8.0, math.nan]])
    weights, biases = torch.zeros(3, 2), torch.zeros(3)
    best = Best([weights, biases], n_runs=3)
    for index, value in enumerate(values):
        weights.fill_(index)
        biases.fill_(10 * index)
        best.keep(value)
    best.restore()
    chosen = torch.tensor([1.0, 1.0, 2.0])  # the later of equals, and never an evaluation without a value
    assert torch.equal(weights, chosen[:, None].expand(3, 2))
    assert torch.equal(biases, 10 * chosen)
    assert best.lowest.tolist() == [2, 1, 7]


# --- Interruptions ------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    """The power cut of these tests."""


def fit_unet(*, n_steps=20, stop_at=None, seed=0, **options):
    """Fit a small U-Net to fresh noise, interrupted before a step if asked to."""
    network, generator = UNet(width=4, n_poolings=1, generator=seeded(1)), seeded(seed)
    truth = torch.rand(2, 1, 8, 8, generator=seeded(2))

    def loss(step):
        if step == stop_at:
            raise Interrupted
        return (network(truth + 0.1 * standard_normal_like(truth, generator)) - truth).square().mean()

    history = fit(network, loss, n_steps=n_steps, learning_rate=0.01, generator=generator, **options)
    return history, network.state_dict(), generator.get_state()


def assert_same_fit(first, second):
    assert torch.equal(first[0], second[0])
    assert first[1].keys() == second[1].keys()
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])
    assert torch.equal(first[2], second[2])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_fit_ends_bit_for_bit_as_an_uninterrupted_one(tmp_path, schedule):
    whole = fit_unet(schedule=schedule)
    assert (
        len(set(whole[0].tolist())) == 20
    )  # fresh noise at each step, or the generator's state would not matter
    options = {"schedule": schedule, "checkpoint": tmp_path / "new folder" / "fit.pt", "checkpoint_every": 5}
    for stop_at in (3, 8, 17):  # before the first checkpoint, between two, and again after a resumption
        with pytest.raises(Interrupted):
            fit_unet(stop_at=stop_at, **options)
    # The caller's generator has another seed: its state comes out of the checkpoint.
    assert_same_fit(fit_unet(seed=9, **options), whole)


def test_a_finished_fit_is_read_and_not_run_again(tmp_path):
    options = {"checkpoint": str(tmp_path / "fit.pt"), "checkpoint_every": 7}
    whole = fit_unet(**options)
    assert_same_fit(fit_unet(stop_at=0, **options), whole)


def test_checkpoints_are_written_when_they_are_due(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(torch, "save", lambda state, path: (written.append(state["step"]), path.touch()))
    fit_unet(checkpoint=tmp_path / "fit.pt", checkpoint_every=8)
    assert written == [8, 16, 20]


def test_a_cut_off_write_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "fit.pt"
    whole = fit_unet()
    options = {"checkpoint": path, "checkpoint_every": 5}
    with pytest.raises(Interrupted):
        fit_unet(stop_at=7, **options)
    before = path.read_bytes()

    def half_a_write(state, unfinished):
        unfinished.write_bytes(before[: len(before) // 2])
        raise Interrupted

    with monkeypatch.context() as context:
        context.setattr(torch, "save", half_a_write)
        with pytest.raises(Interrupted):
            fit_unet(**options)
    assert path.read_bytes() == before
    assert_same_fit(fit_unet(**options), whole)
    assert [file.name for file in tmp_path.iterdir()] == ["fit.pt"]


def test_a_killed_process_leaves_a_usable_checkpoint(tmp_path):
    """The child kills itself at step 13, with no chance to tidy up."""
    path = tmp_path / "fit.pt"
    program = f"""
import os, signal, torch
import tests.foundations.test_training as here
torch.set_num_threads({torch.get_num_threads()})
die = lambda self: os.kill(os.getpid(), signal.SIGKILL)
here.Interrupted = type("Killed", (Exception,), {{"__init__": die}})
here.fit_unet(stop_at=13, checkpoint={str(path)!r}, checkpoint_every=5)
"""
    root = Path(__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", program], cwd=root, check=False, capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert torch.load(path, weights_only=True)["step"] == 10
    assert_same_fit(fit_unet(checkpoint=path, checkpoint_every=5), fit_unet())


def test_a_broken_fit_is_no_checkpoint(tmp_path):
    """The loss is infinite from step 12 on: what stays on disk is the last state before."""
    path, point = tmp_path / "fit.pt", Point()

    def loss(step):
        return quartic(point.position) * (1.0 if step < 12 else math.inf)

    options = {"n_steps": 30, "learning_rate": 0.01, "generator": seeded(), "checkpoint": path}
    with pytest.raises(FloatingPointError, match="the loss is inf at step 12; try a smaller learning_rate"):
        fit(point, loss, checkpoint_every=5, **options)
    saved = torch.load(path, weights_only=True)
    assert saved["step"] == 10
    assert torch.isfinite(saved["network"]["position"]).all()


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("n_steps", "at least 1"),
        ("learning_rate", "positive and finite"),
        ("checkpoint_every", "at least 1"),
    ],
)
@pytest.mark.parametrize("bad", [0, -3, math.nan])
def test_sizes_must_be_positive(name, rule, bad):
    options = {"n_steps": 5, "learning_rate": 0.1, "generator": seeded(), name: bad}
    with pytest.raises(ValueError, match=f"{name} must be {rule}; got {bad}"):
        fit(Point(), lambda _: torch.zeros(()), **options)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "change",
    [{"n_steps": 21}, {"schedule": "constant"}, {"betas": (0.5, 0.999)}],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change):
    path = tmp_path / "fit.pt"
    fit_unet(checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"fit\.pt belongs to another fit: it has .*; remove it or name another file"
    ):
        fit_unet(checkpoint=path, **change)
    assert path.read_bytes() == before


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"no checkpoint",
        lambda _: b"{}",
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    path = tmp_path / "fit.pt"
    fit_unet(checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"fit\.pt is damaged \(.+\); remove it or name another file"):
        fit_unet(checkpoint=path)


@pytest.mark.bad_input
@pytest.mark.parametrize("content", [torch.zeros(2), {"settings": {}}])
def test_a_file_of_something_else_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "fit.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"fit\.pt is of something else; remove it or name another file"):
        fit_unet(checkpoint=path)


@pytest.mark.bad_input
def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path, network = tmp_path / "fit.pt", torch.nn.Linear(2, 1)
    fit_unet(checkpoint=path)
    weights = network.weight.detach().clone()
    with pytest.raises(
        ValueError, match=r"fit\.pt belongs to another network; remove it or name another file"
    ):
        fit(network, lambda _: 0, n_steps=20, learning_rate=0.01, generator=seeded(), checkpoint=path)
    assert torch.equal(network.weight, weights)


@pytest.mark.bad_input
def test_a_loss_that_is_not_a_number_is_named_with_its_step():
    point = Point()

    def loss(step):
        return quartic(point.position) * (1.0 if step < 103 else math.nan)

    with pytest.raises(FloatingPointError, match="the loss is nan at step 103; try a smaller learning_rate"):
        fit(point, loss, n_steps=1000, learning_rate=0.01, generator=seeded())


@pytest.mark.bad_input
def test_the_run_that_diverged_is_named():
    with pytest.raises(FloatingPointError, match="the loss of run 1 is inf at step 4; try a smaller"):
        train(lambda step: torch.tensor([0.0, 1.0 if step < 4 else math.inf]), n_steps=9)
    with pytest.raises(ValueError, match="every must be at least 1; got 0"):
        train(lambda step: torch.zeros(2), n_steps=9, every=0)
    with pytest.raises(ValueError, match="every weight must have a leading axis of 3 runs"):
        Best([torch.zeros(3, 2), torch.zeros(2, 3)], n_runs=3)


@pytest.mark.bad_input
def test_a_loss_that_was_never_a_number_is_not_blamed_on_the_learning_rate():
    """An empty batch has no mean."""
    point, empty = Point(), torch.empty(0)

    def loss(step):
        return quartic(point.position) + empty.mean()

    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 0; no update .* look at the data"):
        fit(point, loss, n_steps=10, learning_rate=0.01, generator=seeded())


@pytest.mark.bad_input
def test_a_schedule_is_chosen_by_its_name():
    with pytest.raises(
        ValueError, match=r"schedule must be one of .*; got 'onecycle'; did you mean 'one_cycle'"
    ):
        fit(
            Point(),
            lambda _: torch.zeros(()),
            n_steps=5,
            learning_rate=0.1,
            generator=seeded(),
            schedule="onecycle",
        )
