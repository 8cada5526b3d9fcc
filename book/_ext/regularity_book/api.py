"""API pages: one a module, written at the build; signatures as in the source; references to what is re-exported."""

import ast
import builtins
import importlib
import inspect
import re
import sys
from copy import copy
from dataclasses import is_dataclass
from functools import cache
from html import escape
from pathlib import Path

import click
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

from .generated import add_directive

PACKAGE = "regularity"


def public_modules(root: Path) -> list[str]:
    """Name the package's public modules, without the package's own name: "stein.noise2score"."""
    package = root / "src" / PACKAGE
    paths = (path.relative_to(package).with_suffix("") for path in sorted(package.rglob("*.py")))
    modules = [path.parts for path in paths if not any(part.startswith("_") for part in path.parts)]
    return [".".join(parts) for parts in modules if parts != ("press", "cli")]  # its help says more


def write_pages(app: Sphinx, config: Config) -> None:
    """Write book/api/<module>.md, only where it changes, and remove the pages of modules that are gone."""
    folder = Path(app.srcdir) / "book" / "api"
    folder.mkdir(exist_ok=True)
    pages = {}
    for module in public_modules(Path(app.srcdir)):
        name = f"{PACKAGE}.{module}"
        directive = f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```"
        pages[folder / f"{module.replace('.', '-')}.md"] = f"# {module}\n\n`{name}`\n\n{directive}\n"
    for path in folder.glob("*.md"):
        if path not in pages:
            path.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def render_modules(app: Sphinx, docname: str, part: str) -> str:
    """List the modules of one package, each with the first line of its docstring."""
    items = []
    for module in public_modules(Path(app.srcdir)):
        if module.split(".")[0] == part:
            target = app.builder.get_relative_uri(docname, f"book/api/{module.replace('.', '-')}")
            source = Path(app.srcdir, "src", PACKAGE, *module.split(".")).with_suffix(".py")
            docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
            line = escape(docstring.split("\n\n")[0].replace("\n", " "))
            link = f'<a class="reference internal" href="{target}"><code>{escape(module)}</code></a>'
            items.append(f"<dt>{link}</dt><dd>{line}</dd>")
    return f'<dl class="modules">{"".join(items)}</dl>'


def render_command_help(app: Sphinx, docname: str, command: str) -> str:
    """Show the help of a subcommand of `regularity`, or of all of them."""
    group = importlib.import_module(f"{PACKAGE}.press.cli").main
    context = click.Context(group, info_name=PACKAGE)
    names = [command] if command else group.list_commands(context)
    texts = []
    for name in names:
        subcommand = group.get_command(context, name)
        if subcommand is None:
            raise ValueError(f"there is no command {name!r}; there are {group.list_commands(context)}")
        texts.append(subcommand.get_help(click.Context(subcommand, info_name=name, parent=context)))
    return f'<pre class="command-help">{escape((chr(10) * 3).join(texts))}</pre>'


# --- Signatures and docstrings -----------------------------------------------------------------------------------


def annotations_as_written(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    return_annotation: str | None,
) -> tuple[str, str | None] | None:
    """Take a signature out of the source: `Float[Tensor, "n d"]` says more than what it evaluates to."""
    if signature is None or what not in {"class", "function", "method"}:
        return None
    if what == "class" and is_dataclass(obj):
        statements = _definition(obj).body
        fields = [ast.unparse(statement) for statement in statements if isinstance(statement, ast.AnnAssign)]
        text = ", ".join("*" if field == "_: KW_ONLY" else field for field in fields)
        return f"({text})".replace("'", '"'), None
    definition = _definition(vars(obj).get("__init__") if what == "class" else inspect.unwrap(obj))
    if not isinstance(definition, ast.FunctionDef):
        return None
    arguments = copy(definition.args)
    first = arguments.args[0].arg if arguments.args else ""
    if what == "class" or (what == "method" and first in {"self", "cls"}):
        arguments.args = arguments.args[1:]
    returns = definition.returns
    texts = [f"({ast.unparse(arguments)})", ast.unparse(returns) if returns and what != "class" else None]
    return tuple(text and text.replace("'", '"') for text in texts)


def _definition(obj: object) -> ast.stmt | None:
    """The definition of a function or class in its source; None where there is none."""
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    path = getattr(module, "__file__", None)
    return _definitions(path).get(obj.__qualname__) if path and path.endswith(".py") else None


@cache  # inspect.getsource would read and cut the whole file for each definition
def _definitions(path: str) -> dict[str, ast.stmt]:
    """The functions and classes of a file, by their qualified names."""
    found: dict[str, ast.stmt] = {}

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                found[f"{prefix}{child.name}"] = child
                if isinstance(child, ast.ClassDef):
                    walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.stmt):
                walk(child, prefix)

    walk(ast.parse(Path(path).read_text(encoding="utf-8")), "")
    return found


def plain_prose(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Prepare a docstring for napoleon, in place.

    "Returns" and "Yields" may hold prose, where napoleon would read the first line as a type. Signs that mean
    something in reStructuredText, as in |x| or a*b, are mathematics here. A field whose default is another library's
    function would be told of in that library's words: those are left out.
    """
    if what in {"attribute", "method"} and not str(getattr(obj, "__module__", PACKAGE)).startswith(PACKAGE):
        lines.clear()
    heads = [
        number
        for number in range(len(lines) - 1)
        if lines[number] in {"Returns", "Yields"} and set(lines[number + 1]) == {"-"}
    ]
    for head in reversed(heads):
        underlines = (
            number for number in range(head + 3, len(lines)) if re.fullmatch("-{3,}", lines[number])
        )
        end = next(underlines, len(lines) + 1) - 1
        body = [line for line in lines[head + 2 : end] if line]
        if not any(line.startswith(" ") for line in body):
            lines[head:end] = ["", f":{lines[head].lower()}: {' '.join(body)}", ""]
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else escape_signs(line) for line in lines]


def escape_signs(line: str) -> str:
    """Escape what reStructuredText would take for markup, outside of `code`."""
    pieces = re.split("(`+[^`]+`+)", line)
    pieces[::2] = [re.sub(r"(?<!\\)([|*]|_(?!\w))", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _home(reference: addnodes.pending_xref) -> str | None:
    """The full name of what a reference means in its module, or the package around; None if that is not of ours."""
    name = reference.get("py:module") or PACKAGE
    for place in (name, name.rpartition(".")[0] or PACKAGE):
        if home := _full_name(getattr(importlib.import_module(place), reference["reftarget"], None)):
            return home
    return None


def _full_name(found: object) -> str | None:
    """The name under which this package defines what was found; None for what is not of this package."""
    module = str(getattr(found, "__module__", ""))
    return f"{module}.{getattr(found, '__qualname__', '')}" if module.startswith(f"{PACKAGE}.") else None


def name_in_full(app: Sphinx, doctree: nodes.document) -> None:
    """Lead a reference on an API page to what its module imports: two chapters may have a class of one name."""
    for reference in doctree.findall(addnodes.pending_xref):
        if reference.get("py:module") and (home := _home(reference)) and not home.endswith("."):
            reference["reftarget"] = home


def thin_signatures(app: Sphinx, doctree: nodes.document) -> None:
    """Leave text, and links to this package's own classes, in signatures: Sphinx makes a node of each comma.

    Thirty transforms walk through all nodes of all pages; this halves the build.
    """
    for signature in doctree.findall(addnodes.desc_signature):
        for reference in list(signature.findall(addnodes.pending_xref)):
            if _home(reference) is None:
                reference.parent.replace(reference, nodes.Text(reference.astext()))
        for leaf in list(signature.findall(addnodes.desc_sig_element)):
            if not list(leaf.findall(addnodes.pending_xref)):
                leaf.parent.replace(leaf, nodes.Text(leaf.astext().replace("'", '"')))
        for parent in {text.parent: None for text in signature.findall(nodes.Text)}:
            merged: list[nodes.Node] = []
            for child in parent.children:
                if merged and isinstance(child, nodes.Text) and isinstance(merged[-1], nodes.Text):
                    merged[-1] = nodes.Text(merged[-1] + child)
                else:
                    merged.append(child)
            parent.children = []
            parent.extend(merged)


# --- References --------------------------------------------------------------------------------------------------


def resolve_reexport(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, contnode: nodes.Element
) -> nodes.Node | None:
    """Resolve names that a package re-exports, and accept those of other libraries where autodoc made them.

    In prose a reference that leads nowhere stays an error. In signatures and docstrings, types of torch, jaxtyping
    or Python, and names of parameters, are shown as they are.
    """
    if node.get("refdomain") != "py":
        return None
    target = node.get("reftarget", "")
    module, _, attribute = target.rpartition(".")
    if module == PACKAGE or module.startswith(f"{PACKAGE}."):
        try:
            home = _full_name(getattr(importlib.import_module(module), attribute, None))
        except ModuleNotFoundError:  # the reference leads nowhere, as Sphinx will say
            return None
        if home and home != target:
            python = env.get_domain("py")
            return python.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], home, node, contnode
            )
        return None
    if node["refdoc"].startswith("book/api/"):
        return contnode
    is_builtin = node["reftype"] in {"class", "exc", "func", "obj"} and hasattr(builtins, target)
    return contnode if is_builtin else None


def setup(app: Sphinx) -> None:
    app.connect("config-inited", write_pages, priority=100)  # before the table of contents is read
    app.connect("autodoc-process-signature", annotations_as_written)
    app.connect("autodoc-process-docstring", plain_prose, priority=400)  # before napoleon
    app.connect("missing-reference", resolve_reexport)
    app.connect("doctree-read", thin_signatures)
    app.connect("doctree-read", name_in_full, priority=600)  # among the references that are left
    add_directive(app, "api-modules", render_modules)
    add_directive(app, "command-help", render_command_help)
