"""What the public functions take and refuse alike, each refusal with the argument's name and what was given.

A public function brings its tensors to one floating type at the door, by `as_floats`: whole numbers are converted,
and no parameter is ever cast to the type of whole numbers, where 0.9 would be 0.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

# --- Tensors -----------------------------------------------------------------------------------------------------


def as_floats(
    *,
    finite: bool = True,
    empty: bool = False,
    integers: torch.dtype | None = None,
    **tensors: Tensor | int | float | None,
) -> tuple[Tensor | int | float | None, ...]:
    """Bring tensors to one floating type, and refuse by name what cannot be right.

    Parameters
    ----------
    finite
        Whether to refuse NaN and infinity.
    empty
        Whether to let tensors without entries pass.
    integers
        The type when no tensor is floating; None: torch's default. Large counts want float64: float32 holds whole
        numbers up to 2²⁴ only.
    tensors
        The arguments by name. Plain numbers and None come back as they are.

    Returns
    -------
    The tensors in the order given, all of the widest floating type among them (0-dimensional ones count only where
    there are no others, as in torch's own arithmetic).

    Raises
    ------
    TypeError
        If one is no tensor, or complex.
    ValueError
        If one has no entries, or one that is NaN or infinite.

    Examples
    --------
    >>> as_floats(noisy=torch.tensor([3, 4]), noise_std=0.5)
    (tensor([3., 4.]), 0.5)
    """
    given = {name: values for name, values in tensors.items() if isinstance(values, Tensor)}
    for name, values in tensors.items():
        if name not in given and values is not None and not isinstance(values, int | float):
            raise TypeError(f"{name} must be a tensor; got {type(values).__name__}")
    for name, values in given.items():
        if values.is_complex():
            raise TypeError(f"{name} must be real; got {values.dtype}")
        if not empty and values.numel() == 0:
            raise ValueError(f"{name} must have at least one entry; got shape {tuple(values.shape)}")
    floating = [values for values in given.values() if values.is_floating_point()]
    wide = [values.dtype for values in floating if values.ndim] or [values.dtype for values in floating]
    dtype = _widest(wide or [integers or torch.get_default_dtype()])
    converted = {name: values.to(dtype) for name, values in given.items()}
    if finite:
        for name, values in (tensors | converted).items():
            if values is not None:
                check_finite(name, values)
    return tuple(converted.get(name, values) for name, values in tensors.items())


def _widest(types: Iterable[torch.dtype]) -> torch.dtype:
    first, *others = types
    for other in others:
        first = torch.promote_types(first, other)
    return first


def as_unit_interval(name: str, values: Tensor) -> Tensor:
    """Take numbers between 0 and 1, as intensities and coordinates are; scaling may have rounded them just beyond.

    Parameters
    ----------
    name
        What the caller calls the tensor, for the message.
    values
        Any shape.

    Returns
    -------
    The numbers in a floating type. What lies beyond 0 or 1 by rounding (four units in the last place) is put there.

    Raises
    ------
    TypeError
        If `values` is no tensor, or complex.
    ValueError
        If there are no entries, or one is NaN, below 0 or above 1.

    Examples
    --------
    >>> as_unit_interval("intensities", torch.tensor([0.5, 1 + 1.2e-7]))
    tensor([0.5000, 1.0000])
    """
    (values,) = as_floats(finite=False, **{name: values})
    low, high = (end.item() for end in values.detach().aminmax())
    slack = 4 * torch.finfo(values.dtype).eps
    if low >= 0 and high <= 1:
        return values
    if low >= -slack and high <= 1 + slack:
        return values.clamp(0, 1)
    digits = float if values.dtype == torch.float64 else np.float32  # as many as tell the number from 0 and 1
    got = "NaN" if low != low else f"a range of [{digits(low)!s}, {digits(high)!s}]"
    raise ValueError(f"{name} must be in [0, 1]; got {got}")


def check_floating(name: str, values: Tensor) -> None:
    """Refuse a tensor of whole or complex numbers. For functions in inner loops, which `as_floats` would slow down.

    Parameters
    ----------
    name
        What the caller calls the tensor, for the message.
    values
        Any shape.

    Raises
    ------
    TypeError
        If the type is not floating.
    """
    if not values.is_floating_point():
        raise TypeError(f"{name} must be of a floating type; got {values.dtype}")


def check_not_negative(name: str, values: Tensor | int | float) -> None:
    """Refuse a number, or a tensor with an entry, below zero.

    Parameters
    ----------
    name
        What the caller calls it, for the message.
    values
        A number, or a tensor of any shape.

    Raises
    ------
    ValueError
        If an entry is negative, or NaN.
    """
    entries = torch.as_tensor(values)
    if not bool((entries >= 0).all()):
        raise ValueError(f"{name} must not be negative; got {entries.min().item():g}")


def check_finite(name: str, values: Tensor | int | float) -> None:
    """Refuse a number, or a tensor with an entry, that is NaN or infinite.

    Parameters
    ----------
    name
        What the caller calls it, for the message.
    values
        A number, or a tensor of any shape.

    Raises
    ------
    ValueError
        If an entry is not finite.
    """
    if not bool(torch.isfinite(torch.as_tensor(values)).all()):
        raise ValueError(f"{name} must be finite; got NaN or infinity")


def check_squares(name: str, values: Tensor) -> None:
    """Refuse numbers so large that the sum of their squares overflows: in float32 from about 10¹⁸ on.

    Parameters
    ----------
    name
        What the caller calls the tensor, for the message.
    values
        Finite numbers of a floating type, any shape with entries.

    Raises
    ------
    ValueError
        If the largest is too large.
    """
    largest = values.detach().abs().max().item()
    bound = (torch.finfo(values.dtype).max / values.numel()) ** 0.5 / 10
    if not largest < bound:
        raise ValueError(f"{name} must be below {bound:.0e}, or its squares overflow; got {largest:g}")


# --- Numbers -----------------------------------------------------------------------------------------------------


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
        If `value`, or any entry of it, is not positive and finite, or it has no entries.
    """
    entries = torch.as_tensor(value, dtype=torch.float64)
    if entries.numel() == 0:
        raise ValueError(f"{name} must have at least one entry; got shape {tuple(entries.shape)}")
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
