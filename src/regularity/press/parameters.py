"""Parameters of chapters: read out of their cells, and values for them checked, which papermill does not do."""

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from regularity.press.errors import BookError, nearest, one_line
from regularity.press.files import read_yaml

if TYPE_CHECKING:
    from regularity.press.chapters import Chapter


@dataclass(frozen=True)
class Parameter:
    """A parameter of a chapter, as its cell declares it.

    Attributes
    ----------
    name
        The name.
    type
        The annotation as it is written: "int", "list[float]", "str | None", 'Literal["a", "b"]'.
    default
        The value.
    help
        The comment on its line.
    """

    name: str
    type: str
    default: Any
    help: str

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """The only values that it may have: a `Literal`'s, or the quoted words with which the comment begins.

        Where anything else may stand too, the comment says so first, or lists one word alone.
        """
        annotation = ast.parse(self.type, mode="eval").body
        if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Literal"):
            return _literals(annotation)
        listed = re.match(r'"[^"]*"(?:,? or "[^"]*"|, "[^"]*")+', self.help)
        words = tuple(re.findall('"([^"]*)"', listed[0])) if listed else ()
        return words if self.type == "str" and self.default in words and self.name != "device" else None

    def parse(self, text: str) -> Any:
        """Read a value as it is typed on a command line.

        Parameters
        ----------
        text
            Words as they are, all else as YAML writes it: 1e-3, true, [1, 2]. Where a parameter may be None, null is;
            a text that says null or begins with a quotation mark is then quoted: '"null"'.

        Returns
        -------
        The value.

        Raises
        ------
        ValueError
            If it is of another type; the message says what it must be.
        """
        optional = _may_be_none(self.type)
        is_word = isinstance(self.default, str) or self.type.removesuffix("| None").strip() == "str"
        if is_word and not (optional and (text == "null" or text.startswith('"'))):
            return self.check(text)
        try:
            return self.check(read_yaml(text))
        except yaml.YAMLError:
            raise ValueError(self._demand(text)) from None

    def write(self, value: Any) -> str:
        """Write a value so that `parse` reads it again; for commands that repeat a run."""
        if isinstance(value, str) and not (
            _may_be_none(self.type) and (value == "null" or value.startswith('"'))
        ):
            return value
        return json.dumps(value, ensure_ascii=False)

    def check(self, value: Any) -> Any:
        """Check a value that was read from YAML.

        Returns
        -------
        The value, with integers made floats where floats are asked for.

        Raises
        ------
        ValueError
            If it is of another type, not finite, or none of the choices.
        """
        choices = self.choices
        try:
            checked = _checked(value, ast.parse(self.type, mode="eval").body, self.default)
        except TypeError:
            if choices is not None and self.type != "str":
                raise ValueError(f"must be one of {', '.join(map(repr, choices))}; got {value!r}") from None
            raise ValueError(self._demand(value)) from None
        if choices is not None and checked not in choices:
            raise ValueError(f"must be one of {', '.join(map(repr, choices))}; got {value!r}")
        if self.name == "seed" and checked < 0:
            raise ValueError(f"must not be negative; got {value!r}")
        return checked

    def _demand(self, value: Any) -> str:
        kinds = _kinds(self.default) if self.type == "list" else ()
        wanted = f"list[{kinds[0]}]" if len(kinds) == 1 else self.type
        written = ", written [1, 2, ...] as YAML does" if wanted.startswith("list") else ""
        return f"must be {wanted}{written}; got {value!r}"


def _literals(annotation: ast.Subscript) -> tuple[Any, ...]:
    """The values of a `Literal`."""
    inner = annotation.slice
    entries = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    return tuple(ast.literal_eval(ast.Tuple(entries, ast.Load())))


def _may_be_none(type_name: str) -> bool:
    return "None" in re.split(r"[ |]+", type_name) or type_name.startswith("Optional[")


def _kinds(entries: list[Any] | None) -> tuple[str, ...]:
    """The types of what a list holds; one with whole numbers and others holds floats."""
    kinds = {type(entry).__name__ for entry in entries or ()}
    return ("float",) if kinds == {"int", "float"} else tuple(kinds)


def _checked(value: Any, annotation: ast.expr, default: Any) -> Any:
    """Give a value the type of an annotation, or raise a TypeError; a bare `list` holds what its default holds."""
    match annotation:
        case ast.Constant(value=None) if value is None:
            return value
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            try:
                return _checked(value, left, default)
            except TypeError:
                return _checked(value, right, default)
        case ast.Name(id="float") if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:  # of a whole number of hundreds of digits
                raise TypeError(value) from None
            if math.isfinite(number):
                return number
        case ast.Name(id="int" | "bool" | "str" as name) if type(value).__name__ == name:
            return value
        case ast.Name(id="list") if isinstance(value, list):
            kinds = _kinds(default)
            if len(kinds) != 1:
                return value
            return [_checked(entry, ast.Name(kinds[0]), default[0]) for entry in value]
        case ast.Subscript(value=ast.Name(id="list"), slice=inner) if isinstance(value, list):
            return [_checked(entry, inner, (default or [None])[0]) for entry in value]
        case ast.Subscript(value=ast.Name(id="Literal") | ast.Attribute(attr="Literal")):
            if any(value == choice and type(value) is type(choice) for choice in _literals(annotation)):
                return value
        case ast.Subscript(value=ast.Name(id="Optional") | ast.Attribute(attr="Optional"), slice=inner):
            return value if value is None else _checked(value, inner, default)
    raise TypeError(value)


