"""Benchmarks of learning at their smallest: tables that hold what was measured, and no GPU."""

import json

from benchmarks import gpu, kmeans, walks
from vidtopics.settings import TagSettings


def test_kmeans_beside_its_peers(tmp_path):
    size = kmeans.measure(3_000, 160, 50, 2, tmp_path, peers=True)
    assert (size["rows"], size["ours"]["passes"]) == (3_000, 3)
    assert size["ours"]["cosine"] > size["Kmeans"]["cosine"] - 0.01
    assert size["ours"]["cosine"] > size["SuperKmeans"]["cosine"] - 0.01
    assert 0.05 < size["ours"]["peak_gb"] < 3
    header, rule, row = kmeans.table([json.loads(json.dumps(size))]).splitlines()
    assert header.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| 3,000 | ")


def test_a_table_is_continued_by_a_line():
    sizes = [
        {"rows": n, "ours": {"pass": [n / 10, n / 5], "product": [1, n / 6], "seeding": [1, 2]}}
        for n in (100, 200)
    ]
    for size in sizes:
        size["ours"] |= {"peak_gb": 1 + size["rows"] / 1_000, "cosine": 0.5}
    assert (
        kmeans.table(sizes, 1_000)
        .splitlines()[-1]
        .startswith("| 1,000, by the line | 100 (200) |  |  | 2.00 |")
    )


def test_gpu_script_agrees_with_itself_on_a_cpu(capsys):
    arguments = ["--device", "cpu", "--rows", "400", "--clusters", "9", "--width", "24"]
    assert gpu.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "nearest of 9 centres, 400 x 24",
        "10 neighbours of 40 in 400 x 24",
    ]


def test_without_a_gpu_its_script_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("benchmarks.gpu: expected a GPU that torch and faiss see")
    assert error.count("\n") == 1


def test_walks_and_skip_gram_are_rates():
    figures = walks.run(60, TagSettings(dimensions=8, walk_length=10))
    assert [f.unit for f in figures] == ["steps/s", "words/s"]
    assert all(f.ours > 0 for f in figures)
    assert figures[1].peer > 0
