"""Which impression each row of a log is: its event_id, or what it says.

A row without event_id gets a hash of user, video and time. Where that is several impressions,
told apart by request or position, the second is `<hash>-2`, and so on. A known impression keeps its
id: a row is that one if request and position are equal, or missing on one side. Each known
impression is at most one of a delivery.
"""

from __future__ import annotations

from vidtopics.contracts import MAX_ID_BYTES
from vidtopics.errors import InputError, explain
from vidtopics.ingest.workspace import Workspace, quoted

_PREFIX_FLAG = "--event-id-prefix"
_POSITION = "coalesce(CAST(position_number AS INTEGER), 0)"  # 0: the row doesn't say

# A row that says less than another of the same user, video and time is a repetition of it: `whole`
# is the fullest (request, position). A row with neither is a repetition of the first such.
_VARIANTS = f"""
    CREATE TABLE variants AS
    WITH shared AS (
        SELECT content_id FROM impressions_valid WHERE event_id = '' GROUP BY content_id
        HAVING min(request_id) <> max(request_id) OR min({_POSITION}) <> max({_POSITION})),
    variant AS (
        SELECT DISTINCT content_id, request_id AS request, {_POSITION} AS place
        FROM impressions_valid SEMI JOIN shared USING (content_id) WHERE event_id = ''),
    filled AS (
        SELECT *,
            CASE WHEN request = '' AND place <> 0 THEN coalesce(min(nullif(request, ''))
                OVER (PARTITION BY content_id, place), '') ELSE request END AS full_request,
            CASE WHEN request <> '' AND place = 0 THEN coalesce(min(nullif(place, 0))
                OVER (PARTITION BY content_id, request), 0) ELSE place END AS full_place
        FROM variant),
    fullest AS (
        SELECT *, min({{'request': full_request, 'place': full_place}})
            FILTER (request <> '' OR place <> 0) OVER (PARTITION BY content_id) AS first_full
        FROM filled)
    SELECT content_id, request, place,
        CASE WHEN request = '' AND place = 0 THEN first_full.request ELSE full_request END
            AS whole_request,
        CASE WHEN request = '' AND place = 0 THEN first_full.place ELSE full_place END
            AS whole_place
    FROM fullest
"""

# `claims` are the delivered impressions whose id isn't plain: those without event_id that are
# several or may be known, and those with a new event_id that may be known without one.
_CLAIMS = f"""
    CREATE VIEW impressions_varied AS
    SELECT valid.*,
        CASE event_id WHEN '' THEN coalesce(whole_request, request_id) ELSE '' END AS claim_request,
        CASE event_id WHEN '' THEN coalesce(whole_place, {_POSITION}) ELSE 0 END AS claim_place
    FROM impressions_valid AS valid LEFT JOIN variants ON event_id = ''
        AND valid.content_id = variants.content_id AND request_id = request
        AND {_POSITION} = place;
    CREATE TABLE claims AS
    SELECT row_number() OVER () AS claim, * FROM (
        SELECT content_id, event_id, claim_request, claim_place, claim_request AS request,
            claim_place AS place
        FROM impressions_varied WHERE event_id = ''
            AND (content_id IN (SELECT content_id FROM variants)
            OR content_id IN (SELECT content_id FROM known_impressions))
        GROUP BY ALL
        UNION ALL
        SELECT content_id, event_id, '', 0, max(request_id), max({_POSITION})
        FROM impressions_valid WHERE event_id <> ''
            AND event_id NOT IN (SELECT event_id FROM known_impressions)
            AND content_id IN (SELECT content_id FROM known_impressions WHERE is_hashed)
        GROUP BY content_id, event_id);
    CREATE TABLE candidates AS
    SELECT event_id AS known_id, content_id, is_hashed, coalesce(request_id, '') AS request,
        coalesce(position, 0) AS place
    FROM known_impressions WHERE event_id NOT IN (
        SELECT event_id FROM impressions_valid WHERE event_id <> '');
    CREATE TABLE matches (claim BIGINT, known_id VARCHAR)
"""

# Which claims may be which candidates, the surest first: both columns equal, then one equal, then
# neither in contradiction.
_BUCKETS = (
    ("{'request': request, 'place': place}", "true"),
    ("request", "request <> ''"),
    ("place", "place <> 0"),
    ("0", "true"),
)
_KINDS = (("event_id = ''", "true"), ("event_id <> ''", "is_hashed"))

