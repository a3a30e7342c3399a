import json

import pytest

from vidtopics.cli import common
from vidtopics.errors import InputError, StoreError


def test_the_median_of_all_rounds_counts():
    from benchmarks.figures import Target, figure

    time = figure("b", "t", "s", [3.0, 1.0, 2.0], [8.0, 9.0], "peer", [Target("faster", 4)])
    assert (time.ours, time.peer, time.ratio, time.met) == (2.0, 8.5, 4.25, True)  # 8.5 / 2
    rate = figure(
        "b",
        "r",
        "keys/s",
        [10.0, 30.0],
        [10.0, 8.0, 5.0],
        "peer",
        [Target("least", 20), Target("faster", 4)],
    )
    assert (rate.ours, rate.peer, rate.ratio, rate.met) == (20.0, 8.0, 2.5, False)  # 20 / 8 < 4
    share = figure(
        "b", "m", "MB", [90.0], [120.0], "peer", [Target("share", 0.75)], compare="share"
    )
    assert (share.ratio, share.met) == (0.75, True)  # 90 / 120, the bound itself is met
    alone = figure("b", "m", "GB", [9.0], targets=[Target("most", 8)])
    assert (alone.peer, alone.ratio, alone.met) == (None, None, False)
    assert figure("b", "m", "GB", [9.0]).met is None


def test_a_quantile_is_of_all_reads_of_all_rounds():
    """A hundred reads: with the slow round left out, p99 would be 1 ms."""
    import numpy as np

    from benchmarks.figures import Target, quantile_figure

    rounds = [np.ones(95), np.full(5, 7.0)]
    p99 = quantile_figure("b", "p99", 0.99, rounds, targets=[Target("most", 2)])
    assert (p99.ours, p99.ours_rounds, p99.met) == (7.0, (1.0, 7.0), False)
    p50 = quantile_figure(
        "b", "p50", 0.5, rounds, [np.full(3, 20.0)], "peer", [Target("faster", 20)]
    )
    assert (p50.ours, p50.peer, p50.ratio, p50.met) == (1.0, 20.0, 20.0, True)


def test_sides_that_differ_are_an_error():
    from benchmarks.figures import check

    check("values", [1], [1])
    with pytest.raises(
        StoreError, match=r"benchmark, values: expected the peer's \[2\], found \[1\]"
    ):
        check("values", [1], [2])


def test_rows_are_what_their_contracts_say():
    import numpy as np

    from benchmarks.data import START_US, rows, video_ids
    from vidtopics.contracts import VIEWS
    from vidtopics.tables.values import violations

    times = np.full(50, START_US)
    for table in VIEWS.values():
        for slots in ("full", "mixed"):
            made = rows(table, video_ids(np.arange(50)), times, times, seed=1, slots=slots)
            again = rows(table, video_ids(np.arange(50)), times, times, seed=1, slots=slots)
            assert made.equals(again)
            widths = {"tag_width": 128, "joint_width": 512}
            assert [v for v in violations(table, made.to_batches()[0], widths) if v] == []
    mixed = rows(
        VIEWS["video_topics"], video_ids(np.arange(50)), times, times, seed=1, slots="mixed"
    ).to_pylist()
    assert all(sum(i >= 0 for i in row["topic_ids"]) == row["topic_count"] for row in mixed)
    assert {row["topic_count"] for row in mixed} == set(range(1, 9))


def test_a_history_has_a_commit_and_a_row_of_each_video_per_version(tmp_path):
    from benchmarks import homes
    from vidtopics.contracts import VIDEO_TOPICS

    tables = homes.fill(tmp_path, ("video_topics",), 10, versions=3)
    rows = tables.read(VIDEO_TOPICS)
    assert (len(rows), len(tables.commits(VIDEO_TOPICS))) == (30, 3)
    assert (
        len(set(zip(*(rows[n].to_pylist() for n in ("video_id", "event_timestamp")), strict=True)))
        == 30
    )


def test_a_child_is_a_process_with_its_own_peak():
    from benchmarks.children import in_child, memory_mb

    ballast = b"x" * 200_000_000
    child = in_child("benchmarks.join", "prepare_large", count=1_000)
    assert child.result == 1_000
    assert 50 < child.before_mb <= child.peak_mb < 400
    assert memory_mb("VmHWM") > len(ballast) / 2**20
    assert child.seconds > 0


