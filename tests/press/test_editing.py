"""The notebooks in JupyterLab: opened and saved by who changes nothing, nothing changes."""

import os
import platform
import shutil
from pathlib import Path

import pytest
from jupyter_client.kernelspec import get_kernel_spec

from regularity.press.chapters import all_pairs
from regularity.press.plain import plain_notebook

ROOT = Path(__file__).parents[2]
PAIRS = all_pairs(ROOT)
every_page = pytest.mark.parametrize("pair", PAIRS, ids=[pair.label for pair in PAIRS])


@every_page
def test_the_kernel_has_nothing_to_add_to_a_notebook(pair):
    from ipykernel.ipkernel import IPythonKernel

    kernel = get_kernel_spec("python3")
    for notebook, also in (
        (plain_notebook(pair), {"version": platform.python_version()}),
        (pair.executed(), {}),
    ):
        kernelspec = {"display_name": kernel.display_name, "language": kernel.language, "name": "python3"}
        assert notebook["metadata"]["kernelspec"] == kernelspec
        language = notebook["metadata"]["language_info"]
        assert IPythonKernel.language_info | {"version": language["version"]} == language | also


@every_page
def test_jupytext_saves_what_it_opened(pair, tmp_path):
    """Also where the notebook is newer than its source, as it is after an execution."""
    from jupyter_server.services.contents.largefilemanager import LargeFileManager
    from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    source, notebook = (tmp_path / path.relative_to(ROOT) for path in (pair.source, pair.notebook))
    source.parent.mkdir(parents=True)
    shutil.copy(pair.source, source)
    shutil.copy(pair.notebook, notebook)
    seconds = source.stat().st_mtime + 60
    os.utime(notebook, (seconds, seconds))

    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(tmp_path))
    path = notebook.relative_to(tmp_path).as_posix()
    opened = manager.get(path)["content"]
    manager.save({"type": "notebook", "content": opened}, path)
    assert source.read_text(encoding="utf-8") == pair.source.read_text(encoding="utf-8")
