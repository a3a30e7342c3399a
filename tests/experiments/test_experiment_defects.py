"""Deliberate errors: each is caught by the check that is made for it, and by name."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from experiment_fixtures import write_experiment

from vidtopics.errors import InputError
from vidtopics.experiments.analysis import analyse
from vidtopics.experiments.bucketing import bucket
from vidtopics.experiments.checks import check_sample_ratio


def checks_of(report):
    return {check["name"]: check for check in report["checks"]}


def rewrite(path, mask):
    table = pa.csv.read_csv(path)
    pa.csv.write_csv(table.filter(pa.array(mask(table))), path)


def test_a_correct_log_passes_every_check(tmp_path):
    write_experiment(tmp_path, users=2000, effect=0.1)
    report = analyse(tmp_path)
    outcomes = {check["outcome"] for check in report["checks"]}
    assert outcomes <= {"passed", "not checked"}
    assert report["verdict"] == "decided"
    assert len(report["comparisons"]) == 5


def test_one_percent_of_an_arm_that_is_lost_stops_the_verdict_at_size():
    """A million users: 5,000 of 500,000 are missing."""
    check = check_sample_ratio({"control": 500_000, "topics": 495_000}, [0.5, 0.5])
    assert check.outcome == "stopped"
    # 995,000 in all: 497,500 expected
    assert check.detail.startswith("topics has 2,500 users too few of 497,500 expected (-0.50%)")


def test_one_percent_of_an_arms_assignments_is_seen_by_the_hash_of_their_events(tmp_path):
    """2,000 users are too few for the sample ratio; the lost users' events give them away."""
    write_experiment(tmp_path, users=4000)
    arms = pa.csv.read_csv(tmp_path / "assignment.csv")
    treated = np.flatnonzero(np.array(arms["arm"].to_pylist()) == "topics")
    lost = treated[::100]
    keep = np.ones(len(arms), bool)
    keep[lost] = False
    rewrite(tmp_path / "assignment.csv", lambda table: keep)
    report = analyse(tmp_path)
    checks = checks_of(report)
    assert checks["sample ratio"]["outcome"] == "passed"
    assert checks["users without an assignment"]["outcome"] == "stopped"
    detail = checks["users without an assignment"]["detail"]
    assert detail.startswith("16 users with events, by their hash production 0, topics 16 (p =")
    assert (report["verdict"], report["comparisons"]) == ("stopped", [])


def test_users_without_an_assignment_are_counted_once_however_many_events_they_have(tmp_path):
    """Assignments that are lost by chance, of both arms alike, stop nothing."""
    write_experiment(tmp_path, users=2000)
    (tmp_path / "exposure.parquet").unlink()
    outcomes = pa.csv.read_csv(tmp_path / "outcomes.csv")
    pa.csv.write_csv(pa.concat_tables([outcomes] * 40), tmp_path / "outcomes.csv")
    rewrite(tmp_path / "assignment.csv", lambda table: np.arange(len(table)) % 100 != 7)
    check = checks_of(analyse(tmp_path))["users without an assignment"]
    assert check["outcome"] == "passed"
    counts = [int(part.split()[-1]) for part in check["detail"].split(";")[0].split(", ")]
    assert sum(counts) <= 20


def test_ids_and_times_that_are_written_in_another_way_are_said(tmp_path):
    """They would be "too early" for ever: no row of theirs can be counted."""
    write_experiment(tmp_path, users=200)
    outcomes = pa.csv.read_csv(tmp_path / "outcomes.csv")
    for column, value, message in (
        ("user_id", "u7.0", r"outcomes, user_id: expected users of .*, as 'u7.0'"),
        ("time", "9999-01-01T00:00:00Z", r"outcomes, time: .* found the first in the year 9999"),
    ):
        place, values = outcomes.column_names.index(column), pa.array([value] * len(outcomes))
        pa.csv.write_csv(outcomes.set_column(place, column, values), tmp_path / "outcomes.csv")
        with pytest.raises(InputError, match=message):
            analyse(tmp_path)


def test_exposures_that_are_lost_in_one_arm_stop_the_verdict(tmp_path):
    write_experiment(tmp_path, users=3000)
    arms = dict(
        zip(*pa.csv.read_csv(tmp_path / "assignment.csv").to_pydict().values(), strict=True)
    )
    exposure = pa.parquet.read_table(tmp_path / "exposure.parquet")
    users = exposure["user_id"].to_pylist()
    treated = sorted({user for user in users if arms[user] == "topics"})
    lost = set(treated[::50])
    keep = pa.array([user not in lost for user in users])
    pa.parquet.write_table(exposure.filter(keep), tmp_path / "exposure.parquet")
    report = analyse(tmp_path)
    assert checks_of(report)["outcomes have exposures"]["outcome"] == "stopped"
    assert f"topics {len(lost)} of" in checks_of(report)["outcomes have exposures"]["detail"]


def write_other_test(path, users, salt, buckets=1000):
    lines = ["user_id,arm"]
    lines += [f"{u},{'on' if bucket(u, salt, buckets) < buckets / 2 else 'off'}" for u in users]
    path.write_text("\n".join(lines))


