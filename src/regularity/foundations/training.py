"""One fit loop for the whole book: explicit randomness, checkpoint and resume, several trainings side by side."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regularity.foundations.checks import check_at_least

T = TypeVar("T")
Schedule = Literal["one_cycle", "constant", "halfway_tenth"]


def _scheduler(
    optimiser: torch.optim.Optimizer, schedule: Schedule, learning_rate: float, n_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=n_steps)
    drops = [max(n_steps // 2, 1)] if schedule == "halfway_tenth" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimiser, drops, gamma=0.1)


def fit(
    network: nn.Module,
    loss: Callable[[int], Float[Tensor, ""]],
    *,
    n_steps: int,
    learning_rate: float,
    generator: torch.Generator,
    schedule: Schedule = "one_cycle",
    betas: tuple[float, float] = (0.9, 0.999),
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    steps: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Float[Tensor, " n_steps"]:
    """Minimise a stochastic loss with Adam, and pick up where a cut-off call left off.

    Parameters
    ----------
    network
        What is trained, in place.
    loss
        Loss at a step, counted from 0. All its randomness must come from `generator`.
    n_steps
        Number of steps.
    learning_rate
        Peak of the one-cycle schedule, or the initial rate of the others.
    generator
        Source of randomness of `loss`; its state is part of the checkpoint.
    schedule
        ``"one_cycle"``, ``"constant"``, or ``"halfway_tenth"`` (a tenth from the middle on).
    betas
        Adam's averaging constants. The one-cycle schedule moves the first from 0.95 to 0.85 and back instead.
    checkpoint
        File that is written every `checkpoint_every` steps, and read at the start where it exists. A resumed fit
        ends bit for bit as an uninterrupted one. None: no checkpoint.
    checkpoint_every
        Steps between two writings.
    steps
        Wraps the steps: a progress bar.

    Returns
    -------
    The loss at each step.

    Raises
    ------
    ValueError
        If `n_steps`, `learning_rate` or `checkpoint_every` is not positive, or the checkpoint belongs to
        another fit.
    FloatingPointError
        If the loss stops being finite; the message names the step.

    References
    ----------
    Kingma and Ba (2015), Adam; Smith and Topin (2019), Super-convergence (one-cycle).

    Examples
    --------
    >>> line, random = nn.Linear(1, 1), torch.Generator().manual_seed(0)
    >>> def loss(step):
    ...     x = torch.rand(8, 1, generator=random)
    ...     return (line(x) - (2 * x + 1)).square().mean()
    >>> history = fit(line, loss, n_steps=2000, learning_rate=0.1, generator=random)
    >>> print(f"slope {line.weight.item():.1f}, intercept {line.bias.item():.1f}")
    slope 2.0, intercept 1.0
    """
    for name, value in (
        ("n_steps", n_steps),
        ("learning_rate", learning_rate),
        ("checkpoint_every", checkpoint_every),
    ):
        if not value > 0:
            raise ValueError(f"{name} must be positive; got {value}")
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=betas, fused=True)
    scheduler = _scheduler(optimiser, schedule, learning_rate, n_steps)
    device = next(network.parameters()).device
    history = torch.full((n_steps,), torch.nan, device=device)
    settings = {
        "n_steps": n_steps,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "betas": list(betas),
    }

    first = 0
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None and path.exists():
        saved = torch.load(path, map_location=device, weights_only=True)
        if saved["settings"] != settings:
            raise ValueError(
                f"checkpoint {path} belongs to another fit: it has {saved['settings']}, this call {settings}; "
                "remove it or name another file"
            )
        if _shapes(saved["network"]) != _shapes(network.state_dict()):
            raise ValueError(f"checkpoint {path} belongs to another network; remove it or name another file")
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        scheduler.load_state_dict(saved["scheduler"])
        generator.set_state(saved["generator"].cpu())
        history, first = saved["history"], saved["step"]

    for step in steps(range(first, n_steps)):
        optimiser.zero_grad(set_to_none=True)
        value = loss(step)
        value.backward()
        optimiser.step()
        scheduler.step()
        history[step] = value.detach()
        done = step + 1
        saves = path is not None and (done % checkpoint_every == 0 or done == n_steps)
        # Looking at every value would make a GPU wait at each step; a checkpoint is never one of a broken fit.
        if saves or done % 100 == 0 or done == n_steps:
            _check_finite(history[:done])
        if saves:
            _save_atomically(
                path,
                {
                    "settings": settings,
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "scheduler": scheduler.state_dict(),
                    "generator": generator.get_state(),
                    "history": history,
                    "step": done,
                },
            )
    return history.cpu()


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in state.items()}


def _check_finite(history: Float[Tensor, " n"]) -> None:
    broken = torch.nonzero(~torch.isfinite(history))
    if len(broken):
        step = int(broken[0])
        raise FloatingPointError(
            f"the loss is {history[step].item()} at step {step}; try a smaller learning_rate"
        )


def _save_atomically(path: Path, state: dict) -> None:
    """Write beside the file, then rename: a reader sees the old checkpoint or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    torch.save(state, unfinished)
    os.replace(unfinished, path)


def run_side_by_side(tasks: Mapping[str, Callable[[], T]], *, n_workers: int) -> Iterator[tuple[str, T]]:
    """Run independent trainings at the same time, each on one thread.

    Small networks gain little from several threads a training, and much from several trainings at a time.
    Results do not depend on `n_workers`, as long as each task draws from a generator of its own.

    Parameters
    ----------
    tasks
        Functions without arguments, by name.
    n_workers
        How many run at a time: the number of cores on a CPU, 1 on a GPU.

    Yields
    ------
    Each task's name and what it returned, in the order of completion.

    Raises
    ------
    ValueError
        If `n_workers` is not positive.
    Exception
        What a task raised, with a note that names the task; tasks that have not started are dropped.

    Examples
    --------
    >>> dict(run_side_by_side({"one": lambda: 1, "two": lambda: 2}, n_workers=1))
    {'one': 1, 'two': 2}
    """
    check_at_least("n_workers", n_workers, 1)
    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(max_workers=n_workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        names = {pool.submit(task): name for name, task in tasks.items()}
        for future in as_completed(names):
            if error := future.exception():
                error.add_note(f"raised by the task {names[future]!r}")
            yield names[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(n_threads)
