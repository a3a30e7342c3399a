"""The code of docs/training.md, "Your own ranker", runs."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from consumers.parity.release_store import ReleaseStore
from consumers.training.spines import open_spine
from vidtopics.contracts import SERVICES
from vidtopics.online import OnlineClient

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Your own ranker")[2].partition("\n## ")[0]
SPINE, RANKER = re.findall(r"^```python\n(.*?)^```", SECTION, re.M | re.S)


def test_own_rows_become_a_spine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = {"viewer": [7, 8], "item": [3, 4], "ts": [828_124_616, 828_124_615], "liked": [1, 0]}
    pd.DataFrame(rows).to_parquet("mine.parquet")
    exec(SPINE, {})
    spine = open_spine(tmp_path / "spine.parquet", SERVICES["training_v2"]).read_all()
    times = spine["event_timestamp"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    assert times == [828_124_615_000_000, 828_124_616_000_000]
    assert (spine["video_id"].to_pylist(), spine["user_id"].to_pylist()) == (["4", "3"], ["8", "7"])


def test_the_ranker_gains_from_topics_and_scores_a_request(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "ranking"))
    from served_home import make_home

    monkeypatch.chdir(tmp_path)
    tables = make_home(tmp_path / ".vidtopics")
    store = ReleaseStore(tables, tables.latest_release()["versions"])
    monkeypatch.setattr(OnlineClient, "from_url", lambda url: store)
    names = {}
    exec(RANKER, names)
    assert names["auc"]["topics"] > names["auc"]["none"] + 0.05
    assert eval(capsys.readouterr().out) == names["auc"]
    assert names["request"].shape == (600, len(names["encoder"].names))
    is_odd = np.array([int(video[1:]) % 2 == 1 for video in names["candidates"]])
    assert names["scores"][is_odd].mean() > names["scores"][~is_odd].mean() + 0.1  # u1 likes those