def parameters_in(source: str) -> dict[str, Parameter]:
    """Read the parameters out of the source of their cell.

    Parameters
    ----------
    source
        The cell: one assignment of a literal a parameter, with a comment each, and nothing else.

    Returns
    -------
    The parameters by name, in order.

    Raises
    ------
    SyntaxError
        If the cell is not Python.
    ValueError
        If a parameter is no literal, or a line assigns none.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    tree = ast.parse(source, "the cell tagged parameters")
    comments = {
        token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT
    }
    found = {}
    for node in tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value, annotation=annotation):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                annotation = None
            case ast.Expr(value=ast.Constant(value=str())) | ast.Import() | ast.ImportFrom():
                continue  # a docstring, or the import of what annotations name
            case _:
                line = ast.unparse(node).split("\n")[0]
                raise ValueError(f"its parameters must be lines `name: type = literal`; got {line!r}")
        try:
            default = ast.literal_eval(value)
        except (ValueError, TypeError):
            raise ValueError(f"{name} must be a plain literal; got {ast.unparse(value)}") from None
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body  # written as a string
        type_name = ast.unparse(annotation).replace("'", '"') if annotation else type(default).__name__
        told = comments.get(node.end_lineno, comments.get(node.lineno, ""))
        found[name] = Parameter(name, type_name, default, told)
    return found


def read_parameters(
    chapter: "Chapter", pairs: Iterable[tuple[str, str]] = (), file: str | None = None
) -> dict[str, Any]:
    """Read parameters of a run: those of a file, then those of the command line, which win.

    Parameters
    ----------
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
    checked = {}
    if file is not None:
        path = chapter.parameter_file(file)
        checked = {
            name: check_value(chapter, name, value, f" in {path}") for name, value in _read_file(path).items()
        }
    for name, text in pairs:
        checked[name] = parse_value(chapter, name, text)
    return without_defaults(chapter, checked)


def without_defaults(chapter: "Chapter", parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the parameters that equal their defaults."""
    return {name: value for name, value in parameters.items() if value != chapter.parameters[name].default}


def parse_value(chapter: "Chapter", name: str, text: str) -> Any:
    """Read a value as typed on a command line, by the type that the chapter gives the parameter.

    Parameters
    ----------
    name
        Of the parameter.
    text
        The value; lists as YAML writes them: [1, 2].

    Returns
    -------
    The value.

    Raises
    ------
    BookError
        If the parameter is unknown, or the value is of another type or none of its choices.
    """
    try:
        return _parameter(chapter, name).parse(text)
    except ValueError as error:
        raise BookError(f"{name} of {chapter.name} {error}") from None


def parse_values(chapter: "Chapter", name: str, text: str) -> list[Any]:
    """Read several values between commas; lists among them in their brackets. The rest as for `parse_value`."""
    if _parameter(chapter, name).type.startswith("list"):
        try:
            entries = read_yaml(f"[{text}]")
        except yaml.YAMLError:
            entries = [text]
        return [check_value(chapter, name, entry) for entry in entries]
    return [parse_value(chapter, name, part.strip()) for part in text.split(",")]


def check_value(chapter: "Chapter", name: str, value: Any, where: str = "") -> Any:
    """Check a value as YAML gives it; `where` says for the message where it stood. The rest as for `parse_value`."""
    try:
        return _parameter(chapter, name, where).check(value)
    except ValueError as error:
        raise BookError(f"{name} of {chapter.name} {error}{where}") from None


def _parameter(chapter: "Chapter", name: str, where: str = "") -> Parameter:
    if name not in chapter.parameters:
        there = nearest(name, chapter.parameters)
        raise BookError(f"{chapter.name} has no parameter {name!r}{where}; {there}")
    return chapter.parameters[name]


def _read_file(path: Path) -> dict[str, Any]:
    try:
        given = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BookError(f"cannot read parameters from {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BookError(f"{path} is not YAML: {one_line(error)}") from None
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
    if name == "meta":  # torch's device for tensors without numbers
        raise BookError("device must be one that computes; got 'meta'")
    if name not in ("auto", "cpu"):
        from regularity.lab.session import resolve_device

        try:
            resolve_device(name)
        except ValueError as error:
            raise BookError(str(error)) from None