def test_memory_that_was_given_back_before_the_call_is_no_part_of_its_peak():
    from benchmarks.children import measured, memory_mb

    ballast = bytearray(400_000_000)
    ballast[:] = b"x" * len(ballast)
    del ballast
    before = memory_mb("VmHWM")
    assert measured("benchmarks.join", "prepare_large", count=1_000).peak_mb < before - 200


def test_what_is_said_of_a_result_is_no_part_of_its_memory(monkeypatch):
    from benchmarks import children

    def prepare(size):
        return lambda: bytearray(size), lambda child: len(child + bytes(200_000_000))

    monkeypatch.setattr(children, "prepare", prepare, raising=False)
    child = children.measured("benchmarks.children", "prepare", size=1_000)
    assert child.result == 200_001_000
    assert child.peak_mb < child.before_mb + 100


def test_the_page_is_written_from_the_result(tmp_path):
    from benchmarks.figures import Target, figure
    from benchmarks.report import BEGIN, END, result, write

    page, file = tmp_path / "page.md", tmp_path / "result.json"
    page.write_text(f"# Title\n\n{BEGIN}\n\nold\n\n{END}\n\nrest\n", encoding="utf-8")
    made = figure(
        "online", "read", "ms", [0.5], [15.0], "Feast", [Target("most", 1), Target("faster", 20)]
    )
    file.write_text(json.dumps(result([made], "full", 0.25)), encoding="utf-8")
    write(file, page)
    once = page.read_text(encoding="utf-8")
    assert (
        "| online | read | 0.5 ms | 15 ms (Feast) | 30.0x as fast | ≤ 1 ms, ≥ 20x as fast | yes |"
        in once
    )
    assert once.startswith("# Title\n")
    assert once.endswith("\n\nrest\n")
    assert "old" not in once
    write(file, page)
    assert page.read_text(encoding="utf-8") == once
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(InputError, match="expected the lines"):
        write(file, page)


def test_the_page_of_the_repository_has_the_marks():
    from benchmarks import MODULES
    from benchmarks.report import BEGIN, END, PAGE

    text = PAGE.read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
    assert [name for name in MODULES if f"| `{name}` |" not in text] == []


def test_the_command_prints_and_writes_and_ends_with_0_where_a_target_is_missed(
    tmp_path, capsys, monkeypatch
):
    import benchmarks
    from benchmarks.figures import Target, figure

    asked = []

    def run(names, scale, report, keep):
        asked.append((names, scale))
        figures = [figure("online", "read", "ms", [2.0], [15.0], "Feast", [Target("most", 1)])]
        keep(figures)
        return figures

    monkeypatch.setattr(benchmarks, "run", run)
    file = tmp_path / "result.json"
    assert common.run(["bench", "join", "online", "--scale", "smoke", "--json", str(file)]) == 0
    assert asked == [(["join", "online"], "smoke")]
    shown = capsys.readouterr().out
    assert "≤ 1 ms" in shown
    assert "no" in shown.splitlines()[1].split()
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["figures"][0]["ours_rounds"] == [2.0]
    assert report["machine"]["cores"] >= 1
    assert common.run(["bench"]) == 0
    assert asked[-1] == (list(benchmarks.MODULES), "full")


def test_a_benchmark_that_fails_takes_no_other_along(tmp_path, monkeypatch):
    import benchmarks
    from benchmarks import join, online
    from benchmarks.figures import figure
    from vidtopics.errors import StoreError

    def fail(scale):
        raise StoreError("wrong")

    monkeypatch.setattr(benchmarks, "MODULES", {"online": "online", "join": "join"})
    monkeypatch.setattr(online, "run", lambda scale: [figure("online", "read", "ms", [2.0])])
    monkeypatch.setattr(join, "run", fail)
    file = tmp_path / "result.json"
    assert common.run(["bench", "--json", str(file)]) == 2
    assert [f["name"] for f in json.loads(file.read_text(encoding="utf-8"))["figures"]] == ["read"]


def test_an_unknown_name_is_told_with_those_that_there_are(capsys):
    assert common.run(["bench", "onlin"]) == 2
    message = capsys.readouterr().err
    assert (
        "expected online, clients, feast-read, materialize, memory, join, rounds, training, wide, "
        "age, encoding, found onlin" in message
    )
