"""Digests: by which version of its code a page was made.

A digest is of code cells and of every definition of this package that they reach: functions, classes and
constants, followed through imports, re-exports and attributes of modules. Each counts as its source text without
docstrings, comments and blank lines. The text is cut by position, never written anew out of a syntax tree, so that
the digest is the same on every version of Python. This module needs nothing but the standard library.

How the lab presents things to a reader (`PRESENTATION`) is left out: a new style of tables makes no result stale.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "regularity"
PRESENTATION = frozenset(
    f"{PACKAGE}.lab.{name}" for name in ("figures", "glued", "sources", "tables", "verdicts")
)

# Whoever reads from left to right meets a comment or a string first; what is inside of it is neither.
_COMMENT_OR_STRING = re.compile(
    r'''\#[^\n]*
    | """ [^"\\]* (?: (?: \\. | "(?!"") ) [^"\\]* )* """
    | \'\'\' [^'\\]* (?: (?: \\. | '(?!'') ) [^'\\]* )* \'\'\'
    | " [^"\\\n]* (?: \\. [^"\\\n]* )* "
    | ' [^'\\\n]* (?: \\. [^'\\\n]* )* '
    ''',
    re.DOTALL | re.VERBOSE,
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def digest(cells: Iterable[str], sources: Path) -> str:
    """Tell the version of some code cells and of all that they reach.

    Parameters
    ----------
    cells
        The sources of the code cells, in order.
    sources
        The folder that holds the package: `src` of a checkout.

    Returns
    -------
    Twelve hexadecimal digits.

    Raises
    ------
    SyntaxError
        If a cell or a module is not Python; its `filename` says which.
    """
    parsed = [_parse(f"code cell {number}", False, cell) for number, cell in enumerate(cells, 1)]
    texts = ["\n".join(cell.lines(1, len(cell.rows))) for cell in parsed]
    return short_hash([*texts, *sorted(_Reach(sources).from_cells(parsed))])


def short_hash(texts: Iterable[str]) -> str:
    """Hash texts into twelve hexadecimal digits, as short as a reader can bear and long enough for a book."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


class _Reference(NamedTuple):
    """A name, and the attributes asked of it, looked up in a module; no names at all: the module itself."""

    module: str
    names: tuple[str, ...]

    def then(self, names: tuple[str, ...]) -> "_Reference":
        return _Reference(self.module, self.names + names)


class _Reach:
    """Follows references through the package, and keeps the text of every definition that it meets."""

    def __init__(self, sources: Path) -> None:
        self.sources = sources
        self.modules: dict[str, _Module | None] = {}
        self.texts: set[str] = set()

    def from_cells(self, cells: list["_Module"]) -> set[str]:
        """Start from code cells, which share one namespace; return the texts."""
        imports: dict[str, list[_Reference]] = {}
        for cell in cells:
            for name, targets in cell.imports.items():
                imports.setdefault(name, []).extend(targets)
        waiting = []
        for cell in cells:
            for number in range(len(cell.statements)):
                for reference in cell.references(number):
                    if reference.module == cell.name:  # a name of the notebook's own
                        first, *rest = reference.names
                        waiting += [target.then(tuple(rest)) for target in imports.get(first, ())]
                    else:  # a name imported inside a function
                        waiting.append(reference)
        seen = set()
        while waiting:
            reference = waiting.pop()
            if reference not in seen:
                seen.add(reference)
                waiting += self._follow(reference)
        return self.texts

    def _follow(self, reference: _Reference) -> Iterator[_Reference]:
        """Keep what a reference names, and yield what that refers to."""
        module = self._module(reference.module)
        if module is None:
            return
        if not reference.names:
            yield from self._keep(module, range(len(module.statements)), whole=True)
            return
        name, rest = reference.names[0], reference.names[1:]
        if name in module.definitions:
            yield from self._keep(module, [*module.definitions[name], *module.others])
        if name in module.imports:
            yield from (target.then(rest) for target in module.imports[name])
        elif name in module.lazy:
            yield _Reference(f"{module.name}.{module.lazy[name]}", reference.names)
        elif name not in module.definitions:
            if self._module(f"{module.name}.{name}") is not None:
                yield _Reference(f"{module.name}.{name}", rest)
            elif "*" in module.imports:
                yield from (_Reference(target.module, reference.names) for target in module.imports["*"])
            elif "__getattr__" in module.definitions and not (module.lazy or name.startswith("__")):
                yield _Reference(module.name, ("__getattr__",))

    def _keep(
        self, module: "_Module", numbers: Iterable[int], *, whole: bool = False
    ) -> Iterator[_Reference]:
        for number in numbers:
            if number in module.kept:
                self.texts.add(f"{module.name}\n{module.text(number)}")
                yield from module.references(number)
        if whole and module.is_package:  # it was handed on as a value: whatever it offers may be asked for
            yield from (target for targets in module.imports.values() for target in targets)
            yield from (_Reference(module.name, (name,)) for name in module.lazy)

    def _module(self, name: str) -> "_Module | None":
        """A module of this package; None for all others, for what only presents, and for what there is not."""
        if name not in self.modules:
            self.modules[name] = None
            if name.split(".")[0] == PACKAGE and name not in PRESENTATION:
                stem = self.sources.joinpath(*name.split("."))
                for path in (stem / "__init__.py", stem.with_suffix(".py")):
                    if path.is_file():
                        text = path.read_text(encoding="utf-8")
                        self.modules[name] = _parse(name, path.name == "__init__.py", text)
                        break
        return self.modules[name]


@cache  # by the text itself: a file that is changed is read anew
def _parse(name: str, is_package: bool, text: str) -> "_Module":
    return _Module(name, is_package, text)


class _Module:
    """A parsed module, or code cell: its top-level statements, sorted by what they do."""

    def __init__(self, name: str, is_package: bool, text: str) -> None:
        self.name = name
        self.is_package = is_package
        self.package = name if is_package else name.rpartition(".")[0]
        self.has_walrus = ":=" in text
        tree = ast.parse(text, filename=name)
        self.statements = tree.body
        self.rows = _significant_rows(text, tree)
        self.definitions: dict[str, list[int]] = {}
        self.imports: dict[str, list[_Reference]] = {}
        self.lazy: dict[str, str] = {}
        self.others: list[
            int
        ] = []  # what runs at import and defines nothing: it counts with every definition
        self.kept: set[int] = set()  # all but imports and the docstring
        self._references: dict[int, frozenset[_Reference]] = {}
        for number, statement in enumerate(self.statements):
            self._sort(number, statement)

    def _sort(self, number: int, statement: ast.stmt) -> None:
        for name, target in self.bound_names(statement):
            if target is not None:
                self.imports.setdefault(name, []).append(target)
            else:
                self.definitions.setdefault(name, []).append(number)
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            self.lazy |= _lazy_names(statement.value)
        if not _only_imports(statement) and not (number == 0 and _is_text(statement)):
            self.kept.add(number)
            if not _defines(statement):
                self.others.append(number)

    def bound_names(self, node: ast.AST) -> Iterator[tuple[str, _Reference | None]]:
        """The names that a statement binds in its own scope, each with what it imports, or None."""
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    name = alias.asname or alias.name.partition(".")[0]
                    yield name, _Reference(alias.name if alias.asname else name, ())
            case ast.ImportFrom(module=module, names=aliases, level=level):
                above = self.package.split(".")
                above = above[: len(above) - level + 1] if level else []
                home = ".".join([*above, *([module] if module else [])])
                for alias in aliases:
                    yield alias.asname or alias.name, _Reference(home, (alias.name,))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, None
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name, None
            case ast.Lambda():
                pass
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                walrus = (inner for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
                yield from ((inner.target.id, None) for inner in walrus)
            case ast.expr() if not self.has_walrus and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                pass  # most of all nodes are here, and only the walrus binds a name within an expression
            case _:
                own = node.rest if isinstance(node, ast.MatchMapping) else getattr(node, "name", None)
                if isinstance(own, str):  # `except ... as name`, `case ... as name`, `case *name`
                    yield own, None
                for inner in ast.iter_child_nodes(node):
                    yield from self.bound_names(inner)

    def references(self, number: int) -> frozenset[_Reference]:
        """What a statement refers to outside of itself."""
        if number not in self._references:
            scopes = _Scopes(self)
            scopes.visit(self.statements[number])
            self._references[number] = frozenset(scopes.found)
        return self._references[number]

    def text(self, number: int) -> str:
        """A statement as it counts."""
        statement = self.statements[number]
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
        return "\n".join(self.lines(first, statement.end_lineno))

    def lines(self, first: int, last: int) -> list[str]:
        """The lines that count, of those from `first` to `last`, both counted from one."""
        return [row for row in self.rows[first - 1 : last] if row is not None]


def _significant_rows(text: str, tree: ast.Module) -> list[str | None]:
    """Cut comments and docstrings out of the lines of a module; None stands for a line that holds nothing else."""
    rows = text.split("\n")
    for node in reversed(list(_statements_in(tree))):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and _is_text(node.body[0]):
            constant = node.body[0].value
            first, last = constant.lineno - 1, constant.end_lineno - 1
            after = rows[last].encode()[constant.end_col_offset :].decode()  # columns are counted in bytes
            rows[first] = rows[first].encode()[: constant.col_offset].decode() + (
                after if first == last else ""
            )
            rows[first + 1 : last + 1] = [""] * (last - first - 1) + [after] * (last > first)
    text = "\n".join(rows)
    in_string: set[int] = set()  # rows whose end is inside of a string: they stay as they are, blank or not
    pieces, done, row = [], 0, 0
    for match in _COMMENT_OR_STRING.finditer(text):
        row += text.count("\n", done, match.start())
        pieces.append(text[done : match.start()])
        done = match.end()
        if not match[0].startswith("#"):
            pieces.append(match[0])
            n_breaks = match[0].count("\n")
            in_string.update(range(row, row + n_breaks))
            row += n_breaks
    rows = "".join([*pieces, text[done:]]).split("\n")
    return [line if number in in_string else (line.rstrip() or None) for number, line in enumerate(rows)]


def _statements_in(node: ast.AST) -> Iterator[ast.AST]:
    for inner in _block(node):
        yield inner
        yield from _statements_in(inner)


def _block(node: ast.AST) -> list[ast.AST]:
    """The statements right inside of a statement, with its `except` and `case` branches."""
    fields = [getattr(node, field, None) for field in ("body", "orelse", "handlers", "finalbody", "cases")]
    return [inner for field in fields if isinstance(field, list) for inner in field]


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _only_imports(statement: ast.stmt) -> bool:
    harmless = (ast.Import, ast.ImportFrom, ast.Pass, ast.If, ast.Try)
    inner = (inner for inner in _statements_in(statement) if isinstance(inner, ast.stmt))
    return isinstance(statement, harmless) and all(isinstance(part, harmless) for part in inner)


def _defines(statement: ast.stmt) -> bool:
    """Whether a statement binds names and does nothing else that is seen from outside."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return True
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        parts = [part for target in targets for part in ast.walk(target)]
        return not any(isinstance(part, ast.Attribute | ast.Subscript) for part in parts)
    return False


def _lazy_names(call: ast.Call) -> Mapping[str, str]:
    """The names that `lazy_loader.attach` offers, each with its submodule, out of the literal that it is given."""
    if getattr(call.func, "attr", getattr(call.func, "id", "")) != "attach":
        return {}
    given = dict(zip(("package_name", "submodules", "submod_attrs"), call.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in call.keywords}
    attributes = ast.literal_eval(given["submod_attrs"]) if "submod_attrs" in given else {}
    return {name: module for module, names in attributes.items() for name in names}


class _Scopes(ast.NodeVisitor):
    """Finds the names that are looked up outside of a statement, by Python's rules of scope."""

    def __init__(self, module: _Module) -> None:
        self.module = module
        self.found: set[_Reference] = set()
        self.scopes: list[dict[str, list[_Reference]]] = []  # the innermost last; names with what they import
        self.class_scopes: list[dict[str, list[_Reference]]] = []

    def _look_up(self, names: tuple[str, ...]) -> None:
        for scope in reversed(self.scopes):
            if names[0] in scope:
                self.found |= {target.then(names[1:]) for target in scope[names[0]]}
                return
        self.found.add(_Reference(self.module.name, names))

    def _bind(self, scope: dict[str, list[_Reference]], nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            for name, target in self.module.bound_names(node):
                scope.setdefault(name, []).extend([] if target is None else [target])

    def _visit_inside(self, scope: dict[str, list[_Reference]], nodes: Iterable[ast.AST]) -> None:
        """Visit what runs in a scope of its own, which sees no names of the classes around it."""
        outer = self.scopes
        self.scopes = [seen for seen in outer if not any(seen is hidden for hidden in self.class_scopes)]
        self.scopes.append(scope)
        for node in nodes:
            self.visit(node)
        self.scopes = outer

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._look_up((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        names, base = [], node
        while isinstance(base, ast.Attribute):
            names.append(base.attr)
            base = base.value
        if isinstance(base, ast.Name):
            self._look_up((base.id, *reversed(names)))
        else:
            self.visit(base)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
        outside = [*getattr(node, "decorator_list", []), getattr(node, "returns", None)]
        outside += [*arguments.defaults, *arguments.kw_defaults, *(argument.annotation for argument in every)]
        for part in outside:
            if part is not None:
                self.visit(part)
        body = node.body if isinstance(node.body, list) else [node.body]
        scope: dict[str, list[_Reference]] = {argument.arg: [] for argument in every}
        self._bind(scope, body)
        for name in _names_of_others(body):
            scope.pop(name, None)
        self._visit_inside(scope, body)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_Lambda = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in [*node.decorator_list, *node.bases, *node.keywords]:
            self.visit(part)
        scope: dict[str, list[_Reference]] = {}
        self.scopes.append(scope)
        self.class_scopes.append(scope)
        for statement in node.body:  # in order: `noise = noise` reads the name from outside
            self.visit(statement)
            self._bind(scope, [statement])
        self.class_scopes.pop()
        self.scopes.pop()

    def _visit_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> None:
        first, *others = node.generators
        self.visit(first.iter)
        scope: dict[str, list[_Reference]] = {}
        self._bind(scope, [generator.target for generator in node.generators])
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        parts = [part for generator in others for part in (generator.iter, *generator.ifs)]
        self._visit_inside(scope, [*first.ifs, *parts, *results])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension


def _names_of_others(body: Iterable[ast.AST]) -> Iterator[str]:
    """The names that a function's body declares `global` or `nonlocal`, its inner functions' aside."""
    for node in body:
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names
        elif not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield from _names_of_others(_block(node))
