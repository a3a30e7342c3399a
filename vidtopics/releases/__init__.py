"""What stands around the release log: the lock of a run, the load log, what was served, rollback.

The log itself is :mod:`vidtopics.tables.releases`.
"""
