"""Files of a log: other names and formats, rows that are left out, messages."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from experiment_fixtures import YAML, write_experiment

from vidtopics.errors import InputError, SettingsError, VidtopicsError
from vidtopics.experiments.analysis import analyse
from vidtopics.experiments.declaration import read_experiment
from vidtopics.experiments.log import read_log

START = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


def write_rows(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture
def small(tmp_path):
    """Three users of production and topics, by hand."""
    (tmp_path / "experiment.yaml").write_text(YAML.replace("salt: ranker-topics\n", ""))
    write_rows(
        tmp_path / "assignment.csv",
        "user_id,arm,assigned_at",
        [
            "a,production,2026-12-01",
            "b,topics,2026-12-01T12:00:00Z",
            "c,topics,2026-12-01",
            "d,production,2026-12-01",
            "d,topics,2026-12-01",
        ],
    )
    write_rows(
        tmp_path / "outcomes.csv",
        "user_id,time,watch_seconds,views,refreshes",
        [
            "a,2026-12-01T00:00:00Z,10,1,",
            "a,2026-12-01T23:59:59Z,5,2,1",
            "a,2026-12-02 00:00:00,7,1,1",
            "b,2026-12-01T11:59:59Z,99,9,9",
            f"b,{START + 86_400 * 6},3.5,1,2",
            "c,2026-12-08T00:30:00+01:00,2,1,1",
            "c,2026-12-08T00:00:00Z,99,9,9",
            "c,2026-11-30T23:59:59Z,99,9,9",
            "d,2026-12-02T00:00:00Z,99,9,9",
            "x,2026-12-02T00:00:00Z,99,9,9",
        ],
    )
    return tmp_path


def test_totals_by_day_and_what_is_left_out(small):
    log = read_log(read_experiment(small), small)
    assert log.user_ids == ["a", "b", "c"]
    assert log.arm.tolist() == [0, 1, 1]
    expected = np.zeros((3, 7))
    expected[0, :2], expected[1, 6], expected[2, 6] = [15, 7], 3.5, 2
    assert np.array_equal(log.daily["watch_seconds"], expected)
    assert log.daily["refreshes"][0].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert log.rows == {
        "outcomes": {
            "after the experiment": 1,
            "before the assignment of their user": 1,
            "before the experiment": 1,
            "counted": 5,
            "of users in two arms": 1,
            "of users without an assignment": 1,
        }
    }
    assert (log.in_two_arms, log.unassigned) == (["d"], ["x"])
    assert log.first_outcome.tolist() == [0, 6, 6]
    assert log.is_active(1).tolist() == [True, False, False]


def as_owner(folder, target):
    """The same log as an owner has it: other names, formats and files."""
    target.mkdir()
    assignment = pa.csv.read_csv(folder / "assignment.csv")
    lines = ["uid;variant;os"]
    lines += [
        f"{row['user_id']};{row['arm']};{'ios' if place % 3 else ''}"
        for place, row in enumerate(assignment.to_pylist())
    ]
    (target / "buckets.csv").write_text("\n".join(lines))
    plays = []
    for name in ("pre_outcomes", "outcomes"):
        for row in pa.csv.read_csv(folder / f"{name}.csv").to_pylist():
            time = row["time"].replace(tzinfo=UTC).timestamp()
            # a play for each view; the first has all seconds and refreshes
            plays.append(
                {
                    "uid": row["user_id"],
                    "ts": time,
                    "dur_s": row["watch_seconds"],
                    "pulls": row["refreshes"],
                }
            )
            plays += [{"uid": row["user_id"], "ts": time}] * (int(row["views"]) - 1)
    with (target / "plays.jsonl").open("w") as file:
        file.writelines(json.dumps(play) + "\n" for play in plays)
    exposure = pa.parquet.read_table(folder / "exposure.parquet")
    pa.parquet.write_table(exposure.rename_columns(["uid", "opened"]), target / "opens.parquet")
    (target / "experiment.yaml").write_text(
        YAML
        + """
strata: [os]
files:
  {assignment: buckets.csv, outcomes: plays.jsonl, pre_outcomes: plays.jsonl,
   exposure: opens.parquet}
columns:
  assignment: {user_id: uid, arm: variant}
  exposure: {user_id: uid, time: opened}
  outcomes: {user_id: uid, time: ts, watch_seconds: dur_s, views: "*", refreshes: pulls}
