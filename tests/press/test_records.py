"""Records over seeds and at other sizes, and what the ledger says of them."""

import json
import shlex
import threading

import pytest
from click.testing import CliRunner

from regularity.press.chapters import BookError, find_chapter
from regularity.press.cli import main
from regularity.press.ledger import held_over_seeds, ledger_rows, read_records, verdict_on_gpu
from regularity.press.records import fold_runs, record_command, runs_of, stale_records
from regularity.press.runs import Run

CLAIMS = ["The mean is zero", "The draws spread", "The first draw is positive"]
YES, PARTLY, NO = "reproduced", "partly", "not reproduced"
CPU, GPU = "CPU, x86_64, 2 cores", "NVIDIA H200"


@pytest.fixture
def tiny(executed_book):
    return find_chapter("tiny", executed_book)


def keep(chapter, parameters, verdicts, device=CPU) -> Run:
    """Store a finished run with these verdicts, as if it had been executed."""
    claims = [
        {"claim": text, "source": "paper", "measured": 1.0, "error": 0.5, "unit": "m", "verdict": verdict}
        | dict.fromkeys(("paper", "rule", "kind", "revised", "reason"), "")
        for text, verdict in zip(CLAIMS, verdicts, strict=True)
    ]
    run = Run(chapter, parameters, chapter.root / "runs")
    result = {"notebook": "{}", "digest": run.version, "claims": claims, "device": device}
    run.store({**result, "seconds": 1.0, "peak_memory_mib": 1, "versions": {}})
    return run


def rows_of(chapter):
    return [row for row in ledger_rows(chapter.root) if row["verdict"] != "not checked"]


def test_the_ledger_counts_how_often_a_claim_held(tiny):
    verdicts = {101: (YES, YES, NO), 102: (YES, PARTLY, NO), 103: (YES, NO, NO)}
    kept = fold_runs([keep(tiny, {"seed": seed}, verdict) for seed, verdict in verdicts.items()])
    assert kept["command"] == "regularity record tiny --seeds 3 --first-seed 101"
    assert kept["runs"][0]["claims"][0] == {
        "claim": "The mean is zero",
        "source": "paper",
        "measured": 1.0,
        "error": 0.5,
        "unit": "m",
        "verdict": YES,
    }
    rows = rows_of(tiny)
    assert [row["held_over_seeds"] for row in rows] == ["3/3", "1/3, partly 1/3", "0/3"]
    assert [row["gpu_verdict"] for row in rows] == [None, None, None]


def test_what_was_not_checked_has_not_failed_over_seeds(tiny):
    run = {"claims": [{"claim": CLAIMS[0], "verdict": "not checked"}]}
    record = {"size": "default", "digest": tiny.digest(), "device": "CPU", "runs": [run, run]}
    assert held_over_seeds([record], CLAIMS[0], tiny.digest()) is None


def test_more_seeds_join_and_the_newest_run_of_a_seed_counts(tiny):
    for seed, verdict in ((101, NO), (103, YES)):
        kept = fold_runs([keep(tiny, {"seed": seed}, [verdict] * 3)])
    assert kept["command"] == (
        "regularity record tiny --seeds 1 --first-seed 101 && regularity record tiny --seeds 1 --first-seed 103"
    )
    (record,) = read_records(tiny)
    assert [run["seed"] for run in record["runs"]] == [101, 103]
    assert held_over_seeds([record], CLAIMS[0], tiny.digest()) == "1/2"
    run = Run(tiny, {"seed": 101}, tiny.root / "runs")
    claims = json.loads((run.folder / "claims.json").read_text())
    (run.folder / "claims.json").write_text(json.dumps([claim | {"verdict": YES} for claim in claims]))
    fold_runs([run])
    assert held_over_seeds(read_records(tiny), CLAIMS[0], tiny.digest()) == "2/2"


def test_other_sizes_stand_beside_the_default(tiny):
    fold_runs([keep(tiny, {}, [YES] * 3)])
    gpu = fold_runs([keep(tiny, {"n_draws": 1000, "seed": 101}, [PARTLY] * 3, GPU)])
    other = fold_runs([keep(tiny, {"n_draws": 7, "law": "constant"}, [NO] * 3)])
    assert gpu["command"] == "regularity record tiny --seeds 1 --first-seed 101 -f gpu"
    assert other["command"] == "regularity record tiny --seeds 1 --first-seed 0 -p n_draws 7 -p law constant"
    records = read_records(tiny)
    assert [record["size"] for record in records] == ["default", "gpu", "other"]
    assert records[1]["parameters"] == {"n_draws": 1000}
    assert verdict_on_gpu(records, CLAIMS[0], tiny.digest()) == "partly"
    assert held_over_seeds(records, CLAIMS[0], tiny.digest()) == "1/1"


def test_a_gpu_is_what_was_found_and_not_what_the_size_is_called(tiny):
    fold_runs([keep(tiny, {"n_draws": 1000, "device": "cpu"}, [YES] * 3)])
    assert verdict_on_gpu(read_records(tiny), CLAIMS[0], tiny.digest()) is None
    fold_runs([keep(tiny, {"seed": 101}, [YES] * 3), keep(tiny, {"seed": 102}, [YES] * 3)])
    fold_runs([keep(tiny, {"seed": 103}, [NO] * 3, GPU)])
    records = read_records(tiny)
    assert [(record["size"], len(record["runs"])) for record in records] == [
        ("gpu", 1),
        ("default", 2),
        ("default", 1),
    ]
    assert verdict_on_gpu(records, CLAIMS[0], tiny.digest()) == NO
    assert held_over_seeds(records, CLAIMS[0], tiny.digest()) == "2/2"


