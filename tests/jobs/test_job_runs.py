"""What a run of all jobs leaves, what is skipped, and what a change makes run again."""

import ast
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small_world
from small_home import T1, T2, execute, of_the_change, spy_on_encoder

from vidtopics.contracts import (
    DERIVED,
    IMPRESSIONS,
    RELEASES,
    TABLES,
    TAG_COOCCURRENCE,
    TOPIC_QUEUES,
    TOPICS,
    VIDEO_CATALOG,
    VIDEO_CONTENT_ENCODING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_STATISTICS,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)
from vidtopics.errors import SettingsError
from vidtopics.jobs.pipeline import JOBS, TRAINING_JOBS, find, run_jobs, schedule
from vidtopics.settings import parse
from vidtopics.tables.commits import latest_commit
from vidtopics.tables.releases import read_log
from vidtopics.times import moment

OF_VIDEOS = (VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION, VIDEO_TOPICS, VIDEO_STATISTICS)


def test_each_run_ran_all_jobs_and_ends_with_a_release(home):
    assert list(home.releases.values()) == [1, 2, 3]
    assert {decision.state for decision in home.decisions.values()} == {"released"}
    assert all([s.publication.table for s in steps] == list(JOBS) for steps in home.steps.values())
    skipped = {
        s.publication.table for at in (T1, T2) for s in home.steps[at] if s.publication.skipped
    }
    assert skipped == {"video_content_encoding"}  # the training ran it
    row = home.rows(RELEASES)[1]
    assert row["event_timestamp"] == T2
    assert dict(row["versions"]) == {
        **{name: version for name, version in row["versions"] if name not in JOBS},
        **{s.publication.table: s.publication.version for s in home.steps[T2]},
    }
    quality, living = dict(row["quality"]), [r for r in home.holds(TOPICS, T2) if not r["retired"]]
    assert (quality["topics"], quality["topic_model"]) == (len(living), 2)
    assert [release.topic_model for release in read_log(home.tables)] == [1, 2, 3]


@pytest.mark.parametrize("table", OF_VIDEOS, ids=lambda t: t.name)
def test_a_video_that_is_taken_down_ends_at_the_next_run(home, table):
    history = [r for r in home.rows(table) if r["video_id"] == small_world.REMOVED_LATER]
    assert [r["event_timestamp"] for r in history] == [T1, T2]
    assert [r["value_hash"] == 0 for r in history] == [False, True]
    assert {history[1][c.name] for c in table.values} == {None}
    assert small_world.REMOVED_LATER not in {r["video_id"] for r in home.holds(table, T2)}
    assert small_world.REMOVED_BEFORE not in {r["video_id"] for r in home.rows(table)}


@pytest.mark.parametrize("table", OF_VIDEOS, ids=lambda t: t.name)
def test_a_video_begins_at_the_first_run_after_its_upload(home, table):
    assert (
        min(
            r["event_timestamp"]
            for r in home.rows(table)
            if r["video_id"] == small_world.NEVER_SHOWN
        )
        == T2
    )


def test_a_backfill_is_known_an_hour_later_and_a_live_run_when_it_is_published(home):
    hour = 3_600_000_000
    for table in DERIVED:
        rows = home.rows(table)
        backfilled = {
            r["created_timestamp"] - r["event_timestamp"]
            for r in rows
            if r["event_timestamp"] != home.live_us
        }
        assert backfilled <= {hour}, table.name
    live = [r for table in DERIVED for r in home.rows(table, home.live_us)]
    assert live
    began, ended = (seconds * 1e6 for seconds in home.live_seconds)
    assert all(began <= r["created_timestamp"] <= ended for r in live)


def test_a_second_identical_run_writes_nothing_and_loads_neither_spark_nor_torch(home, fork):
    again = fork()
    before = files(again.tables.home)
    times = [moment(T1), moment(T2), None]
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(again.tables.home), str(home.config), json.dumps(times)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    report = json.loads(done.stdout)
    assert report["heavy"] == []
    assert report["skipped"] == [True] * (len(JOBS) * 3)
    assert report["releases"] == [None] * 3
    # of the data only the times at which videos come and go, and which topic has which parent
    assert set(report["read"]) <= {"video_catalog", "releases", "topics"}
    assert files(again.tables.home) == before


