"""Point-in-time joins on narrow keys: which row of a table held, and was known, at each time.

The kernel gives row numbers; payload columns are taken afterwards and never go through the join. It
knows no table of ours: training frames, the offline store and parity all stand on it.
`docs/time.md` has the rules.
"""

from vidtopics.joins.gather import Gather
from vidtopics.joins.history import History
from vidtopics.joins.latest import latest
from vidtopics.joins.payload import take_rows
from vidtopics.joins.point_in_time import matches
from vidtopics.joins.serving import Commits, Serving

__all__ = ["Commits", "Gather", "History", "Serving", "latest", "matches", "take_rows"]
