"""Days of a simulated experiment as checkpoints: a folder each, which appears whole or not at all.

A day's folder holds what the analysis needs of it and the state in which the day ended. States are
large, so that one is removed as soon as no later day begins with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidtopics.errors import BusyError, InputError, SettingsError, explain
from vidtopics.failpoints import failpoint
from vidtopics.files import write_whole
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import State
from vidtopics.simulation.saved_state import load_state, save_state

FOLDER = ".days"
PLAN = "plan.json"
STATE = "state"
PARTIAL = ".*.part"
"""Files that :func:`vidtopics.files.write_whole` had not finished when its process was killed."""


@dataclass(frozen=True)
class Step:
    """A day to run: `phase`, `day` since the world's start, and the step that it goes on from."""

    number: int
    phase: str
    day: int
    before: Step | None

    @property
    def name(self) -> str:
        """Of its folder.

        >>> Step(3, "pre", 14, None).name
        '003-pre-014'
        """
        return f"{self.number:03d}-{self.phase}-{self.day:03d}"


class Days:
    """The finished days of an experiment, in `OUT/.days`."""

    def __init__(self, out: Path) -> None:
        self._out, self._folder = out, out / FOLDER

    def __getitem__(self, step: Step) -> Path:
        return self._folder / step.name

    def is_done(self, step: Step) -> bool:
        """Whether the day's folder is there, whole."""
        return self[step].is_dir()

    @contextmanager
    def writing(self, step: Step, state: State, platform: Platform) -> Iterator[Path]:
        """A folder to write the day to; it gets its name, and the state, at the end of the block.

        Where the block fails nothing of the day is left.
        """
        partial = self._folder / f".{step.name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            save_state(partial / STATE, state, platform)
            failpoint("experiment.day")
            partial.rename(self[step])
        except Exception:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def load_state(self, step: Step) -> tuple[State, Platform]:
        """State and platform at the end of a day.

        Raises:
            TableError: the files can't be read.
        """
        return load_state(self[step] / STATE)

    def drop_states(self, steps: Sequence[Step], but: set[Step]) -> None:
        """Remove the states of finished days that no later day begins with."""
        for step in steps:
            if step not in but:
                shutil.rmtree(self[step] / STATE, ignore_errors=True)

    def remove(self) -> None:
        """Remove all days, of an experiment that is whole, and what runs that were killed left."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for partial in self._out.glob(PARTIAL):
            partial.unlink(missing_ok=True)


@contextmanager
def open_days(out: Path, plan: Mapping[str, Any], *, resume: bool) -> Iterator[Days]:
    """The days of the experiment in `out`, of this process alone while the block runs.

    `plan` stays there as `plan.json`.

    Raises:
        InputError: `out` holds something, and isn't to be resumed, or can't be.
        SettingsError: what is to be resumed was begun with another plan.
        BusyError: another process runs it.
    """
    path = out / PLAN
    if resume:
        _check_plan(path, plan)
    elif out.exists() and (not out.is_dir() or set(out.iterdir()) - set(out.glob(PARTIAL))):
        begun = "an experiment that was begun" if path.exists() else "other files"
        mend = "go on with --resume, or name another folder"
        raise InputError(
            explain(str(out), expected="a new or empty folder", found=begun, mend=mend)
        )
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(plan, indent=2, sort_keys=True) + "\n")
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mend = "wait for it, or end it first"
        raise BusyError(
            explain(str(out), expected="no other run of it", found="one", mend=mend)
        ) from None
    else:
        yield Days(out)
    finally:
        os.close(lock)


def _check_plan(path: Path, plan: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise InputError(
            explain(
                str(path),
                expected="an experiment that was begun there",
                found="none",
                mend="run it without --resume",
            )
        )
    begun = json.loads(path.read_text(encoding="utf-8"))
    plain = json.loads(json.dumps(plan))
    if changed := sorted(key for key in plain | begun if plain.get(key) != begun.get(key)):
        key = changed[0]
        raise SettingsError(
            explain(
                f"--resume, {key}",
                expected=f"{begun.get(key)}, as it was begun",
                found=str(plain.get(key)),
                mend="give the same settings and options, or start anew in another folder",
            )
        )
