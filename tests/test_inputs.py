"""Every public function of tensors gives float64's answer to any kind of tensor, or an error by the argument's name.

The functions are found in the modules: a new one fails here until it has an entry in `tests/inputs`.
"""

import dataclasses
import functools
import importlib.util
import inspect
import math
import pkgutil
import re
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

import regularity
from tests.inputs import Example

pytestmark = pytest.mark.bad_input

# Chapters whose files in `tests/inputs` are not written yet: to be emptied.
NOT_YET: list[str] = []
SHARED = ["foundations", "data"]


# --- What is tested ----------------------------------------------------------------------------------------------


def subjects() -> list[str]:
    """Foundations, data, and the chapters: the modules and packages right below a part."""
    top = Path(regularity.__file__).parent
    parts = [path for path in sorted(top.iterdir()) if (path / "__init__.py").is_file()]
    chapters = [
        f"{part.name}.{found.name}"
        for part in parts
        if part.name not in (*SHARED, "lab", "press")
        for found in pkgutil.iter_modules([str(part)])
    ]
    return SHARED + chapters


def modules(subject: str) -> Iterator[types.ModuleType]:
    module = importlib.import_module(f"regularity.{subject}")
    yield module
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        # An experiment's inputs are the notebook's parameters, and checks are what the others call.
        if found.name not in ("experiment", "checks"):
            yield importlib.import_module(f"{module.__name__}.{found.name}")


def of_tensors(annotation: Any) -> bool:
    """Say whether an annotation is a tensor's, or that of a collection of tensors; not what a callable takes."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return issubclass(annotation, Tensor | jaxtyping.AbstractArray)
    if typing.get_origin(annotation) is typing.get_origin(Callable[[int], int]):
        return False
    return any(of_tensors(part) for part in typing.get_args(annotation))


@functools.cache
def functions(subject: str) -> dict[str, Callable]:
    """Public functions with a parameter of tensors, by name."""
    found = {}
    for module in modules(subject):
        for name, value in vars(module).items():
            if name.startswith("_") or not inspect.isfunction(value) or value.__module__ != module.__name__:
                continue
            hints = typing.get_type_hints(value)
            if any(of_tensors(hints[argument]) for argument in inspect.signature(value).parameters):
                found[name] = value
    return found


def function_of(key: str) -> str:
    """Read the function's name off an entry, such as ``"stabilise_variance (gamma)"``."""
    return key.partition(" ")[0]


def examples(subject: str) -> Mapping[str, Example]:
    name = f"tests.inputs.{subject.replace('.', '_')}"
    return importlib.import_module(name).EXAMPLES if importlib.util.find_spec(name) else {}


READY = [subject for subject in subjects() if subject not in NOT_YET]
CALLS = [(subject, name) for subject in READY for name in examples(subject)]


# --- What is done to the arguments -------------------------------------------------------------------------------


def converted(value: Any, dtype: torch.dtype) -> Any:
    """Replace every floating tensor within by one of another type."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: converted(getattr(value, f.name), dtype) for f in dataclasses.fields(value) if f.init
        }
        return dataclasses.replace(value, **fields)
    if isinstance(value, Mapping):
        return {key: converted(part, dtype) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(converted(part, dtype) for part in value)
    return value


def with_entry(values: Tensor, entry: float) -> Tensor:
    """Put one number into the middle."""
    spoilt = values.clone().reshape(-1)
    spoilt[spoilt.numel() // 2] = entry
    return spoilt.reshape(values.shape)


def strided(values: Tensor) -> Tensor:
    """Lay the same numbers out in reverse order of the axes, with gaps between."""
    axes = tuple(reversed(range(values.ndim)))
    turned = values.permute(axes)
    return torch.stack([turned, torch.full_like(turned, torch.nan)], dim=-1)[..., 0].permute(axes)


def cut(arguments: dict[str, Any], name: str, size: int) -> dict[str, Any]:
    """Shorten the first axis of an argument, and of all others that are as long."""
    length = len(arguments[name])
    return arguments | {
        key: value[:size]
        for key, value in arguments.items()
        if isinstance(value, Tensor) and value.ndim and len(value) == length
    }


def spoilt(arguments: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Spoil one argument, in each of the ways that leave no answer to compare with."""
    values = arguments[name]
    if values.ndim:
        yield "empty", cut(arguments, name, 0)
        yield "one element", cut(arguments, name, 1)
    yield "constant", arguments | {name: torch.full_like(values, values.flatten()[0].item())}
    yield "NaN", arguments | {name: with_entry(values, math.nan)}
    yield "infinity", arguments | {name: with_entry(values, math.inf)}
    yield "huge", arguments | {name: values * 1e200}


