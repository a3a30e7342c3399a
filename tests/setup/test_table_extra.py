"""What applies events and loads releases gets by with the packages that its hosts have."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
MODULES = (
    "vidtopics.cli.event_facts",
    "vidtopics.cli.event_service",
    "vidtopics.cli.events",
    "vidtopics.cli.event_monitoring",
    "vidtopics.events.metrics",
    "vidtopics.ingest.landing",
    "vidtopics.jobs.live_queues",
    "vidtopics.materialization.releases",
)


def installed(*extras: str) -> set[str]:
    """The distributions that pip brings with extras of ours, by their normalized names."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    options = project["optional-dependencies"]
    requirements = [
        *project["dependencies"],
        *(text for extra in extras for text in options[extra]),
    ]
    known: set[str] = set()
    while requirements:
        requirement = Requirement(requirements.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name not in known:
            known.add(name)
            requirements += _of(requirement)
    return known


def _of(requirement: Requirement) -> Iterator[str]:
    for text in distribution(requirement.name).requires or ():
        marker = Requirement(text).marker
        extras = {"", *requirement.extras}
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield text


BLOCKING = """
import json, sys

class Absent:
    names = set(json.loads(sys.argv[1]))

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_who_applies_events_and_loads_releases_has_the_packages_for_it() -> None:
    """As deploy/Dockerfile installs `base`, and a host of the role `online` is set up."""
    installed_names = {*installed("tables", "metrics"), "vidtopics"}
    owners = {
        module: {re.sub(r"[-_.]+", "-", name).lower() for name in names}
        for module, names in packages_distributions().items()
    }
    absent = [module for module, names in owners.items() if not names & installed_names]
    assert {"torch", "pyspark"} <= {*absent}
    code = BLOCKING + "\n".join(f"import {module}" for module in MODULES)
    command = [sys.executable, "-c", code, json.dumps(absent)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
