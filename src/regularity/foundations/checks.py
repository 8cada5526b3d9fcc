"""What the public functions refuse alike, each with a message that names the argument and what was given."""

import torch
from torch import Tensor


def check_positive(name: str, value: int | float | Tensor) -> None:
    """Refuse a parameter that is not a positive, finite number (or tensor of such numbers).

    Parameters
    ----------
    name
        What the caller calls the parameter, for the message.
    value
        A number, or a tensor of any shape.

    Raises
    ------
    ValueError
        If `value`, or any entry of it, is not positive and finite.
    """
    entries = torch.as_tensor(value, dtype=torch.float64)
    if not bool((torch.isfinite(entries) & (entries > 0)).all()):
        given = value if not isinstance(value, Tensor) else f"a tensor with minimum {entries.min().item():g}"
        raise ValueError(f"{name} must be positive and finite; got {given}")


def check_at_least(name: str, value: int | float, least: int | float) -> None:
    """Refuse a count, or another number, that is too small.

    Parameters
    ----------
    name
        What the caller calls the parameter, for the message.
    value
        The number.
    least
        The smallest that is allowed.

    Raises
    ------
    ValueError
        If `value` is below `least`, or NaN.
    """
    if not value >= least:
        raise ValueError(f"{name} must be at least {least}; got {value}")


def check_finite(name: str, values: Tensor) -> None:
    """Refuse a tensor with an entry that is NaN or infinite.

    Parameters
    ----------
    name
        What the caller calls the tensor, for the message.
    values
        Any shape.

    Raises
    ------
    ValueError
        If an entry is not finite.
    """
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} must be finite; got NaN or infinity")
