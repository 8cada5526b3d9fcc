"""What the chapter's functions take: numbers of order one, of one floating type, in samples that belong together."""

from torch import Tensor

from regularity.foundations.checks import as_floats, check_at_least

LARGEST = 1e6  # beyond which fourth powers of single precision would overflow


def as_moderate(**tensors: Tensor) -> tuple[Tensor, ...]:
    """Bring tensors to one floating type; refuse what is not finite, or far from order one, by name."""
    converted = as_floats(**tensors)
    for name, values in zip(tensors, converted, strict=True):
        largest = values.detach().abs().max().item()
        if largest > LARGEST:
            raise ValueError(f"{name} must be of order one, at most {LARGEST:g}; got {largest:g}")
    return converted


def check_axis(name: str, values: Tensor, axis: int, size: int) -> None:
    """Refuse a tensor that does not have d entries along an axis, as the inputs have."""
    if values.ndim < 2 or values.shape[axis] != size:
        raise ValueError(
            f"{name} must have {size} entries along axis {axis}; got shape {tuple(values.shape)}"
        )


def check_samples(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Refuse samples without labels, and labels that say nothing."""
    inputs, labels = as_moderate(inputs=inputs, labels=labels)
    if inputs.ndim != 2 or labels.shape != inputs.shape[:1]:
        raise ValueError(
            f"labels must have one entry a row of inputs; got {tuple(labels.shape)} for {tuple(inputs.shape)}"
        )
    check_at_least("number of inputs", len(inputs), 2)
    if not (labels - labels[0]).any():
        raise ValueError(f"labels must not all be the same; got {labels[0].item():g} {len(labels)} times")
    return inputs, labels
