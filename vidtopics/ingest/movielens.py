r"""MovieLens with posters, keywords and classes, as rows of the folder format.

A rating of `click_rating` or more stands for a click, a lower one for an impression without.

>>> import duckdb
>>> titles = ["Matrix, The (1999)", "Postman, The (Postino, Il) (1994)"]
>>> titles += ["Cosmos", "Cry, the Beloved Country (1995)"]
>>> [duckdb.execute(f"SELECT {spoken_title('?')}", [title]).fetchone()[0] for title in titles]
['The Matrix', 'The Postman (Il Postino)', 'Cosmos', 'Cry, the Beloved Country']
"""

from __future__ import annotations

from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.errors import InputError, explain
from vidtopics.ingest.readers import Columns
from vidtopics.ingest.source import Source, find
from vidtopics.ingest.workspace import Workspace

MOVIES = Columns(["movieId", "title"], ["genres"])
CLASSES = Columns(["movieId", "primary_class", "secondary_class"])
RATINGS = Columns(
    ["userId", "movieId", "rating", "timestamp"],
    numbers=["rating", "timestamp"],
    measures=["rating"],
)
TAGS = Columns(["movieId", "tag", "timestamp"], ["userId", "source"])

# A film may have been rated before the year of its title, and none was before the log started.
PUBLISHED = """coalesce(known_published_at,
    greatest(least(published_at_time, first_seen), log_start), delivered_at())"""

_ARTICLE = r"(The|A|An|La|Le|Les|Lo|El|Il|Los|Las|Der|Die|Das|Det|Den)"
_YEAR = r"\s*\((\d{4})\)\s*$"
_NEW_YEAR = f"""CASE WHEN regexp_matches(title, '{_YEAR}')
    THEN regexp_extract(title, '{_YEAR}', 1) || '-01-01' ELSE '' END"""


def load(work: Workspace, source: Source) -> None:
    """Creates the relations of the folder format from a MovieLens folder, with its ids.

    InputError where its columns are to have other names, which MovieLens doesn't have.
    """
    folder = source.path
    if source.renamed:
        raise InputError(
            explain(
                str(folder),
                expected="videos and impressions, whose columns --map names",
                found="the files of MovieLens",
                mend="leave out --map",
            )
        )
    work.load("movies", find(folder, "movies"), MOVIES, VIDEO_CATALOG)
    work.load("classes", find(folder, "classes"), CLASSES, VIDEO_CATALOG)
    work.load("ratings", find(folder, "ratings"), RATINGS, IMPRESSIONS)
    work.load("movie_tags", find(folder, "tags"), TAGS, VIDEO_TAGS)
    work.keep_once(
        "classes",
        "movieId",
        "'movieId ' || shown(movieId)",
        {"primary_class": "primary_class", "secondary_class": "secondary_class"},
        VIDEO_CATALOG,
    )
    work.sql.execute(f"""
        CREATE VIEW videos AS
        SELECT movies.file, movies.row, movieId AS video_id, {spoken_title("title")} AS title,
            'posters/' || movieId || '.jpg' AS cover, coalesce(primary_class, '') AS primary_class,
            coalesce(secondary_class, '') AS secondary_class, '' AS tags,
            {_NEW_YEAR} AS published_at,
            '' AS removed_at, '' AS effective_from
        FROM movies LEFT JOIN classes_kept USING (movieId);
        CREATE VIEW impressions AS
        SELECT file, row, userId AS user_id, movieId AS video_id, timestamp AS event_timestamp,
            CASE WHEN number(rating) >= {work.settings.click_rating} THEN '1'
                WHEN number(rating) IS NOT NULL THEN '0' ELSE 'rating ' || rating END AS clicked,
            '' AS clicked_at, '' AS watch_seconds, '' AS request_id, '' AS position, '' AS event_id,
            '' AS created_timestamp
        FROM ratings;
        CREATE VIEW tags AS
        SELECT file, row, movieId AS video_id, tag,
            CASE timestamp WHEN '-1' THEN '' ELSE timestamp END AS event_timestamp,
            '' AS removed_at
        FROM movie_tags;
        CREATE VIEW video_rows AS
        SELECT file, row, video_id FROM videos
        UNION ALL SELECT file, row, movieId FROM classes_kept""")


def spoken_title(title: str) -> str:
    """SQL for a title (SQL too) as it is spoken: without its year, its article in front."""
    bare = f"regexp_replace({title}, '{_YEAR}', '')"
    front = f"regexp_replace({bare}, '^([^()]+), {_ARTICLE}( \\(|$)', '\\2 \\1\\3')"
    return f"regexp_replace({front}, '\\(([^()]+), {_ARTICLE}\\)', '(\\2 \\1)', 'g')"
