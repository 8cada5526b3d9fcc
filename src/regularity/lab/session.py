"""Where a chapter runs: its device, its randomness, and how it shows that it is still at work."""

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

import torch
from tqdm import tqdm

T = TypeVar("T")


def resolve_device(name: str) -> torch.device:
    """Turn a chapter's parameter `device` into a device that is there.

    Parameters
    ----------
    name
        "auto" (a GPU where there is one, else the CPU), "cpu", "cuda", "cuda:1", ...

    Returns
    -------
    The device.

    Raises
    ------
    ValueError
        If the name is no device of torch's, or the device is not on this machine.

    Examples
    --------
    >>> from regularity.lab import resolve_device
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # torch raises the first for a name it does not know, the second where there is no cuda, the third where no mps.
    except (RuntimeError, AssertionError, NotImplementedError):
        there = ["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise ValueError(f"device must be one of {', '.join(there)} on this machine; got {name!r}") from None
    return device


def seeded_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a source of randomness from a seed.

    Parameters
    ----------
    seed
        Not negative.
    device
        Where the numbers are drawn; the CPU's are the same on every machine.

    Returns
    -------
    The generator.

    Raises
    ------
    ValueError
        If `seed` is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}")
    return torch.Generator(device).manual_seed(seed)


def progress(iterable: Iterable[T], description: str = "", total: int | None = None) -> Iterable[T]:
    """Show a progress bar to somebody who watches, and nothing where a machine executes.

    Parameters
    ----------
    iterable
        What is worked through.
    description
        What is being done.
    total
        Number of items, where the iterable cannot tell.

    Returns
    -------
    The same items.
    """
    # Jupyter servers name the notebook in JPY_SESSION_NAME; papermill and nbval start kernels without one.
    watched = "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules or sys.stderr.isatty()
    return tqdm(iterable, desc=description, total=total, leave=False, disable=not watched)
