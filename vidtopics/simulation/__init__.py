"""A simulated short-video world.

Catalogue, covers, users and their log, in the folder format (`docs/simulation.md`).

:func:`write_world` writes it; :class:`World` holds what is planted in it. Importing this loads
numba.
"""

from vidtopics.simulation.world import World
from vidtopics.simulation.writer import WorldSummary, write_world

__all__ = ["World", "WorldSummary", "write_world"]