# --- What may come out -------------------------------------------------------------------------------------------


def numbers(result: Any) -> Iterator[np.ndarray]:
    """All numbers in a result, in order, in double precision; what is no number is left out."""
    if isinstance(result, Tensor):
        real = torch.view_as_real(result) if result.is_complex() else result
        yield real.detach().double().numpy()
    elif isinstance(result, np.ndarray | np.generic | bool | int | float):
        yield np.asarray(result, dtype=float)
    elif isinstance(result, torch.nn.Module):
        yield from numbers(dict(result.state_dict()))
    elif dataclasses.is_dataclass(result):
        yield from numbers([getattr(result, field.name) for field in dataclasses.fields(result)])
    elif isinstance(result, Mapping):
        yield from numbers(list(result.values()))
    elif isinstance(result, list | tuple):
        for part in result:
            yield from numbers(part)


def close(result: Any, expected: Any, tolerance: float) -> bool:
    """Compare all numbers, each array to a share of its largest finite one."""
    ours, theirs = list(numbers(result)), list(numbers(expected))
    if [one.shape for one in ours] != [other.shape for other in theirs]:
        return False
    scales = [np.abs(other[np.isfinite(other)]).max(initial=1e-3) for other in theirs]
    return all(
        np.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
        for one, other, scale in zip(ours, theirs, scales, strict=True)
    )


def has(result: Any, test: Callable[[np.ndarray], np.ndarray]) -> bool:
    return any(bool(test(part).any()) for part in numbers(result))


class Outcome:
    """What a function answers: a result, or an error."""

    def __init__(self, function: Callable, example: Example, arguments: dict[str, Any]) -> None:
        given = {k: v() if k == "generator" and callable(v) else v for k, v in arguments.items()}
        before = {k: v.clone() for k, v in given.items() if isinstance(v, Tensor)}
        self.error: Exception | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.result = function(**given)
        except Exception as error:
            self.error = error
        names = inspect.signature(function).parameters
        self.refused = isinstance(self.error, ValueError | TypeError) and not isinstance(
            self.error, UnicodeError | np.linalg.LinAlgError | torch.linalg.LinAlgError
        )
        self.refused &= any(re.search(rf"\b{name}\b", str(self.error)) for name in names)
        self.refused |= isinstance(self.error, example.raises)
        self.changed = [
            k for k, v in before.items() if not torch.equal(v.nan_to_num(), given[k].nan_to_num())
        ]

    def __str__(self) -> str:
        if self.error is not None:
            return f"{type(self.error).__name__}: {self.error}"
        return f"{list(numbers(self.result))}"[:300]


def faults(function: Callable, example: Example) -> Iterator[str]:
    """Say what is wrong, one line a fault."""
    doubles = dict(example.arguments)
    tensors = [k for k, v in doubles.items() if isinstance(v, Tensor) and v.is_floating_point()]

    def call(arguments: dict[str, Any]) -> Outcome:
        return Outcome(function, example, arguments)

    def singles(arguments: dict[str, Any]) -> dict[str, Any]:
        return {k: converted(v, torch.float32) for k, v in arguments.items()}

    def excused(case: str, name: str, outcome: Outcome) -> bool:
        predicates = [example.right[key] for key in (case, f"{case} {name}") if key in example.right]
        return outcome.error is None and any(predicate(outcome.result) for predicate in predicates)

    def judge(case: str, name: str, outcome: Outcome, right: Callable[[Any], bool]) -> Iterator[str]:
        if outcome.changed:
            yield f"{case} {name}: changes its argument {', '.join(outcome.changed)}"
        fine = outcome.refused or (outcome.error is None and right(outcome.result))
        if not fine and not excused(case, name, outcome):
            yield f"{case} {name}: {outcome}"

    def like(*references: Outcome, tolerance: float = example.tolerance) -> Callable[[Any], bool]:
        return lambda result: any(
            reference.error is None and close(result, reference.result, tolerance) for reference in references
        )

    plain = call(doubles)
    if plain.error is not None or has(plain.result, np.isnan):
        yield f"the example itself: {plain}"
        return
    yield from judge("the example itself", "", plain, lambda result: True)
    single = singles(doubles)
    if not example.random:
        yield from judge("float32", "", call(single), like(plain))
    for name in tensors:
        values = doubles[name]
        if len(tensors) > 1 and not example.random:
            outcome = call(doubles | {name: single[name]})
            yield from judge("float32 alone", name, outcome, like(plain))
        whole = doubles | {name: values.round()}
        outcome = call(doubles | {name: values.round().long()})
        yield from judge("integer", name, outcome, like(call(whole), call(singles(whole))))
        yield from judge(
            "non-contiguous", name, call(doubles | {name: strided(values)}), like(plain, tolerance=1e-9)
        )
        for case, arguments in spoilt(doubles, name):
            outcome = call(arguments)
            if case in ("NaN", "infinity"):
                right = lambda result: has(result, lambda part: ~np.isfinite(part))  # noqa: E731
            else:
                right = lambda result: not has(result, np.isnan)  # noqa: E731
            yield from judge(case, name, outcome, right)
        large = doubles | {name: values * 1e30}
        outcome, reference = call(singles(large)), call(large)
        yield from judge(
            "overflow",
            name,
            outcome,
            lambda result, reference=reference: (
                not has(result, np.isnan)
                and (example.random or has(result, np.isinf) or like(reference)(result))
            ),
        )
    whole = {k: v.round() if k in tensors else v for k, v in doubles.items()}
    outcome = call({k: v.long() if k in tensors else v for k, v in whole.items()})
    yield from judge("integers all", "", outcome, like(call(whole), call(singles(whole))))


