"""The ledger: all claims of all chapters, read from the executed notebooks and the records beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regularity.press.chapters import Chapter, all_chapters
from regularity.press.errors import BookError
from regularity.press.shapes import RECORD, fits

OLDER = " (older version)"


def ledger_rows(root: Path | None = None) -> list[dict[str, Any]]:
    """List every claim with its verdicts: of the live run, over seeds, and on a GPU.

    Parameters
    ----------
    root
        The top of the checkout; None: found from the working directory.

    Returns
    -------
    One entry a claim, with the keys part, chapter, those of `Claim.as_dict`, held_over_seeds ("5/5") and gpu_verdict;
    the last two are None where there is no record.
    """
    rows = []
    for chapter in all_chapters(root):
        records, digest = read_records(chapter), chapter.digest()
        for claim in chapter.claims():
            row = {"part": chapter.part, "chapter": chapter.name, **claim}
            del row["cell"]
            row["held_over_seeds"] = held_over_seeds(records, claim["claim"], digest)
            row["gpu_verdict"] = verdict_on_gpu(records, claim["claim"], digest)
            rows.append(row)
    return rows


def read_records(chapter: Chapter) -> list[dict[str, Any]]:
    """Read what was recorded of a chapter's runs.

    Returns
    -------
    The records, oldest first; none where nothing was recorded.

    Raises
    ------
    BookError
        If the file is no list of records.
    """
    try:
        content = json.loads(chapter.records.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BookError(f"cannot read {chapter.records}: {error.strerror}") from None
    except ValueError:
        content = None
    if not fits(content, {"records": [RECORD]}) or not all(record["runs"] for record in content["records"]):
        raise BookError(f"{chapter.records} must hold records as `regularity record` writes them")
    return content["records"]


def is_on_gpu(record: Mapping[str, Any]) -> bool:
    """Say whether a record was made on a GPU, by the device that was found there, not by the name of its size."""
    return not record["device"].startswith("CPU")


def held_over_seeds(records: Sequence[Mapping[str, Any]], claim: str, digest: str) -> str | None:
    """Say how often a claim held over the seeds of the newest record of the default size, on a CPU if there is one.

    Parameters
    ----------
    records
        Of one chapter, oldest first.
    claim
        The words of the claim.
    digest
        The chapter's present version; another one in the record is told.

    Returns
    -------
    "5/5", with ", partly 2/5" where some were; None without a record of the claim, or where it was not checked.
    """
    for record in sorted(reversed(records), key=is_on_gpu):
        verdicts = [verdict for run in record["runs"] if (verdict := _verdict(run, claim))]
        if record["size"] == "default" and verdicts:
            held, partly = verdicts.count("reproduced"), verdicts.count("partly")
            words = f"{held}/{len(verdicts)}" + (f", partly {partly}/{len(verdicts)}" if partly else "")
            return words + ("" if record["digest"] == digest else OLDER)
    return None


def verdict_on_gpu(records: Sequence[Mapping[str, Any]], claim: str, digest: str) -> str | None:
    """Say what the newest recorded run on a GPU gave: whatever its size was called, by the device that it ran on.

    Parameters
    ----------
    records, claim, digest
        As for `held_over_seeds`.

    Returns
    -------
    The verdict; None without a record of the claim.
    """
    for record in reversed(records):
        if is_on_gpu(record) and (verdict := _verdict(record["runs"][0], claim)):
            return verdict + ("" if record["digest"] == digest else OLDER)
    return None


def _verdict(run: Mapping[str, Any], claim: str) -> str | None:
    """What a run said of a claim; None where it does not know it, or did not check it."""
    told = (entry["verdict"] for entry in run["claims"] if entry["claim"] == claim)
    return next((verdict for verdict in told if verdict != "not checked"), None)
