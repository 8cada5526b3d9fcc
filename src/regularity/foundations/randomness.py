"""Random streams by name: one seed, and for every purpose numbers that no other purpose sees."""

import hashlib
import json
from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from regularity.foundations.checks import as_floats

# Makes a generator out of names: `lab.Session.stream`, or `functools.partial(stream, seed)`.
Stream = Callable[..., torch.Generator]


def child_seed(seed: int, *names: str | int) -> int:
    """Derive the seed of one purpose from the seed of the whole, the same on every machine.

    Never add to a seed, or multiply it: seeds that differ by a rule meet those of another rule.

    Parameters
    ----------
    seed
        The seed of the whole, not negative.
    names
        What the numbers are for, as words and numbers: ``"networks", 3``. The word "3" is not the number 3, and
        ``"a", "b"`` is not ``"ab"``. Without names: the seed of the whole, for a single purpose.

    Returns
    -------
    A number in [0, 2³²), as large as NumPy, scikit-learn and optuna take it. Torch's generator on a CPU has no more
    seeds either: it looks at the low 32 bits alone. Two of a thousand purposes meet with probability 10⁻⁴.

    Raises
    ------
    TypeError
        If `seed` is no whole number, or a name neither a word nor a whole number.
    ValueError
        If `seed` is negative.

    References
    ----------
    O'Neill (2015), Developing a seed_seq alternative, on which `numpy.random.SeedSequence` builds.

    Examples
    --------
    >>> child_seed(0, "networks", 3)
    3154362470
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number; got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}")
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | Integral):
            raise TypeError(f"names must be words and whole numbers; got {name!r}")
    # JSON tells words from numbers and where one name ends; 128 bits of its hash make a key of four words.
    text = json.dumps([name if isinstance(name, str) else int(name) for name in names])
    key = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u4")
    sequence = np.random.SeedSequence(int(seed), spawn_key=tuple(key.tolist()))
    return int(sequence.generate_state(1)[0])


def stream(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Make the source of random numbers of one purpose.

    Parameters
    ----------
    seed, names
        As for `child_seed`.
    device
        Where the generator lives. The CPU's gives the same numbers on every machine: draw there and move what was
        drawn, unless the drawing itself takes the time.

    Returns
    -------
    A generator that starts from `child_seed(seed, *names)`: the same call gives the same numbers.

    Raises
    ------
    TypeError
        If `seed` is no whole number, or a name neither a word nor a whole number.
    ValueError
        If `seed` is negative.

    Examples
    --------
    >>> noise, networks = stream(0, "noise"), stream(0, "networks", 3)
    >>> torch.rand(2, generator=noise)
    tensor([0.1408, 0.1351])
    """
    return torch.Generator(device=device).manual_seed(child_seed(seed, *names))


def random_signs(
    like: Float[Tensor, "*shape"], generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """Draw −1 or 1 with equal chances (Rademacher's law), independently for each entry.

    Parameters
    ----------
    like
        A tensor of the shape, the type and on the device of what is returned; its values do not count.
    generator
        Where the numbers come from, on any device; None: torch's own, on the device of `like`.

    Returns
    -------
    The signs.

    Raises
    ------
    ValueError
        If `like` has no entries.

    Examples
    --------
    >>> random_signs(torch.zeros(4), stream(0, "probes"))
    tensor([-1.,  1.,  1.,  1.])
    """
    (like,) = as_floats(finite=False, like=like)
    where = like.device if generator is None else generator.device
    return torch.randint(2, like.shape, generator=generator, device=where).to(like) * 2 - 1
