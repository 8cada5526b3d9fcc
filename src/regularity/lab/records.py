"""Records: what runs over fresh seeds, on a GPU or at the paper's scale gave, kept beside the chapter."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regularity.lab.chapters import Chapter, replace_file
from regularity.lab.ledger import read_records
from regularity.lab.parameters import default_values
from regularity.lab.runs import as_json, read_run


def fold_runs(
    chapter: Chapter, size: str, runs: Sequence[Mapping[str, Any]], folders: Sequence[Path], command: str
) -> dict[str, Any]:
    """Fold finished runs into the chapter's records.

    Runs of the same size and version join the record that is there, a seed's newest run replacing its older one.
    A record of another version is kept: it carries its digest, by which the ledger knows it as older.

    Parameters
    ----------
    chapter
        The chapter.
    size
        "default", "gpu", "paper", or the name of another parameter file.
    runs, folders
        Parameters of the runs and where they are kept.
    command
        The command that makes them again.

    Returns
    -------
    The record as it stands now; it is written to the chapter's records file.
    """
    default_seed = default_values(chapter)["seed"]
    digest = chapter.digest()
    records = read_records(chapter)
    known = {}
    for record in records:
        if record["size"] == size and record["digest"] == digest:
            known = {run["seed"]: run for run in record["runs"]}
            records.remove(record)
            break
    provenance = {}
    for parameters, folder in zip(runs, folders, strict=True):
        run = read_run(folder)
        provenance = run["provenance"]
        seed = parameters.get("seed", default_seed)
        known[seed] = {
            "seed": seed,
            "seconds": provenance["seconds"],
            "peak_memory_mib": provenance["peak_memory_mib"],
            "claims": [
                {key: claim[key] for key in ("claim", "measured", "uncertainty", "verdict")}
                for claim in run["claims"]
            ],
        }
    shared = {name: value for name, value in runs[-1].items() if name != "seed"}
    record = {
        "size": size,
        "digest": digest,
        "command": command,
        **{key: provenance[key] for key in ("date", "commit", "device", "versions")},
        "parameters": shared,
        "runs": [known[seed] for seed in sorted(known)],
    }
    records.append(record)
    replace_file(chapter.records, as_json({"records": records}))
    return record
