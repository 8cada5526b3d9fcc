"""Where a chapter runs: its style, device, threads and random streams, and how it shows that it is at work."""

import os
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TypeVar

import torch
from tqdm import tqdm

from regularity.foundations.checks import check_at_least
from regularity.foundations.randomness import child_seed, stream
from regularity.lab.figures import use_book_style

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Session:
    """What `begin` set up.

    Attributes
    ----------
    seed
        Of the whole chapter.
    device
        Where its tensors live.
    """

    seed: int
    device: torch.device

    def stream(self, *names: str | int) -> torch.Generator:
        """Give a source of randomness of its own for each purpose.

        Parameters
        ----------
        names
            What it is for: "networks", 3. Other names, or another seed, give an independent stream.

        Returns
        -------
        A generator on the CPU, whose numbers are the same on every machine; move what it drew to `device`.

        Raises
        ------
        ValueError
            If no name is given.
        """
        return stream(self.seed, *names)

    def child_seed(self, *names: str | int) -> int:
        """Give a seed for a library that wants an integer; as for `stream`."""
        return child_seed(self.seed, *names)

    def side_by_side(
        self, tasks: Mapping[K, Callable[[], T]], description: str = "", *, n_workers: int = 1
    ) -> dict[K, T]:
        """Run independent tasks at the same time, each on one thread.

        Small networks gain little from several threads each, and much from several at a time. Results do not depend
        on `n_workers`, as long as each task draws from a stream of its own.

        Parameters
        ----------
        tasks
            Functions without arguments, by their keys.
        description
            What is being done, for the progress bar.
        n_workers
            How many run at a time: the number of cores on a CPU, 1 on a GPU.

        Returns
        -------
        What each task returned, in the order of the keys.

        Raises
        ------
        ValueError
            If `n_workers` is not positive.
        Exception
            What a task raised, with a note that names the task; tasks that have not started are dropped.
        """
        check_at_least("n_workers", n_workers, 1)
        n_threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(max_workers=n_workers, initializer=torch.set_num_threads, initargs=(1,))
        try:
            keys = {pool.submit(task): key for key, task in tasks.items()}
            done = {}
            for future in progress(as_completed(keys), description, len(keys)):
                if error := future.exception():
                    error.add_note(f"raised by the task {keys[future]!r}")
                done[keys[future]] = future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(n_threads)
        return {key: done[key] for key in tasks}


def begin(seed: int, device: str = "auto", n_threads: int | None = None) -> Session:
    """Begin a chapter: the book's style of figures, a device that is there, threads, and random streams.

    Parameters
    ----------
    seed
        Of all randomness; not negative.
    device
        "auto" (a GPU where there is one, else the CPU), "cpu", "cuda", "cuda:1", ...
    n_threads
        Of torch on the CPU; None: as it is.

    Returns
    -------
    The session.

    Raises
    ------
    ValueError
        If `seed` is negative, the device is not on this machine, or `n_threads` is not positive.
    """
    child_seed(seed, "begin")  # refuses what is no seed, before anything is done with it
    if n_threads is not None:
        check_at_least("n_threads", n_threads, 1)
        torch.set_num_threads(n_threads)
    use_book_style()
    return Session(seed, resolve_device(device))


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
