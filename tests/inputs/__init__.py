"""Valid arguments of every public function of tensors, one file for foundations, data and each chapter.

`tests/test_inputs.py` spoils them one at a time. A chapter's file is ``<part>_<chapter>.py``, and its `EXAMPLES` map
the name of a function to an `Example`; what else stands in a key tells several of one function apart, as in
``"stabilise_variance (gamma)"``.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

CASES = (
    "float32",
    "float32 alone",
    "integer",
    "integers all",
    "non-contiguous",
    "empty",
    "one element",
    "constant",
    "NaN",
    "infinity",
    "huge",
    "overflow",
)


@dataclasses.dataclass(frozen=True)
class Example:
    """Arguments of one call that must succeed.

    Attributes
    ----------
    arguments
        By name; tensors of numbers in float64. A function under the name ``generator`` is called for each call.
    random
        Whether the function draws numbers, which differ between types: then what comes out of another type is
        compared with a call in either type, or not at all.
    tolerance
        Relative error that float32 may have.
    right
        What to accept although the general rule would not, for a reason that stands beside it: for a case, or a case
        and an argument such as ``"infinity candidates"``, a predicate of the result.
    raises
        Errors of the package's own that may answer a spoilt argument, beside ValueError and TypeError.
    """

    arguments: Mapping[str, Any]
    random: bool = False
    tolerance: float = 1e-4
    right: Mapping[str, Callable[[Any], bool]] = dataclasses.field(default_factory=dict)
    raises: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        cases = {key.partition(" ")[0] for key in self.right} - {case.partition(" ")[0] for case in CASES}
        if cases:
            raise ValueError(f"right must name cases out of {', '.join(CASES)}; got {', '.join(cases)}")


def doubles(*values: float) -> torch.Tensor:
    """A row of numbers in double precision."""
    return torch.tensor(values, dtype=torch.float64)
