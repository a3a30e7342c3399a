"""The code of docs/recall-and-ranking.md runs: a model in one file, and one's own ranker."""

import re
import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from consumers.ranking.models import VARIANTS, Sizes, Widths

PAGE = (Path(__file__).parents[2] / "docs" / "recall-and-ranking.md").read_text(encoding="utf-8")
MODEL = re.search(
    r"\*\*`consumers/ranking/models/fm.py`\*\*\n\n```python\n(.*?)^```", PAGE, re.M | re.S
)[1]
OWN = re.search(r"Plain LightGBM on it:\n\n```python\n(.*?)^```", PAGE, re.M | re.S)[1]


def test_the_added_model_is_a_model(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "ranking"))
    from batches import SIZES, make_batch

    (tmp_path / "fm.py").write_text(MODEL, encoding="utf-8")
    made = runpy.run_path(str(tmp_path / "fm.py"))["FM"]
    model, batch = made(SIZES, VARIANTS["topics"], Widths(embedding=3)), make_batch()
    odds = model(batch)
    parts = model.fields(batch).view(len(batch), 10, 3).detach()
    pairs = [sum(float(row[a] @ row[b]) for a in range(10) for b in range(a)) for row in parts]
    linear = model.linear(model.numbers(batch))[:, 0]
    assert isinstance(SIZES, Sizes)
    assert torch.allclose(odds, linear + torch.tensor(pairs), atol=1e-5)


def joined(rows=4_000, seed=1):
    """What a join gives where users like topics: residuals in two topics, told in both lists."""
    r = np.random.default_rng(seed)
    topic, liked = r.integers(0, 2, rows), r.integers(0, 2, rows)
    clicked = r.random(rows) < np.where(topic == liked, 0.7, 0.2)
    counts = {
        name: r.integers(0, 50, rows)
        for name in ("video_exposures", "video_clicks", "user_exposures", "user_clicks")
    }
    lists = {
        "topic_ids": [[int(t)] + [-1] * 7 for t in topic],
        "topic_weights": [[0.8] + [0.0] * 7] * rows,
        "user_topic_ids": [[0, 1] if i % 50 else None for i in range(rows)],
        "user_topic_clicks": [
            [8.0 * (k == 0), 8.0 * (k == 1)] if i % 50 else None for i, k in enumerate(liked)
        ],
        "user_topic_expected": [[4.0, 4.0] if i % 50 else None for i in range(rows)],
    }
    times = pa.array(np.arange(rows), pa.timestamp("us", tz="UTC"))
    return pa.table(
        {"event_timestamp": times, "clicked": clicked, "user_expected_clicks": r.random(rows)}
        | counts
        | lists
    )


def test_one_s_own_ranker_gains_from_topics(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pq.write_table(joined(), "joined.parquet")
    names = {}
    exec(OWN, names)
    assert names["auc"]["topics"] > names["auc"]["none"] + 0.1
    assert capsys.readouterr().out.startswith("{'none': ")
    assert len(OWN.strip().splitlines()) <= 30
