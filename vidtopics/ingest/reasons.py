"""The documented reasons for which a row is refused, or kept with a warning.

>>> REFUSALS["bad_time"]
'a time that is neither ISO 8601 nor Unix seconds'
"""

from __future__ import annotations

from collections.abc import Mapping

REFUSALS: Mapping[str, str] = {
    # the row as text
    "overlong_row": "a row of more than 1 MiB",
    "malformed_row": "a quote that is never closed, text after a closing quote, or a line end of "
    "another kind than the header's",
    "field_count": "more or fewer fields than the header has columns",
    "not_utf8": "bytes that are not UTF-8",
    "nul_byte": "a NUL byte",
    # ids and tags
    "empty_id": "an id that is empty",
    "inexact_id": "an id of a Parquet column of floats or decimals that is fractional, or too "
    "large to be exact",
    "long_id": "an id of more than 128 UTF-8 bytes",
    "control_character": "a control character in an id or tag",
    "long_tag": "a tag of more than 128 UTF-8 bytes",
    # times
    "bad_time": "a time that is neither ISO 8601 nor Unix seconds",
    "early_time": "a time before the year 1900",
    "future_time": "a time after the delivery",
    "removed_before_published": "removed_at before published_at",
    "removed_before_given": "removed_at of a tag before its event_timestamp",
    "created_before_event": "created_timestamp before event_timestamp",
    "click_before_impression": "clicked_at before event_timestamp",
    # values
    "bad_clicked": "clicked is not 0, 1, true or false",
    "contradicting_click": "clicked_at is given, but clicked is 0",
    "bad_number": "watch_seconds is not a number",
    "not_finite": "watch_seconds is NaN, infinite or too large for float32",
    "negative_watch": "watch_seconds is negative",
    "bad_position": "position is not a whole number from 1 to 2147483647",
    "cover_outside_folder": "a cover path that leads out of the folder (absolute, through `..` or "
    "through a link), or an address outside `ingest.cover_buckets`",
    # rows against other rows
    "conflicting_rows": "rows of one id that differ within the delivery; all of them are refused",
    "reused_id": "an event_id that is there with another user, video, time, request or position",
    "changed_click": "an impression that is there, whose click the row takes back or changes",
    "unknown_video": "a video that is neither in the delivery (as an accepted row) nor delivered "
    "before",
}

WARNINGS: Mapping[str, str] = {
    "no_cover": "no cover is given",
    "missing_cover": "the cover's file does not exist below the folder, or its object not in the "
    "bucket",
    "respelt_cover": "the cover's file is there under another spelling (slashes, case, Unicode "
    "form, space around it); it is read",
    "unreadable_cover": "the cover is no JPEG, PNG, WebP or GIF image",
    "truncated_cover": "the cover's pixels end early or are damaged",
    "bomb_cover": "the cover claims more pixels or bytes than `max_image_pixels` allows, or is a"
    " JPEG of more than 100 scans",
    "empty_title": "the title is empty",
    "duplicate_row": "a repetition of an earlier row; it is left out",
    "empty_tag": "a tag that is empty; it is left out",
    "long_tag": "a tag of more than 128 UTF-8 bytes in a video's list of tags; it is left out",
    "control_character": "a control character in a tag of a video's list of tags; it is left out",
    "no_rows": "the file has a header and no row",
    "unknown_column": "a column that the format doesn't have; it is ignored",
}