def test_a_salt_that_another_test_uses_stops_the_verdict(tmp_path):
    write_experiment(tmp_path, users=500, more="concurrent_tests: {recall: recall.csv}\n")
    users = [f"u{number:06d}" for number in range(500)]
    write_other_test(tmp_path / "recall.csv", users, "another-salt")
    assert checks_of(analyse(tmp_path))["independent of recall"]["outcome"] == "passed"
    write_other_test(tmp_path / "recall.csv", users, "ranker-topics")
    report = analyse(tmp_path)
    assert report["verdict"] == "stopped"
    assert (
        "500 users in both have arms that depend"
        in (checks_of(report)["independent of recall"]["detail"])
    )


def test_treatment_in_the_pre_period_stops_the_verdict(tmp_path):
    """CUPED would take the effect away: the arms already differ in the covariate."""
    write_experiment(tmp_path, users=4000, effect=0.3, leak=0.3)
    report = analyse(tmp_path)
    check = checks_of(report)["no difference in the pre-period"]
    assert check["outcome"] == "stopped"
    assert check["detail"].startswith(("largest: AVD, topics +", "largest: UVD, topics +"))
    assert report["verdict"] == "stopped"


def test_exposures_before_the_start_are_said(tmp_path):
    write_experiment(tmp_path, users=500)
    exposure = pa.parquet.read_table(tmp_path / "exposure.parquet")
    early = pa.table(
        {
            "user_id": ["u000001"],
            "time": pa.array([np.datetime64("2026-11-30", "s")], pa.timestamp("s")),
        }
    ).cast(exposure.schema)
    pa.parquet.write_table(pa.concat_tables([exposure, early]), tmp_path / "exposure.parquet")
    report = analyse(tmp_path)
    check = checks_of(report)["no exposure before the start"]
    assert (check["outcome"], check["detail"][:11]) == ("warning", "1 exposures")
    assert report["rows"]["exposure"]["before the experiment"] == 1
    assert report["verdict"] == "decided"


def test_users_in_two_arms_are_named_and_left_out(tmp_path):
    write_experiment(tmp_path, users=1000)
    path = tmp_path / "assignment.csv"
    other = {"production": "topics", "topics": "production"}
    rows = pa.csv.read_csv(path).to_pylist()
    path.write_text(path.read_text() + f"u000007,{other[rows[7]['arm']]}\n")
    report = analyse(tmp_path)
    check = checks_of(report)["one arm a user"]
    assert check["outcome"] == "warning"
    assert "1 (u000007) of 1,000 users" in check["detail"]
    assert sum(arm["users"] for arm in report["arms"].values()) == 999


@pytest.mark.parametrize(("users", "outcome"), [(5, "warning"), (50, "stopped")])
def test_assignments_that_do_not_follow_the_salt_are_named(tmp_path, users, outcome):
    write_experiment(tmp_path, users=1000)
    path = tmp_path / "assignment.csv"
    other = {"production": "topics", "topics": "production"}
    rows = pa.csv.read_csv(path).to_pylist()
    lines = [
        f"{row['user_id']},{other[row['arm']] if place < users else row['arm']}"
        for place, row in enumerate(rows)
    ]
    path.write_text("\n".join(["user_id,arm", *lines]))
    report = analyse(tmp_path)
    check = checks_of(report)["assignment by hash"]
    assert check["outcome"] == outcome
    assert f"{users} (u000000, u000001, u000002, ...) of 1,000" in check["detail"]


def test_a_fixed_horizon_has_no_estimates_before_its_end(tmp_path):
    write_experiment(tmp_path, users=300, effect=0.5)
    rewrite(
        tmp_path / "outcomes.csv",
        lambda table: np.array(table["time"].to_numpy() < np.datetime64("2026-12-04")),
    )
    exposure = pa.parquet.read_table(tmp_path / "exposure.parquet")
    early = exposure["time"].to_numpy() < np.datetime64("2026-12-04")
    pa.parquet.write_table(exposure.filter(pa.array(early)), tmp_path / "exposure.parquet")
    report = analyse(tmp_path)
    assert (report["verdict"], report["observed_days"]) == ("too early", 3)
    assert report["comparisons"] == []


def test_a_sequential_experiment_may_be_looked_at_and_says_since_when(tmp_path):
    more = "decision: {kind: sequential, expected_effect: 0.3}\n"
    write_experiment(tmp_path, users=2000, effect=0.8, more=more)
    report = analyse(tmp_path)
    uvd = report["comparisons"][0]
    assert [look["day"] for look in uvd["looks"]] == [1, 2, 3, 4, 5, 6, 7]
    assert uvd["is_significant"]
    assert uvd["p"] == min(look["p"] for look in uvd["looks"])
    first = next(look["day"] for look in uvd["looks"] if look["p"] <= 0.05)
    assert uvd["first_day_beyond"] == first
    widths = [look["high"] - look["low"] for look in uvd["looks"]]
    assert widths[0] > widths[-1]
