"""One training loop for the whole book: explicit randomness, best weights kept, checkpoint and resume."""

import math
import os
import pickle
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from regularity.foundations.checks import check_at_least, check_positive
from regularity.foundations.choices import choose

Schedule = Literal["one_cycle", "constant", "halfway_tenth", "cosine"]


def _one_cycle(optimiser: Optimizer, n_steps: int) -> LRScheduler:
    return lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in optimiser.param_groups], total_steps=n_steps
    )


def _cosine(optimiser: Optimizer, n_steps: int) -> LRScheduler:
    return lr_scheduler.LambdaLR(optimiser, lambda step: (1 + math.cos(math.pi * step / n_steps)) / 2)


SCHEDULES: Mapping[str, Callable[[Optimizer, int], LRScheduler]] = MappingProxyType(
    {
        "one_cycle": _one_cycle,
        "constant": lambda optimiser, n_steps: lr_scheduler.LambdaLR(optimiser, lambda step: 1.0),
        "halfway_tenth": lambda optimiser, n_steps: lr_scheduler.MultiStepLR(
            optimiser, [max(n_steps // 2, 1)], gamma=0.1
        ),
        "cosine": _cosine,
    }
)


def train(
    update: Callable[[int], Float[Tensor, "*runs"]],
    *,
    n_steps: int,
    observe: Callable[[Tensor], None] | None = None,
    every: int = 100,
    done: Float[Tensor, " steps *runs"] | None = None,
    steps: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Float[Tensor, " n_steps *runs"]:
    """Run a training: update, look that the losses stay finite, observe now and then.

    `fit` is this loop with Adam and a checkpoint. Use it as it stands where an update is more than one gradient of
    one loss, or where several runs train side by side.

    Parameters
    ----------
    update
        Takes a step, counted from 0, and returns its loss: a number, or one a run.
    n_steps
        Number of steps.
    observe
        Called with the losses so far, one a step, after every `every` steps and after the last: to evaluate, to keep
        the best weights (`Best`), to write a checkpoint.
    every
        Steps between two observations.
    done
        Losses of the steps that an earlier call has done; this one goes on behind them.
    steps
        Wraps the steps: a progress bar.

    Returns
    -------
    The loss at each step, where it was computed.

    Raises
    ------
    ValueError
        If `n_steps` or `every` is below 1.
    FloatingPointError
        If a loss stops being finite; the message names the step, and the run where there are several.

    Examples
    --------
    >>> def halve(step):
    ...     return torch.tensor(0.5**step)
    >>> train(halve, n_steps=3, observe=lambda losses: print("steps:", len(losses)), every=2)
    steps: 2
    steps: 3
    tensor([1.0000, 0.5000, 0.2500])
    """
    check_at_least("n_steps", n_steps, 1)
    check_at_least("every", every, 1)
    first = 0 if done is None else len(done)
    history, looked_at = None, first
    for step in steps(range(first, n_steps)):
        loss = update(step).detach()
        if history is None:
            history = loss.new_full((n_steps, *loss.shape), math.nan)
            if done is not None:
                history[:first] = done
        history[step] = loss
        n_done = step + 1
        observes = n_done % every == 0 or n_done == n_steps
        # Looking at every value would make a GPU wait at each step; what is observed is never a broken training.
        if observes or n_done % 100 == 0:
            _check_finite(history, looked_at, n_done)
            looked_at = n_done
        if observes and observe is not None:
            observe(history[:n_done])
    return done if history is None else history


def _check_finite(history: Tensor, first: int, last: int) -> None:
    broken = torch.nonzero(~torch.isfinite(history[first:last]))
    if len(broken):
        step, *run = broken[0].tolist()
        step += first
        value = history[(step, *run)].item()
        whose = f" of run {run[0]}" if run else ""
        advice = (
            "try a smaller learning_rate"
            if step
            else "no update has been made yet, so look at the data, the batches and the first weights"
        )
        raise FloatingPointError(f"the loss{whose} is {value} at step {step}; {advice}")


class Best:
    """The weights of the best evaluation so far, of each of several runs that train side by side.

    Parameters
    ----------
    weights
        Parameters, all with a leading axis of runs.
    n_runs
        Number of runs.

    Raises
    ------
    ValueError
        If a weight lacks the axis of runs.

    Examples
    --------
    >>> weights = torch.tensor([[1.0], [1.0]])
    >>> best = Best([weights], n_runs=2)
    >>> best.keep(torch.tensor([3.0, 3.0]))
    >>> _ = weights.copy_(torch.tensor([[2.0], [2.0]]))
    >>> best.keep(torch.tensor([1.0, 4.0]))  # better for the first run alone
    >>> best.restore()
    >>> weights[:, 0]
    tensor([2., 1.])
    """

    def __init__(self, weights: Iterable[Tensor], n_runs: int) -> None:
        self._weights = list(weights)
        if any(weight.ndim == 0 or len(weight) != n_runs for weight in self._weights):
            raise ValueError(f"every weight must have a leading axis of {n_runs} runs")
        self._kept = [weight.detach().clone() for weight in self._weights]
        self.lowest = torch.full((n_runs,), math.inf, device=self._weights[0].device)

    @torch.no_grad()
    def keep(self, values: Float[Tensor, " runs"]) -> None:
        """Keep the present weights of the runs whose value is at most their lowest so far (for a score: minus it)."""
        better = values <= self.lowest
        self.lowest = torch.where(better, values, self.lowest)
        for kept, weight in zip(self._kept, self._weights, strict=True):
            kept[better] = weight[better]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the best weights back."""
        for kept, weight in zip(self._kept, self._weights, strict=True):
            weight.copy_(kept)


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
        "one_cycle", "constant", "halfway_tenth" (a tenth from the middle on), or "cosine" (half a cosine down to 0).
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
        If `n_steps`, `learning_rate` or `checkpoint_every` is not positive, there is no such schedule, or the
        checkpoint is damaged or belongs to another fit.
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
    check_at_least("n_steps", n_steps, 1)
    check_positive("learning_rate", learning_rate)
    check_at_least("checkpoint_every", checkpoint_every, 1)
    schedule_of = choose("schedule", schedule, SCHEDULES)
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=betas, fused=True)
    scheduler = schedule_of(optimiser, n_steps)
    device = next(network.parameters()).device
    settings = {
        "n_steps": n_steps,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "betas": list(betas),
    }

    history = None
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None and path.exists():
        saved = _load(path, device)
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
        history = saved["history"][: saved["step"]]

    def update(step: int) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        value = loss(step)
        value.backward()
        optimiser.step()
        scheduler.step()
        return value

    def save(losses: Tensor) -> None:
        _save_atomically(
            path,
            {
                "settings": settings,
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "scheduler": scheduler.state_dict(),
                "generator": generator.get_state(),
                "history": losses.clone(),
                "step": len(losses),
            },
        )

    observe = save if path is not None else None
    return train(
        update, n_steps=n_steps, observe=observe, every=checkpoint_every, done=history, steps=steps
    ).cpu()


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in state.items()}


_SAVED = {"settings", "network", "optimiser", "scheduler", "generator", "history", "step"}


def _load(path: Path, device: torch.device) -> dict:
    """Read a checkpoint, or say in one line that it is none."""
    content = BytesIO(path.read_bytes())
    try:
        saved = torch.load(content, map_location=device, weights_only=True)
    except (
        OSError,
        EOFError,
        pickle.UnpicklingError,
        RuntimeError,
        TypeError,
        ValueError,
        KeyError,
    ) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"checkpoint {path} is damaged ({reason}); remove it or name another file") from None
    if not isinstance(saved, dict) or not saved.keys() >= _SAVED:
        raise ValueError(f"checkpoint {path} is of something else; remove it or name another file")
    return saved


def _save_atomically(path: Path, state: dict) -> None:
    """Write beside the file, then rename: a reader sees the old checkpoint or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    torch.save(state, unfinished)
    os.replace(unfinished, path)
