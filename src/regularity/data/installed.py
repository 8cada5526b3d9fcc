"""Files that come inside installed packages, found without importing those."""

from importlib.util import find_spec
from pathlib import Path


def packaged_file(package: str, inside: str, what: str) -> Path:
    """Find a file inside a package's folder.

    Parameters
    ----------
    package
        Name of the package.
    inside
        Path from the package's folder.
    what
        What a reader calls the data, for the message.

    Returns
    -------
    The file's path.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    FileNotFoundError
        If the installed package does not carry the file.
    """
    found = find_spec(package)
    if found is None:
        raise ModuleNotFoundError(f"{what} comes inside {package}, which is not installed")
    path = Path(found.origin).parent / inside
    if not path.is_file():
        raise FileNotFoundError(f"{what} should come with {package} but {path} is not there")
    return path
