"""Spellings of classes: one class where only case, white space or Unicode form differ."""

from __future__ import annotations

from vidtopics.ingest.workspace import Workspace

LEVELS = ("primary_classes", "secondary_classes")


def spell(work: Workspace) -> None:
    """Creates table `videos_kept`: `videos_good_kept` with classes as they were first spelled.

    The catalogue's own spellings (relation `stored_catalogue`) come before the delivery's.
    """
    for level in LEVELS:
        work.sql.execute(f"""
            CREATE TABLE {level}_listed AS
            SELECT row, unnest({level}) AS spelling, generate_subscripts({level}, 1) AS place
            FROM videos_good_kept;
            CREATE TABLE {level}_spelled AS
            WITH spelling AS (
                SELECT 0 AS delivery, epoch_us(created_timestamp) AS time, 0 AS place,
                    unnest({level}) AS spelling FROM stored_catalogue
                UNION ALL SELECT 1, row, place, spelling FROM {level}_listed)
            SELECT folded(spelling) AS class, min({{'delivery': delivery, 'time': time,
                'place': place, 'spelling': spelling}}).spelling AS spelling
            FROM spelling GROUP BY class""")
    work.sql.execute(f"""
        CREATE TABLE videos_kept AS
        SELECT videos_good_kept.* EXCLUDE ({", ".join(LEVELS)}),
            {", ".join(f"coalesce({level}_once.{level}, []) AS {level}" for level in LEVELS)}
        FROM videos_good_kept {" ".join(map(_once, LEVELS))}""")


def _once(level: str) -> str:
    return f"""
        LEFT JOIN (
            SELECT row, list(spelling ORDER BY place) AS {level} FROM (
                SELECT row, spelled.spelling, min(place) AS place FROM {level}_listed AS listed
                JOIN {level}_spelled AS spelled ON folded(listed.spelling) = class
                GROUP BY row, spelled.spelling)
            GROUP BY row) AS {level}_once USING (row)"""
