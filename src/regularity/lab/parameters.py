"""Parameters from outside: checked against the chapter's own names and types, which papermill does not do."""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from regularity.lab.chapters import SIZES, BookError, Chapter, nearest

_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
}


def read_parameters(
    chapter: Chapter, pairs: Iterable[tuple[str, str]] = (), file: str | None = None
) -> dict[str, Any]:
    """Read parameters of a run: those of a file, then those of the command line, which win.

    Parameters
    ----------
    chapter
        The chapter.
    pairs
        Names and values as typed.
    file
        "gpu" or "paper" (the chapter's own files), the path of another YAML file, or None.

    Returns
    -------
    The parameters that differ from the chapter's defaults, with the chapter's types.

    Raises
    ------
    BookError
        If the file cannot be read, a name is unknown, or a value has the wrong type.
    """
    given = _read_file(chapter, file) if file is not None else {}
    checked = {name: check_value(chapter, name, value) for name, value in given.items()}
    for name, text in pairs:
        checked[name] = parse_value(chapter, name, text)
    defaults = default_values(chapter)
    return {name: value for name, value in checked.items() if value != defaults[name]}


def default_values(chapter: Chapter) -> dict[str, Any]:
    """Read the defaults of a chapter's parameters.

    Parameters
    ----------
    chapter
        The chapter.

    Returns
    -------
    Values by name.
    """
    return {name: ast.literal_eval(entry["default"]) for name, entry in chapter.parameters.items()}


def parse_value(chapter: Chapter, name: str, text: str) -> Any:
    """Read a value as typed on a command line, by the type that the chapter gives the parameter.

    Parameters
    ----------
    chapter
        The chapter.
    name
        Of the parameter.
    text
        The value; lists as YAML writes them ("[1, 2]").

    Returns
    -------
    The value.

    Raises
    ------
    BookError
        If the parameter is unknown or the value is of another type.
    """
    expected = _expected_type(chapter, name)
    if expected == "str":
        return text
    try:
        value = float(text) if expected == "float" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        value = text
    return check_value(chapter, name, value)


def check_value(chapter: Chapter, name: str, value: Any) -> Any:
    """Check a value against the type that the chapter gives the parameter.

    Parameters
    ----------
    chapter
        The chapter.
    name
        Of the parameter.
    value
        As YAML gives it.

    Returns
    -------
    The value; an integer becomes a float where a float is asked for.

    Raises
    ------
    BookError
        If the parameter is unknown or the value is of another type.
    """
    expected = _expected_type(chapter, name)
    if not _has_type(value, expected):
        raise BookError(f"{name} of {chapter.name} must be {expected}; got {value!r}")
    return float(value) if expected == "float" else value


def _expected_type(chapter: Chapter, name: str) -> str:
    if name not in chapter.parameters:
        raise BookError(f"{chapter.name} has no parameter {name!r}; {nearest(name, chapter.parameters)}")
    return chapter.parameters[name]["inferred_type_name"].replace(" ", "")


def _has_type(value: Any, expected: str) -> bool:
    if expected.startswith("list"):
        inner = expected.removeprefix("list").strip("[]")
        return isinstance(value, list) and (not inner or all(_has_type(entry, inner) for entry in value))
    is_right = isinstance(value, _TYPES.get(expected, (object,)))
    return is_right and not (isinstance(value, bool) and expected in ("int", "float"))


def _read_file(chapter: Chapter, file: str) -> dict[str, Any]:
    path = chapter.parameter_file(file) if file in SIZES else Path(file)
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BookError(f"cannot read parameters from {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise BookError(f"{path} is not YAML") from None
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BookError(f"{path} must hold lines `name: value`; got a {type(given).__name__}")
    return given


def check_device(parameters: Mapping[str, Any]) -> None:
    """Refuse a device that is not on this machine, before anything runs.

    Parameters
    ----------
    parameters
        Of the run.

    Raises
    ------
    BookError
        If the device is not there.
    """
    name = parameters.get("device", "auto")
    if name not in ("auto", "cpu"):
        from regularity.lab.session import resolve_device

        try:
            resolve_device(name)
        except ValueError as error:
            raise BookError(str(error)) from None
