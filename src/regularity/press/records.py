"""Records: what runs over fresh seeds, on a GPU or at the paper's scale gave, kept beside the chapter."""

import itertools
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from regularity.press.chapters import SIZES, Chapter
from regularity.press.files import check_writable, replace_file
from regularity.press.ledger import is_on_gpu, read_records
from regularity.press.parameters import check_value, read_parameters
from regularity.press.runs import Run, as_json

CLAIM_KEYS = ("claim", "source", "measured", "error", "unit", "verdict")
DEFAULT, OTHER = "default", "other"


def fold_runs(runs: Sequence[Run]) -> dict[str, Any]:
    """Fold finished runs of one chapter, which differ in their seeds alone, into its records.

    They join the record that is there of the same version, parameters and kind of device, a seed's newest run
    replacing its older one. All other records are kept: each carries its digest, by which the ledger knows what is
    of an older version.

    Parameters
    ----------
    runs
        The runs; all are done.

    Returns
    -------
    The record as it stands now; it is written to the chapter's records file.

    Raises
    ------
    BookError
        If the records cannot be read or written.
    ValueError
        If the runs are of several kinds of device: a record has one.
    """
    chapter = runs[0].chapter
    kept = [run.read() for run in runs]
    devices = {kind_of_device(result["provenance"]) for result in kept}
    if len(devices) > 1:
        raise ValueError(f"runs must be of one kind of device; got {', '.join(sorted(devices))}")
    newest = max((result["provenance"] for result in kept), key=lambda provenance: provenance["date"])
    parameters = _without(runs[0].parameters, "seed")
    record = {
        "size": size_of(chapter, parameters),
        "digest": runs[0].version,
        "command": "",  # when its seeds are known
        **{key: newest[key] for key in ("date", "commit", "device", "versions")},
        "parameters": parameters,
    }
    with _lock(chapter):
        records = read_records(chapter)
        same = [
            old for old in records if _subject(old) == _subject(record) and old["digest"] == record["digest"]
        ]
        by_seed = {run["seed"]: run for old in same for run in old["runs"]}
        for run, result in zip(runs, kept, strict=True):
            seed = run.parameters.get("seed", chapter.parameters["seed"].default)
            by_seed[seed] = {
                "seed": seed,
                **{key: result["provenance"][key] for key in ("seconds", "peak_memory_mib")},
                "claims": [{key: claim[key] for key in CLAIM_KEYS} for claim in result["claims"]],
            }
        record["runs"] = [by_seed[seed] for seed in sorted(by_seed)]
        record["command"] = record_command(chapter, parameters, by_seed)
        others = [old for old in records if old not in same]
        replace_file(chapter.records, as_json({"records": [*others, record]}))
    return record


def stale_records(chapter: Chapter) -> list[dict[str, Any]]:
    """List what must be recorded again.

    Returns
    -------
    The newest record of each size, set of parameters and kind of device, where it is of an older version.
    """
    newest = {_subject(record): record for record in read_records(chapter)}
    return [record for record in newest.values() if record["digest"] != chapter.digest()]


def runs_of(record: Mapping[str, Any], chapter: Chapter, runs: Path) -> list[Run]:
    """List the runs that make a record again, by the chapter as it is now.

    Parameters
    ----------
    record
        Of `chapter`.
    runs
        The folder of all runs.

    Returns
    -------
    One run a seed.

    Raises
    ------
    BookError
        If the chapter no longer has one of its parameters, or not with that type.
    """
    defaults = {name: parameter.default for name, parameter in chapter.parameters.items()}
    made = []
    for seed in (run["seed"] for run in record["runs"]):
        given = {**record["parameters"], "seed": seed}
        checked = {name: check_value(chapter, name, value) for name, value in given.items()}
        made.append(
            Run(chapter, {key: value for key, value in checked.items() if value != defaults[key]}, runs)
        )
    return made


def size_of(chapter: Chapter, parameters: Mapping[str, Any]) -> str:
    """Say what a size is called.

    Parameters
    ----------
    parameters
        Those that differ from the defaults; neither seed nor device makes another size.

    Returns
    -------
    "default", "gpu" or "paper" where the parameters are those; else "other".
    """
    given = _without(parameters, "seed", "device")
    files = [size for size in SIZES if chapter.parameter_file(size).is_file()]
    sizes = {DEFAULT: {}} | {size: read_parameters(chapter, file=size) for size in files}
    named = (size for size, wanted in sizes.items() if _without(wanted, "seed", "device") == given)
    return next(named, OTHER)


def record_command(chapter: Chapter, parameters: Mapping[str, Any], seeds: Iterable[int]) -> str:
    """Write the command that makes a record again.

    Parameters
    ----------
    parameters
        Those that differ from the defaults, without the seed.
    seeds
        Of its runs; where they are not consecutive, it takes several commands.

    Returns
    -------
    What to type in a shell.
    """
    size = size_of(chapter, parameters)
    words = ["-f", size] if size in SIZES else []
    shown = {name: value for name, value in parameters.items() if not words or name == "device"}
    for name, value in shown.items():
        words += ["-p", name, chapter.parameters[name].write(value)]
    commands = []
    for _, group in itertools.groupby(enumerate(sorted(seeds)), lambda numbered: numbered[1] - numbered[0]):
        block = [seed for _, seed in group]
        numbers = ["--seeds", str(len(block)), "--first-seed", str(block[0])]
        commands.append(shlex.join(["regularity", "record", chapter.name, *numbers, *words]))
    return " && ".join(commands)


def _subject(record: Mapping[str, Any]) -> str:
    """What a record is about, whatever its version."""
    return as_json([record["size"], kind_of_device(record), dict(sorted(record["parameters"].items()))])


def kind_of_device(record: Mapping[str, Any]) -> str:
    """Say on what a run or a record was made: a GPU by its name, any CPU as "CPU"."""
    return record["device"] if is_on_gpu(record) else "CPU"


def _without(parameters: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in names}


def _lock(chapter: Chapter) -> FileLock:
    """Let one process at a time change a chapter's records; the lock lies among the runs, which git ignores."""
    folder = chapter.root / "runs"
    check_writable(folder)
    return FileLock(folder / f".{chapter.name}.records.lock")