AGAIN = """
import json, sys
from pathlib import Path
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs
from vidtopics.settings import load
from vidtopics.tables import Tables
HEAVY = ("pyspark", "torch", "transformers", "timm", "gensim", "numba")
tables, settings = Tables(sys.argv[1]), load(sys.argv[2])
read = []
for name in ("read", "as_of", "spark_as_of"):
    real = getattr(Tables, name)
    def spy(self, table, *arguments, real=real, **options):
        read.append(table.name)
        return real(self, table, *arguments, **options)
    setattr(Tables, name, spy)
steps, releases = [], []
for time in json.loads(sys.argv[3]):
    run = Run.of_option(tables, settings, time)
    releases.append(run_jobs(run, find([]), steps.append))
print(json.dumps({
    "heavy": [name for name in HEAVY if name in sys.modules],
    "skipped": [step.publication.skipped for step in steps], "releases": releases, "read": read,
}))
"""


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file() and p.name != "run.lock"
    }


RATED = {"topic_queues", "user_statistics", "user_topic_counts"}
"""Jobs that smooth click rates."""


def outdated(home, at: int = T2) -> set[str]:
    """Jobs that would run."""
    run = home.at(at)
    return {job.name for job in find([]) if not run.tables.is_done(job.table, job.commit(run))}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, set()),
        ({"seed": 8}, set(JOBS)),
        ({"statistics": {"prior_exposures": 5}}, RATED),
        # What is learned follows the version, until another is trained.
        ({"tags": {"min_videos": 3}}, set()),
        ({"tags": {"dimensions": 9}}, set()),
        ({"topics": {"clusters": 9, "threshold": 0.5}}, set()),
        ({"content": {"iterations": 21}}, set()),
        ({"content": {"image_encoder": {"pixels": 96}}}, set()),
        (
            {
                "evaluation": {"clusterings": 3},
                "simulation": {"users": 9},
                "ingest": {"batch_rows": 9},
            },
            set(),
        ),
    ],
    ids=of_the_change,
)
def test_a_changed_setting_runs_the_jobs_that_depend_on_it(home, change, expected):
    tree = merged(home.settings.model_dump(), change)
    assert outdated(replace(home, settings=parse(tree, where="test"))) == expected


def merged(tree: dict, change: dict) -> dict:
    return tree | {k: merged(tree[k], v) if isinstance(v, dict) else v for k, v in change.items()}


def test_a_changed_setting_changes_its_table_and_leaves_the_others(home, fork):
    changed = fork()
    changed.settings = parse(
        merged(home.settings.model_dump(), {"statistics": {"prior_exposures": 5}}), where="test"
    )
    execute(changed, changed.at(T2))
    steps = changed.steps[T2]
    assert {s.publication.table for s in steps if not s.publication.skipped} == RATED | {
        "user_topics"
    }
    facts = changed.tables.commits(TOPIC_QUEUES)[-1].facts
    counts = changed.holds(VIDEO_STATISTICS, T2)
    shown, clicked = (sum(r[name] for r in counts) for name in ("video_exposures", "video_clicks"))
    assert facts == {"prior_exposures": 5, "global_ctr": pytest.approx(clicked / shown)}
    clicks = {r["video_id"]: r["video_clicks"] + 5 * clicked / shown for r in counts}
    queues = changed.tables.read(TOPIC_QUEUES).to_pylist()
    assert [r["queue_ctr"] for r in queues] == pytest.approx(
        [clicks[r["video_id"]] / (r["queue_exposures"] + 5) for r in queues]
    )


def test_new_encodings_make_the_joint_representation_run_and_nothing_else(home, fork):
    new = fork()
    row = (
        new.tables.read(VIDEO_CONTENT_ENCODING).sort_by("created_timestamp").slice(0, 1)
    )  # known to the run at T1
    at = row.schema.get_field_index("encoder")
    other = row.set_column(at, "encoder", [["another"]])
    widths = {name: len(row[f"{name[:5]}_encoding"][0]) for name in ("image_width", "title_width")}
    commit = latest_commit(new.tables.commits(VIDEO_CONTENT_ENCODING), T1)
    new.tables.publish(VIDEO_CONTENT_ENCODING, other, commit, widths=widths)
    assert outdated(new, T1) == outdated(new, T2) == {"video_joint_representation"}


def test_a_run_that_changes_nothing_makes_no_release(fork):
    same = fork()
    [job] = find(["video_content_encoding"])
    other_code = replace(job, code=("vidtopics.jobs.inputs",))
    assert run_jobs(same.at(T2), [other_code]) is None
    assert outdated(same) == {"video_content_encoding"}  # the code that ran was another


