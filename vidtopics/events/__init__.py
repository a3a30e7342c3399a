"""Events in Redis: streams, and what they add to the counts and lists of a release.

`docs/realtime.md` has the rules. A release is what the batch counts up to its as-of time T; its
generation is what events from T on add to it (:mod:`vidtopics.events.generations`). Scripts apply
them (:mod:`vidtopics.events.scripts`), :class:`vidtopics.events.applying.Applier` calls them. What
sends and reads is in :mod:`vidtopics.online`.
"""