# A new impression is numbered after the last known one, not after their count: numbers have gaps
# where a delivery's first variant was refused.
_IDENTIFIED = r"""
    CREATE TABLE claimed AS
    WITH hashed AS (
        SELECT content_id, max(CASE event_id WHEN content_id THEN 1
            ELSE TRY_CAST(regexp_extract(event_id, '-(\d{1,9})$', 1) AS INTEGER) END) AS last_number
        FROM known_impressions WHERE is_hashed GROUP BY content_id),
    numbered AS (
        SELECT claims.*, known_id, coalesce(last_number, 0) + row_number() OVER (
            PARTITION BY content_id, event_id = '' AND known_id IS NULL ORDER BY request, place
        ) AS number
        FROM claims LEFT JOIN matches USING (claim) LEFT JOIN hashed USING (content_id))
    SELECT content_id, event_id, claim_request, claim_place, coalesce(known_id,
        nullif(event_id, ''), content_id || CASE number WHEN 1 THEN '' ELSE '-' || number END) AS id
    FROM numbered;
    CREATE VIEW impressions_identified AS
    SELECT varied.* EXCLUDE (claim_request, claim_place),
        coalesce(id, nullif(event_id, ''), content_id) AS id
    FROM impressions_varied AS varied
    LEFT JOIN claimed USING (content_id, event_id, claim_request, claim_place)
"""


def described(row: str) -> str:
    """SQL for what `row` (an alias) names its impression by."""
    return f"""CASE {row}.event_id WHEN '' THEN 'user_id ' || shown({row}.user_id) || ', video_id '
        || shown({row}.video_id) || ', event_timestamp ' || shown({row}.event_timestamp)
        ELSE 'event_id ' || shown({row}.event_id) END"""


def add_prefix(work: Workspace, prefix: str) -> None:
    """Creates view `impressions_prefixed`: `impressions` with `prefix` before each event_id.

    Raises:
        InputError: no row has an event_id that the prefix could stand before.
    """
    rows = work.number("SELECT count(*) FROM impressions")
    if prefix and rows and not work.number("SELECT count(*) FROM impressions WHERE event_id <> ''"):
        raise InputError(
            explain(
                f"{_PREFIX_FLAG} {prefix}",
                expected="a log with a column 'event_id'",
                found="no event_id in any row",
                mend="leave the option out: ids are made of user, video and time",
            )
        )
    work.sql.execute(f"""
        CREATE VIEW impressions_prefixed AS SELECT * REPLACE (
            CASE event_id WHEN '' THEN '' ELSE {quoted(prefix)} || event_id END AS event_id)
        FROM impressions""")


def check_prefix(prefix: str) -> None:
    """InputError unless `prefix` can begin an id.

    >>> check_prefix("day2-")
    """
    if not prefix.isprintable() or len(prefix.encode()) > MAX_ID_BYTES // 2:
        raise InputError(
            explain(
                _PREFIX_FLAG,
                expected=f"at most {MAX_ID_BYTES // 2} bytes without control characters",
                found=repr(prefix[:80]),
                mend="take a short one, as the file's date",
            )
        )


def assign(work: Workspace) -> None:
    """Creates view `impressions_identified`: `impressions_valid` with the impression's `id`."""
    work.sql.execute(_VARIANTS)
    work.sql.execute(_CLAIMS)
    if work.number("SELECT count(*) FROM candidates"):
        for claimants, known in _KINDS:
            for bucket, condition in _BUCKETS:
                _match(work, f"{claimants} AND {condition}", f"{known} AND {condition}", bucket)
    work.sql.execute(_IDENTIFIED)


def _match(work: Workspace, claimants: str, known: str, bucket: str) -> None:
    """Pairs claims and candidates of one content_id and bucket in order, each at most once."""
    order = f"row_number() OVER (PARTITION BY content_id, {bucket} ORDER BY request, place"
    work.sql.execute(f"""
        INSERT INTO matches
        SELECT claim, known_id FROM (
            SELECT *, {bucket} AS bucket, {order}, event_id) AS number FROM claims
            ANTI JOIN matches USING (claim) WHERE {claimants}) AS claimant
        JOIN (
            SELECT *, {bucket} AS bucket, {order}, known_id) AS number FROM candidates
            ANTI JOIN matches USING (known_id) WHERE {known}) AS candidate
        USING (content_id, bucket, number)
        WHERE (claimant.request = candidate.request
                OR claimant.request = '' OR candidate.request = '')
            AND (claimant.place = candidate.place
                OR claimant.place = 0 OR candidate.place = 0)""")
