"""The sink of docs/realtime.md for those who write the streams themselves, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import redis
from events_home import now_us
from source_contract import Receiver, drawn_log

from vidtopics.layout import Layout

PAGE = Path(__file__).parents[2] / "docs" / "realtime.md"


def test_a_sink_of_ones_own_has_the_effect_of_the_client(
    store: redis.Redis, tmp_path: Path
) -> None:
    [code] = re.findall(r"```python\n(import zlib\n.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert tuple(names["TAGS"]) == Layout(16).tags
    receiver = Receiver(tmp_path, store, now_us(), buckets=16)
    log = drawn_log(40, receiver.generation.as_of_us + 500_000)
    with store.pipeline(transaction=False) as pipe:
        for e in log * 2:
            ids = (e.event, e.user, e.video, e.us)
            names["emit"](pipe, "i", *ids, e.us, position=e.position)
            if e.clicked_us:
                names["emit"](pipe, "c", *ids, e.clicked_us)
            if e.watch:
                names["emit"](pipe, "w", *ids, e.clicked_us, watch=e.watch)
        pipe.execute()
    receiver.assert_has(log)
    assert receiver.dead() == []
