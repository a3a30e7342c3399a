"""Ids that look alike, ids of videos, short ids: only what is the person's goes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidtopics.erasure.files import erase_files, mentions
from vidtopics.erasure.ids import Ids
from vidtopics.errors import BusyError, InputError, TableError

NONE: frozenset[Path] = frozenset()
LINES = [
    '{"user_id": "7", "videos": ["v1"]}',
    '{"user_id": "77", "videos": ["7"]}',
    '{"view": "user_topics", "ids": ["1", "7"]}',
    '{"view": "video_topics", "ids": ["7"]}',
    '{"event": {"u": "7", "v": "9"}}',
    "refused: user_id '7' of position 3",
    "refused: user_id '77' of position 7",
    '{"user_id": 7}',
]


def erased(root: Path, ids: Ids) -> dict[str, int]:
    went: dict[str, int] = {}
    erase_files(root, ids, lambda path, _, n: went.update({path.name: n}), without=NONE)
    return {name: n for name, n in went.items() if n}


def test_lines_are_blanked_where_they_stand(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("\r\n".join(LINES) + "\r\n")
    with path.open("ab") as service:  # it goes on writing into the same file
        assert erased(tmp_path, Ids.of(["7"])) == {"log.jsonl": 5}
        service.write(b"more\n")
    lines = path.read_bytes().splitlines()
    kept = [None if n in (0, 2, 4, 5, 7) else line.encode() for n, line in enumerate(LINES)]
    assert lines[:-1] == [k or b" " * len(LINES[n]) for n, k in enumerate(kept)]
    assert lines[-1] == b"more"
    assert erased(tmp_path, Ids.of(["7"])) == {}


def test_records_of_csv_go_whole_and_others_keep_their_bytes(tmp_path):
    head = 'n,user_id,"video, id"\r\n'
    mine, other = '1,"7","a\nb"\r\n', '2,77,"7\n""x\u2028"""\n'
    (tmp_path / "a.csv").write_text(head + mine + other + mine + other, newline="")
    (tmp_path / "b.csv").write_text("video_id\n7\n")
    assert erased(tmp_path, Ids.of(["7"])) == {"a.csv": 2}
    assert (tmp_path / "a.csv").read_bytes().decode() == head + other + other


def test_parquet_goes_by_its_columns_of_users(tmp_path):
    rows = {"video_id": ["7", "7", "8"], "user_id": [7, 77, 8], "uid": ["1", "7", "1"]}
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table(rows).replace_schema_metadata({"vidtopics.pins": "{}"}), path)
    assert erased(tmp_path, Ids.of(["7"])) == {"set.parquet": 1}
    assert pq.read_table(path)["user_id"].to_pylist() == [77, 8]
    assert pq.read_schema(path).metadata == {b"vidtopics.pins": b"{}"}
    assert erased(tmp_path, Ids.of(["7"], ["uid"])) == {"set.parquet": 1}
    assert pq.read_table(path)["uid"].to_pylist() == ["1"]
    path.write_bytes(b"no Parquet")
    with pytest.raises(BusyError, match=r"set.parquet: expected a Parquet file"):
        erased(tmp_path, Ids.of(["7"]))
    os.utime(path, (1, 1))
    with pytest.raises(TableError, match=r"set.parquet: expected a Parquet file"):
        erased(tmp_path, Ids.of(["7"]))


def test_other_json_keeps_places(tmp_path):
    tree = {"users": ["1", "7", "77"], "videos": ["7"], "n": 7, "ä": [{"user_id": "7"}]}
    (tmp_path / "model.json").write_text(json.dumps(tree))
    assert erased(tmp_path, Ids.of(["7"])) == {"model.json": 2}
    blanked = {"users": ["1", "", "77"], "videos": ["7"], "n": 7, "ä": [{"user_id": ""}]}
    assert json.loads((tmp_path / "model.json").read_text()) == blanked


def test_many_ids_at_once(tmp_path):
    lines = [json.dumps({"user_id": f"user-{n}"}) for n in range(3000)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    assert erased(tmp_path, Ids.of(f"user-{n}" for n in range(0, 3000, 2))) == {"log.jsonl": 1500}
    left = (tmp_path / "log.jsonl").read_text().split()
    assert len(left) == 2 * 1500


def test_what_cannot_be_changed_is_named(tmp_path):
    (tmp_path / "page.html").write_text("<td>person-815</td>")
    (tmp_path / "other.html").write_text("<td>person-8151, xperson-815</td>")
    ids = Ids.of(["person-815"])
    assert erased(tmp_path, ids) == {}
    (tmp_path / "user_id=person-815").mkdir()
    pq.write_table(pa.table({"n": [1]}), tmp_path / "user_id=person-815" / "a.parquet")
    named = [tmp_path / "page.html", tmp_path / "user_id=person-815" / "a.parquet"]
    assert mentions(tmp_path, ids, without=NONE) == named
    assert mentions(tmp_path, Ids.of(["td"]), without=NONE) == []


@pytest.mark.parametrize("ids", [[], [""], ["a\nb"], ["x" * 129]])
def test_what_is_no_id_is_refused(ids):
    with pytest.raises(InputError, match="erase user: expected"):
        Ids.of(ids)