# --- The tests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", READY)
def test_every_public_function_of_tensors_has_an_example(subject: str) -> None:
    found, given = functions(subject), examples(subject)
    where, named = f"tests/inputs/{subject.replace('.', '_')}.py", set(map(function_of, given))
    assert not (missing := sorted(set(found) - named)), f"{where} lacks {', '.join(missing)}"
    assert not (stale := sorted(named - set(found))), (
        f"{where} names functions that are gone: {', '.join(stale)}"
    )


def test_chapters_that_are_not_ready_are_chapters() -> None:
    assert set(NOT_YET) <= set(subjects())


@pytest.mark.parametrize(("subject", "name"), CALLS, ids=[f"{subject}.{name}" for subject, name in CALLS])
def test_inputs_are_answered_rightly_or_refused_by_name(subject: str, name: str) -> None:
    function = functions(subject)[function_of(name)]
    assert not (found := list(faults(function, examples(subject)[name]))), "\n" + "\n".join(found)


def test_the_common_test_finds_faults() -> None:
    """Functions that each have one of the faults that it is for."""

    def truncates(noisy: Tensor, weight: Tensor) -> Tensor:
        return noisy + weight.to(noisy.dtype)

    def swallows(noisy: Tensor) -> Tensor:
        return noisy.nansum()

    def divides(noisy: Tensor) -> Tensor:
        return (noisy - noisy.mean()) / noisy.std()

    def overwrites(noisy: Tensor) -> Tensor:
        return noisy.mul_(2)

    def reshapes(noisy: Tensor) -> Tensor:
        return noisy.view(-1)

    def exponentiates(noisy: Tensor) -> Tensor:
        return torch.exp(noisy) / torch.exp(noisy).sum()

    noisy, weight = torch.tensor([[0.3, 1.7], [2.2, 4.1]]).double(), torch.tensor([0.9, 0.4]).double()
    for function, arguments, cases in (
        (truncates, {"noisy": noisy, "weight": weight}, {"integer noisy"}),
        (swallows, {"noisy": noisy}, {"NaN noisy"}),
        (divides, {"noisy": noisy}, {"constant noisy", "integer noisy"}),
        (overwrites, {"noisy": noisy}, {"the example itself "}),
        (reshapes, {"noisy": noisy}, {"non-contiguous noisy"}),
        (exponentiates, {"noisy": noisy}, {"huge noisy", "overflow noisy"}),
    ):
        found = {fault.partition(":")[0] for fault in faults(function, Example(arguments))}
        assert cases <= found, f"{function.__name__}: {found}"
    softmax = Example({"noisy": noisy})
    assert not list(faults(careful_softmax, softmax))


def careful_softmax(noisy: Tensor) -> Tensor:
    """Do what the test asks for."""
    from regularity.foundations.checks import as_floats

    (noisy,) = as_floats(noisy=noisy)
    return torch.softmax(noisy.flatten(), dim=0)
