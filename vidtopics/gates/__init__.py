"""Gates: figures of a release held to limits before consumers see it (`docs/releases.md`)."""

from vidtopics.gates.judging import judge
from vidtopics.gates.loads import before_load
from vidtopics.gates.screen import render
from vidtopics.gates.verdicts import Verdict

__all__ = ["Verdict", "before_load", "judge", "render"]
