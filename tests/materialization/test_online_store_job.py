"""The Spark job leaves what the local run leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import redis
from online_home import SETTINGS, OnlineHome, dump, stages
from test_materialize_crashes import step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[OnlineHome]:
    return stages(
        tmp_path_factory.mktemp("stages"), [partial(step, number=number) for number in (1, 2)]
    )


def spark(home: OnlineHome, url: str, *arguments: str) -> str:
    config = home.root / "settings.yaml"
    config.write_text(json.dumps({"online": SETTINGS.model_dump(mode="json")}))
    command = [
        sys.executable,
        str(ROOT / "spark_jobs" / "online_store.py"),
        "--home",
        str(home.root),
        "--config",
        str(config),
    ]
    env = os.environ | {
        "REDIS_URL": url,
        "SPARK_MASTER": "local[2]",
        "PYSPARK_PYTHON": sys.executable,
    }
    done = subprocess.run(
        [*command, *arguments], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_executors_leave_what_one_process_leaves(
    homes: list[OnlineHome], store: redis.Redis, valkey: str
) -> None:
    for home in homes:
        home.run(store)
    new = dump(store)
    homes[1].run(store, full=True)
    whole = dump(store)
    store.flushall()
    homes[0].run(store)
    output = spark(homes[1], valkey)
    assert dump(store) == new
    assert "name='video_statistics', release=2, read=11, " in output
    spark(homes[1], valkey, "--full")
    assert dump(store) == whole