"""
    )


def test_an_owners_names_and_formats_give_the_same_log(tmp_path):
    experiment = write_experiment(tmp_path / "ours", users=60)
    as_owner(tmp_path / "ours", tmp_path / "theirs")
    ours = read_log(experiment, tmp_path / "ours")
    theirs = read_log(read_experiment(tmp_path / "theirs"), tmp_path / "theirs")
    assert theirs.user_ids == ours.user_ids
    assert theirs.strata == ["ios", "none"]
    for name in ("watch_seconds", "views", "refreshes"):
        assert np.allclose(theirs.daily[name], ours.daily[name])
        assert np.allclose(theirs.pre_daily[name], ours.pre_daily[name])
    assert np.array_equal(theirs.first_exposure, ours.first_exposure)
    assert ours.daily["views"].sum() > 0


def test_the_report_is_that_of_plain_sums(tmp_path):
    """UVD and AVD without CUPED from the files, in plain Python."""
    write_experiment(tmp_path, users=300, effect=0.3)
    (tmp_path / "pre_outcomes.csv").unlink()
    arms = {
        r["user_id"]: r["arm"] for r in pa.csv.read_csv(tmp_path / "assignment.csv").to_pylist()
    }
    seconds, views = {"production": 0.0, "topics": 0.0}, {"production": 0.0, "topics": 0.0}
    for row in pa.csv.read_csv(tmp_path / "outcomes.csv").to_pylist():
        seconds[arms[row["user_id"]]] += row["watch_seconds"]
        views[arms[row["user_id"]]] += row["views"]
    users = {arm: list(arms.values()).count(arm) for arm in seconds}
    rows = {(r["metric"], r["population"]): r for r in analyse(tmp_path)["comparisons"]}
    uvd, avd = rows["UVD", "assigned"], rows["AVD", "assigned"]
    assert uvd["control"] == pytest.approx(seconds["production"] / users["production"])
    assert uvd["treatment"] == pytest.approx(seconds["topics"] / users["topics"])
    assert avd["treatment"] == pytest.approx(seconds["topics"] / views["topics"])
    assert avd["relative"] == pytest.approx(avd["treatment"] / avd["control"] - 1)
    assert rows["UAVD", "active"]["users"][0] < users["production"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "outcomes.csv",
            "user_id,time,watch_seconds,views,refreshes\na,yesterday,1,1,1\n",
            r"outcomes.csv, row 1, column 'time': expected ISO 8601 or Unix seconds, found"
            r" 'yesterday' \(1 such rows\)",
        ),
        (
            "outcomes.csv",
            "user_id,time,watch_seconds,views,refreshes\na,1,1,1,1\na,2,x,1,1\n",
            r"row 2, column 'watch_seconds': expected a finite number, or nothing for 0, found 'x'",
        ),
        (
            "outcomes.csv",
            "user_id,time,watch_seconds,views,refreshes\n,1,1,1,1\n",
            r"row 1, column 'user_id': expected a text, found nothing",
        ),
        (
            "outcomes.csv",
            "user_id,time,watch_second,views,refreshes\na,1,1,1,1\n",
            r"expected a column 'watch_seconds', found only .* Mend: map it under `columns` in"
            r" experiment.yaml, if 'watch_second' holds it",
        ),
        (
            "assignment.csv",
            "user_id,arm\na,production\nb,treatment\n",
            r"expected the arms production, topics, found treatment",
        ),
        ("outcomes.jsonl", "{}\n", r"expected one outcomes, found outcomes.csv and outcomes.jsonl"),
        ("exposure.parquet", "no parquet", r"exposure.parquet: expected a parquet file, found"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(small, name, text, message):
    (small / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_log(read_experiment(small), small)


def test_a_missing_file_is_refused_by_name(small):
    (small / "outcomes.csv").unlink()
    with pytest.raises(InputError, match="expected a file outcomes, found none"):
        analyse(small)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("saltt: x", r"saltt: expected a known key, found 'saltt'. Mend: did you mean 'salt'"),
        ("control: nobody", r"expected control 'nobody' is none of the arms"),
        ("end: 2026-12-01", r"no whole number of days"),
        ("decision: {kind: sequential}", r"`sequential` has `expected_effect`"),
        ("arms: {production: {share: 0.5}}", r"arms: expected Dictionary should have at least 2"),
        ("metrics: {m: {kind: ratio, value: a}}", r"a ratio has `per`"),
        ("files: {outcome: x.csv}", r"'outcome' is none of the files assignment, exposure"),
        (
            "arms: {production: {share: 0.5}, topics: {buckets: [1]}}",
            r"either all arms have a share",
        ),
        (
            "arms: {production: {share: 0.7}, topics: {share: 0.7}}",
            r"topics.share: expected a whole",
        ),
        ("salt: 'a:b'", r"salt: expected String should match pattern"),
    ],
)
def test_a_declaration_that_is_wrong_is_refused_by_key(tmp_path, change, message):
    key = change.partition(":")[0]
    lines = [line for line in YAML.splitlines() if not line.startswith(f"{key}:")]
    if key == "arms":
        lines = [line for line in lines if not line.startswith("  ")]
    (tmp_path / "experiment.yaml").write_text("\n".join([*lines, change]))
    with pytest.raises(SettingsError, match=message):
        read_experiment(tmp_path)


def test_a_folder_without_a_declaration_is_refused(tmp_path):
    with pytest.raises(VidtopicsError, match=r"experiment.yaml"):
        analyse(tmp_path)
