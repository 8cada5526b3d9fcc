"""Files: written whole or not at all, whatever happens meanwhile, and YAML read without its surprises."""

import contextlib
import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from regularity.press.errors import BookError, one_line

UNFINISHED = ".unfinished"


def replace_file(path: Path, text: str) -> None:
    """Write a file so that its readers, and a machine that loses power, have the old text or the new, never half.

    Parameters
    ----------
    path
        The file.
    text
        Its new content.

    Raises
    ------
    BookError
        If it cannot be written.
    """
    unfinished = None
    sweep(path.parent, f".{path.name}-*{UNFINISHED}")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}{_owner()}", suffix=UNFINISHED, dir=path.parent)
        unfinished = Path(name)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        unfinished.chmod(0o644)
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except OSError as error:
        raise BookError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


def write_folder(folder: Path, files: Mapping[str, str]) -> bool:
    """Write a folder of files: whoever looks, even after a loss of power, finds all of them or no folder.

    Parameters
    ----------
    folder
        The folder, which must not exist yet.
    files
        The contents by name.

    Returns
    -------
    False where somebody else was faster and the folder is there already: it is left as it is.

    Raises
    ------
    BookError
        If it cannot be written.
    """
    unfinished = None
    try:
        make_folder(folder.parent)
        sweep(folder.parent, f".{folder.name}-*{UNFINISHED}")
        unfinished = Path(
            tempfile.mkdtemp(prefix=f".{folder.name}{_owner()}", suffix=UNFINISHED, dir=folder.parent)
        )
        for name, text in files.items():
            with open(unfinished / name, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        unfinished.chmod(0o755)
        sync_folder(unfinished)
        os.rename(unfinished, folder)
        sync_folder(folder.parent)
    except OSError as error:
        if folder.is_dir():
            return False
        raise BookError(f"cannot write {folder}: {error.strerror}") from None
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return True


def remove_folder(folder: Path) -> None:
    """Remove a folder at once for whoever looks, then its files; nothing happens where there is none."""
    aside = folder.with_name(f".{folder.name}{_owner()}{secrets.token_hex(4)}{UNFINISHED}")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return  # or somebody else was faster
    except OSError as error:
        raise BookError(f"cannot remove {folder}: {error.strerror}") from None
    shutil.rmtree(aside, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and see that the disk knows of them."""
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """See that the disk knows which files a folder holds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, before anything is computed for it.

    Parameters
    ----------
    folder
        Made where it is missing.

    Raises
    ------
    BookError
        If it cannot be made or written.
    """
    try:
        make_folder(folder)
        sweep(folder, f".probe-*{UNFINISHED}")
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".probe{_owner()}", suffix=UNFINISHED) as probe:
            probe.write(b"0")
    except OSError as error:
        raise BookError(f"cannot write {folder}: {error.strerror}") from None


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a temporary folder that goes with its user; one whose user was killed goes with the next call."""
    try:
        sweep_scratch()
        folder = tempfile.TemporaryDirectory(prefix=f"regularity{_owner()}", ignore_cleanup_errors=True)
    except OSError as error:
        raise BookError(f"no temporary folder can be made: {one_line(error)}") from None
    with folder as name:
        yield Path(name)


def sweep_scratch() -> None:
    """Remove the temporary folders of processes that are gone."""
    sweep(Path(tempfile.gettempdir()), "regularity-*")


def sweep(folder: Path, pattern: str) -> None:
    """Remove what processes of this machine left that are gone.

    Parameters
    ----------
    folder
        Where it lies; nothing happens where there is no such folder.
    pattern
        What their names are like; who made them stands in the names too.
    """
    import psutil

    for path in folder.glob(pattern):
        owner = re.search(r"-([^/]+)-(\d+)-\w+(?:\.unfinished)?$", path.name)
        if owner and owner[1].endswith(platform.node()) and not psutil.pid_exists(int(owner[2])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _owner() -> str:
    return f"-{platform.node()}-{os.getpid()}-"


class _Loader(yaml.SafeLoader):
    """YAML as its version 1.2 reads plain values: 010 is ten, 1e-3 a number, 1:30 and "yes" are words.

    Aliases are refused: a few lines of them can stand for a billion entries.
    """

    yaml_implicit_resolvers: Mapping[str, Any] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias is no value")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if repeated := {str(name) for name in names if names.count(name) > 1}:
            raise yaml.YAMLError(f"{', '.join(sorted(repeated))} is given twice")
        return super().construct_mapping(node, deep)


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)


def _real(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value)


_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
for _tag, _pattern, _first in (
    ("bool", r"true|false|True|False", "tfTF"),
    ("null", r"null|None|~|", ["n", "N", "~", ""]),
    ("int", r"[-+]?\d+", "-+0123456789"),
    ("float", rf"{_NUMBER}(?:[eE][-+]?\d+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _real)


def read_yaml(text: str) -> Any:
    """Read YAML.

    Parameters
    ----------
    text
        One document.

    Returns
    -------
    Its content.

    Raises
    ------
    yaml.YAMLError
        If it is not YAML, has aliases, or a tag that its value does not fit.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # whatever a tag such as !!bool or !!timestamp makes of a value that is none
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from None
