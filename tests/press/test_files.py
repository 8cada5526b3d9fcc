"""Files after a loss of power: a disk that keeps only what it was told to keep."""

import errno
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from regularity.press.errors import BookError
from regularity.press.files import remove_folder, replace_file, write_folder


class Disk:
    """Watches what is synced, and tells what would be left if the power went now.

    A disk may keep a rename, which it notes in its journal, before the data of what was renamed: so whatever is
    renamed must have been synced before, and the folder that it is renamed in must be synced after.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: dict[int, bytes | dict[str, int]] = {}
        self.renamed: list[object] = []
        sync = os.fsync

        def fsync(handle: int) -> None:
            sync(handle)
            path = Path(f"/proc/self/fd/{handle}").resolve()
            inode = os.fstat(handle).st_ino
            if path.is_dir():
                self.kept[inode] = {entry.name: entry.inode() for entry in os.scandir(path)}
            else:
                self.kept[inode] = path.read_bytes()

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._watch(getattr(os, name)))

    def _watch(self, move):
        def moved(source, target):
            self.renamed.append(self.left(os.stat(source).st_ino))
            move(source, target)

        return moved

    def left(self, inode: int) -> object:
        """What a file or folder would hold after a loss of power; None for what the disk was not told of."""
        kept = self.kept.get(inode)
        return {name: self.left(inner) for name, inner in kept.items()} if isinstance(kept, dict) else kept


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def test_a_folder_outlives_a_loss_of_power_whole(tmp_path, disk):
    assert write_folder(tmp_path / "runs" / "tiny" / "0a1b", {"a.json": "[1]", "b.ipynb": "{}"})
    whole = {"a.json": b"[1]", "b.ipynb": b"{}"}
    assert disk.renamed == [whole]
    assert disk.left(tmp_path.stat().st_ino) == {"runs": {"tiny": {"0a1b": whole}}}


def test_a_file_outlives_a_loss_of_power_old_or_new(tmp_path, disk):
    path = tmp_path / "records.json"
    path.write_text("old")
    replace_file(path, "new")
    assert disk.renamed == [b"new"]
    assert disk.left(tmp_path.stat().st_ino) == {"records.json": b"new"}


def test_who_comes_second_leaves_the_first_folder_alone(tmp_path):
    assert write_folder(tmp_path / "run", {"a": "first"})
    assert not write_folder(tmp_path / "run", {"a": "second"})
    assert (tmp_path / "run" / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.bad_input
@pytest.mark.parametrize("moment", [0, 1, 2, "rename"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, moment):
    def no_space(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    n_synced = 0

    def fsync(handle):
        nonlocal n_synced
        n_synced += 1
        if n_synced - 1 == moment:
            no_space()

    monkeypatch.setattr(os, "fsync", fsync)
    if moment == "rename":
        monkeypatch.setattr(os, "rename", no_space)
        monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(BookError, match=f"cannot write {tmp_path / 'run'}: No space left on device"):
        write_folder(tmp_path / "run", {"a": "1", "b": "2"})
    n_synced = moment if isinstance(moment, int) else 0
    with pytest.raises(BookError, match=f"cannot write {tmp_path / 'file'}: No space left on device"):
        replace_file(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []


def test_files_written_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    """Two writers of one file, each of which is slower than the other: the last of them wins, whole."""
    path, move, inner = tmp_path / "file", os.replace, []

    def replace(source, target):
        if not inner:
            inner.append(True)
            replace_file(path, "second")
        move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    replace_file(path, "first")
    assert path.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "write", [partial(replace_file, text="new"), partial(write_folder, files={"a": "1"})]
)
def test_what_a_killed_writer_left_goes_with_the_next_of_that_name(tmp_path, write):
    gone = subprocess.Popen(["true"])
    gone.wait()
    node = os.uname().nodename
    theirs, old = (tmp_path / f".x-{node}-{pid}-abcd1234.unfinished" for pid in (os.getpid(), gone.pid))
    for path in (theirs, old):
        path.write_text("half")
    write(tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [theirs.name, "x"]


@pytest.mark.bad_input
def test_a_folder_that_cannot_be_removed_is_an_error_by_name(tmp_path, monkeypatch):
    remove_folder(tmp_path / "none")
    (tmp_path / "x").mkdir()

    def refuse(*_arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(BookError, match=r"cannot remove .*/x: Read-only file system"):
        remove_folder(tmp_path / "x")