def test_a_run_that_leaves_the_tag_graph_as_it_was_makes_no_release_and_no_new_vectors(fork):
    same = fork()
    [job] = find(["tag_cooccurrence"])
    decision = run_jobs(same.at(T2), [replace(job, code=("vidtopics.jobs.inputs",))])
    assert same.tables.commits(TAG_COOCCURRENCE)[-1].rows == 0
    assert (decision, "tag_embedding" in outdated(same)) == (None, False)


def test_nothing_new_goes_to_the_encoders_on_a_repeated_run(fork, monkeypatch):
    same = fork()
    [job] = find(["video_content_encoding"])
    titles = spy_on_encoder(monkeypatch)
    assert job.run(same.at(T2)).skipped
    replace(job, code=()).run(same.at(T2))
    assert titles == []


def test_jobs_are_found_in_the_order_of_their_dependencies():
    jobs = find(reversed(JOBS))
    derived = {table.name for table in DERIVED}
    assert [job.name for job in jobs] == list(JOBS)
    for i, job in enumerate(jobs):
        assert {t.name for t in job.inputs} & derived <= set(JOBS[:i]), job.name
    assert derived == {*JOBS, *TRAINING_JOBS}


@pytest.mark.parametrize("name", [job.name for job in find([]) if job.distribute])
def test_executors_give_the_rows_of_this_process(home, fork, name):
    others = [t for t in TABLES.values() if home.tables.exists(t) and t.name != name]
    remote, [job] = fork(others), find([name])
    assert job.run(replace(remote.at(T1), on_spark=True)).rows
    assert in_order(job.table, remote.holds(job.table, T1)) == in_order(
        job.table, home.holds(job.table, T1)
    )
    if job.table.kind == "history":  # a snapshot of T1 has been replaced since
        assert remote.rows(job.table) == home.rows(job.table, T1)


def in_order(table, rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: [row[name] for name in table.key])


def test_an_unknown_job_is_named():
    with pytest.raises(SettingsError, match=r"jobs of tag_cooccurrence, .*, found video_topic\."):
        find(["topics", "video_topic"])


def test_the_schedule_is_at_quantiles_of_impression_time(home):
    times = sorted(r["event_timestamp"] for r in home.rows(IMPRESSIONS))
    assert len(times) == 1_005
    # three dates: the 335th and the 670th impression, and the last, each counted by its run
    assert schedule(home.tables, home.settings) == [times[334] + 1, times[669] + 1, times[-1] + 1]


def test_without_impressions_there_is_one_date_after_the_last_video(fork):
    videos = fork([VIDEO_CATALOG], models=False)
    last = max(r["event_timestamp"] for r in videos.rows(VIDEO_CATALOG))
    assert schedule(videos.tables, videos.settings) == [last + 1]


# Reading, refusing, running and publishing change no value; `weights` is covered by their hash.
PLUMBING = {
    "vidtopics.jobs.job",
    "vidtopics.jobs.checks",
    "vidtopics.jobs.session",
    "producers.content.weights",
}
# Imported for the type of a callback.
TYPES = {
    "video_content_encoding": {"producers.content.training"},
}


@pytest.mark.parametrize("name", JOBS)
def test_a_jobs_code_names_every_module_that_its_result_depends_on(name):
    [job] = find([name])
    assert all(importlib.util.find_spec(module) for module in job.code)
    used = imported(f"spark_jobs.{name}", without=PLUMBING | TYPES.get(name, set()))
    packages = {m for m in job.code if importlib.util.find_spec(m).submodule_search_locations}
    assert {
        m for m in used if m not in job.code and not any(m.startswith(f"{p}.") for p in packages)
    } == set()


def imported(module: str, *, without: set[str]) -> set[str]:
    """Modules of jobs and producers that a module runs, itself included, not those of types."""
    modules, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in modules | without:
            continue
        modules.add(name)
        tree = ast.parse(Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8"))
        typing = [
            n
            for n in ast.walk(tree)
            if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"
        ]
        skipped = {id(n) for block in typing for n in ast.walk(block)}
        froms = [
            n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and id(n) not in skipped
        ]
        waiting += [
            n.module
            for n in froms
            if n.module and n.module.split(".")[0] in ("producers", "spark_jobs")
        ]
    return modules
