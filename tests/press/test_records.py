"""Records over seeds and at other sizes, and what the ledger says of them."""

import json

import pytest

from regularity.lab.chapters import BookError, find_chapter
from regularity.lab.ledger import held_over_seeds, ledger_rows, read_records, verdict_at_size
from regularity.lab.records import fold_runs
from regularity.lab.runs import run_folder, store_run

CLAIMS = ["The mean is zero", "The draws spread", "The first draw is positive"]


@pytest.fixture
def tiny(executed_book):
    return find_chapter("tiny", executed_book)


def keep(chapter, parameters, verdicts):
    """Store a finished run with these verdicts, as if it had been executed."""
    claims = [
        {"claim": text, "measured": 1.0, "uncertainty": None, "verdict": verdict, "unit": ""}
        for text, verdict in zip(CLAIMS, verdicts, strict=True)
    ]
    result = {
        "notebook": "{}",
        "claims": claims,
        "seconds": 1.0,
        "peak_memory_mib": 1,
        "device": "d",
        "versions": {},
    }
    folder = run_folder(chapter, parameters, chapter.root / "runs")
    store_run(folder, chapter, parameters, result)
    return folder


YES, PARTLY, NO = "reproduced", "partly", "not reproduced"


def test_the_ledger_counts_how_often_a_claim_held(tiny):
    runs = [{"seed": seed} for seed in (101, 102, 103)]
    verdicts = [(YES, YES, NO), (YES, PARTLY, NO), (YES, NO, NO)]
    folders = [keep(tiny, run, verdict) for run, verdict in zip(runs, verdicts, strict=True)]
    fold_runs(tiny, "default", runs, folders, "regularity record tiny --seeds 3")
    rows = ledger_rows(tiny.root)
    assert [row["held_over_seeds"] for row in rows] == ["3/3", "1/3, partly 1/3", "0/3"]
    assert [row["gpu_verdict"] for row in rows] == [None, None, None]


def test_more_seeds_join_and_the_newest_run_of_a_seed_counts(tiny):
    for seed, verdict in ((101, NO), (102, YES)):
        fold_runs(tiny, "default", [{"seed": seed}], [keep(tiny, {"seed": seed}, [verdict] * 3)], "command")
    (record,) = read_records(tiny)
    assert [run["seed"] for run in record["runs"]] == [101, 102]
    assert held_over_seeds([record], CLAIMS[0], tiny.digest()) == "1/2"
    folder = run_folder(tiny, {"seed": 101}, tiny.root / "runs")
    claims = json.loads((folder / "claims.json").read_text())
    (folder / "claims.json").write_text(json.dumps([claim | {"verdict": YES} for claim in claims]))
    fold_runs(tiny, "default", [{"seed": 101}], [folder], "command")
    assert held_over_seeds(read_records(tiny), CLAIMS[0], tiny.digest()) == "2/2"


def test_other_sizes_stand_beside_the_default(tiny):
    fold_runs(tiny, "default", [{}], [keep(tiny, {}, [YES] * 3)], "command")
    fold_runs(tiny, "gpu", [{"n_draws": 1000}], [keep(tiny, {"n_draws": 1000}, [PARTLY] * 3)], "command")
    records = read_records(tiny)
    assert [record["size"] for record in records] == ["default", "gpu"]
    assert records[1]["parameters"] == {"n_draws": 1000}
    assert verdict_at_size(records, CLAIMS[0], tiny.digest(), "gpu") == "partly"
    assert verdict_at_size(records, CLAIMS[0], tiny.digest(), "paper") is None
    assert held_over_seeds(records, CLAIMS[0], tiny.digest()) == "1/1"


def test_an_older_version_is_kept_and_marked(tiny):
    fold_runs(tiny, "default", [{}], [keep(tiny, {}, [YES] * 3)], "command")
    fold_runs(tiny, "gpu", [{"n_draws": 1000}], [keep(tiny, {"n_draws": 1000}, [YES] * 3)], "command")
    tiny.source.write_text(tiny.source.read_text().replace("= 100 ", "= 101 "))
    changed = find_chapter("tiny", tiny.root)
    rows = ledger_rows(tiny.root)
    assert rows[0]["held_over_seeds"] == "1/1 (older version)"
    assert rows[0]["gpu_verdict"] == "reproduced (older version)"
    fold_runs(changed, "default", [{}], [keep(changed, {}, [NO] * 3)], "command")
    assert len(read_records(changed)) == 3
    assert ledger_rows(tiny.root)[0]["held_over_seeds"] == "0/1"


@pytest.mark.bad_input
@pytest.mark.parametrize("content", ["{", "[]", '{"runs": []}'])
def test_a_broken_file_of_records_is_named(tiny, content):
    tiny.records.write_text(content)
    with pytest.raises(
        BookError, match=r"tiny.records.json must hold records as `regularity record` writes them"
    ):
        read_records(tiny)
