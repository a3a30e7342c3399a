"""Search without a server: words of titles and tags, and ids, in sorted parts.

The page finds the parts of a word, or of a word's beginning, in the list of first keys.

A word is a run of letters and digits, folded as people type (lower case, without accents). A run in
a script that is written without spaces gives its pairs of characters and its last character, as
search engines index such scripts; its beginning-of-a-word search then finds any part of it.
"""

from __future__ import annotations

import base64

import numpy as np

from vidtopics.explore.parts import Parts, write_parts
from vidtopics.explore.released import Workspace

IDS = 2_048
"""Ids of a part."""
POSTINGS = 8_192
"""Places of a part of words, as far as its words allow."""
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"

_MACROS = rf"""
CREATE MACRO folded(text) AS strip_accents(lower(text));
CREATE MACRO pairs(run) AS list_transform(
  range(1, len(run) + 1), lambda i: substr(run, CAST(i AS BIGINT), 2));
CREATE MACRO words(text) AS list_distinct(list_concat(
  regexp_extract_all(regexp_replace(folded(text), '{UNSPACED}', ' ', 'g'), '[\p{{L}}\p{{N}}]+'),
  flatten(list_transform(regexp_extract_all(folded(text), '{UNSPACED}+'), lambda r: pairs(r)))))
"""

_TABLES = f"""
CREATE TABLE posting AS
  SELECT unnest(words(concat_ws(' ', title, array_to_string(tags, ' ')))) AS word, v FROM video;
CREATE TABLE word AS
  SELECT word, CAST((sum(videos) OVER (ORDER BY word) - videos) // {POSTINGS} AS BIGINT) AS bin
  FROM (SELECT word, count(*) AS videos FROM posting GROUP BY word);
CREATE TABLE numbered_word AS SELECT word, dense_rank() OVER (ORDER BY bin) - 1 AS part FROM word;
CREATE TABLE word_place AS
  SELECT part, word, v FROM posting JOIN numbered_word USING (word) ORDER BY part, word, v;
DROP TABLE posting;
CREATE TABLE id_place AS
  SELECT (row_number() OVER (ORDER BY video_id) - 1) // {IDS} AS part, video_id, v FROM video
  ORDER BY video_id
"""

_WORD_PARTS = """
WITH gap AS (
  SELECT part, word, v,
    v - lag(v, 1, CAST(0 AS BIGINT)) OVER (PARTITION BY part, word ORDER BY v) AS gap
  FROM word_place WHERE part >= $first AND part < $last),
lists AS (SELECT part, word, list(gap ORDER BY v) AS gaps FROM gap GROUP BY part, word)
SELECT part, CAST(to_json({
  'keys': list(word ORDER BY word), 'gaps': list(gaps ORDER BY word)}) AS VARCHAR) AS text
FROM lists GROUP BY part"""

_ID_PARTS = """
SELECT part, CAST(to_json({
  'keys': list(video_id ORDER BY video_id), 'places': list(v ORDER BY video_id)}) AS VARCHAR)
FROM id_place WHERE part >= $first AND part < $last GROUP BY part"""


def write_search(work: Workspace, parts: Parts) -> dict[str, list[str]]:
    """Write the parts `words` and `ids` and the part `shown`; the first key of each part.

    `shown`: base64 of a byte per video that grows with its exposures, to order results by.
    """
    work.execute(_MACROS)
    work.execute(_TABLES)
    firsts = {
        "words": _firsts(work, "numbered_word", "word"),
        "ids": _firsts(work, "id_place", "video_id"),
    }
    write_parts(work, parts, "words", _WORD_PARTS, len(firsts["words"]))
    write_parts(work, parts, "ids", _ID_PARTS, len(firsts["ids"]))
    exposures = work.columns("SELECT coalesce(exposures, 0) AS e FROM video ORDER BY v")["e"]
    levels = np.minimum(np.log2(1.0 + exposures.to_numpy()) * 10, 255).astype(np.uint8)
    parts.write("shown", f'{{"levels":"{base64.b64encode(levels.tobytes()).decode()}"}}')
    return firsts


def _firsts(work: Workspace, relation: str, key: str) -> list[str]:
    sql = f"SELECT min({key}) AS first FROM {relation} GROUP BY part ORDER BY part"
    keys: list[str] = work.columns(sql)["first"].to_pylist()
    return keys