def test_runs_at_different_parameters_are_never_merged(tiny):
    for n_draws, verdict in ((7, YES), (8, NO)):
        fold_runs([keep(tiny, {"n_draws": n_draws, "seed": n_draws}, [verdict] * 3)])
    records = read_records(tiny)
    assert [record["parameters"] for record in records] == [{"n_draws": 7}, {"n_draws": 8}]
    assert [len(record["runs"]) for record in records] == [1, 1]


def change_code(chapter):
    chapter.source.write_text(chapter.source.read_text().replace("= 100 ", "= 101 "))
    return chapter.reread()


def test_an_older_version_is_kept_and_marked_and_stale(tiny):
    fold_runs([keep(tiny, {"seed": seed}, [YES] * 3) for seed in (101, 102)])
    fold_runs([keep(tiny, {"n_draws": 1000}, [YES] * 3, GPU)])
    assert stale_records(tiny) == []
    changed = change_code(tiny)
    rows = rows_of(changed)
    assert rows[0]["held_over_seeds"] == "2/2 (older version)"
    assert rows[0]["gpu_verdict"] == "reproduced (older version)"
    default, gpu = stale_records(changed)
    assert [run.parameters for run in runs_of(default, changed, tiny.root / "runs")] == [
        {"seed": 101},
        {"seed": 102},
    ]
    assert gpu["device"] == GPU
    fold_runs([keep(changed, {"seed": seed}, [NO] * 3) for seed in (101, 102)])
    assert len(read_records(changed)) == 3
    assert rows_of(changed)[0]["held_over_seeds"] == "0/2"
    assert stale_records(changed) == [gpu]


@pytest.mark.bad_input
def test_a_record_of_parameters_that_are_gone_cannot_be_made_again(tiny):
    fold_runs([keep(tiny, {"law": "constant"}, [YES] * 3)])
    tiny.source.write_text(tiny.source.read_text().replace('"normal" or "constant"', '"normal" or "uniform"'))
    changed = tiny.reread()
    (record,) = read_records(changed)
    with pytest.raises(BookError, match="law of tiny must be one of 'normal', 'uniform'; got 'constant'"):
        runs_of(record, changed, tiny.root / "runs")


def test_the_command_of_a_record_writes_values_as_they_are_read(tiny):
    command = record_command(tiny, {"scale": 1e-05, "names": ["a b", "1"], "note": "null"}, [3, 4, 5])
    words = shlex.split(command)
    assert words[:7] == ["regularity", "record", "tiny", "--seeds", "3", "--first-seed", "3"]
    assert words[7:] == ["-p", "scale", "1e-05", "-p", "names", '["a b", "1"]', "-p", "note", '"null"']


def test_records_made_at_once_lose_nothing(tiny):
    runs = [keep(tiny, {"seed": seed}, [YES] * 3) for seed in range(100, 112)]
    barrier = threading.Barrier(len(runs))

    def fold(run):
        barrier.wait()
        fold_runs([run])

    threads = [threading.Thread(target=fold, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (record,) = read_records(tiny)
    assert [run["seed"] for run in record["runs"]] == list(range(100, 112))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"runs": []}', '{"records": {}}', '{"records": [{"size": "default"}]}', "\udcff"],
)
def test_a_broken_file_of_records_is_named(tiny, content):
    tiny.records.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        BookError, match=r"tiny\.records\.json must hold records as `regularity record` writes"
    ):
        read_records(tiny)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(runs=[1]),
        lambda record: record.update(runs={"a": 1}),
        lambda record: record["runs"][0].update(claims=None),
        lambda record: record["runs"][0].update(claims=[{}]),
        lambda record: record["runs"][0].update(seed="x"),
        lambda record: record.update(device=None),
        lambda record: record.update(parameters=[]),
        lambda record: record.update(date=None),
    ],
)
def test_a_record_of_another_shape_is_named(tiny, change):
    fold_runs([keep(tiny, {"seed": 101}, [YES] * 3)])
    content = json.loads(tiny.records.read_text())
    change(content["records"][0])
    tiny.records.write_text(json.dumps(content))
    with pytest.raises(BookError, match=r"tiny\.records\.json must hold records"):
        read_records(tiny)


@pytest.mark.bad_input
def test_runs_on_a_gpu_and_on_a_cpu_are_not_one_record(tiny, monkeypatch):
    runs = [keep(tiny, {"seed": 101}, [YES] * 3), keep(tiny, {"seed": 102}, [NO] * 3, GPU)]
    with pytest.raises(ValueError, match="runs must be of one kind of device; got CPU, NVIDIA H200"):
        fold_runs(runs)
    monkeypatch.chdir(tiny.root)
    done = CliRunner().invoke(main, ["record", "tiny", "--seeds", "2"])
    assert done.exit_code == 0, done.output
    assert "on CPU:\n1/1 The mean is zero\n" in done.output
    assert "on NVIDIA H200:\n0/1 The mean is zero\n" in done.output
    assert [(r["device"], [run["seed"] for run in r["runs"]]) for r in read_records(tiny)] == [
        (CPU, [101]),
        (GPU, [102]),
    ]
