"""Of `vidtopics demo --live`: a simulated day, played into the service over a demo's home."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidtopics.settings import Settings
    from vidtopics.simulation import World
    from vidtopics.simulation.live_day import DayUnderPolicy
    from vidtopics.simulation.platform import Platform
    from vidtopics.simulation.responses import State

SPEED = 480.0
"""A day in three minutes."""
PORT = 8080
REPORT_S = 5.0
FOLDER = "live"
"""Of a home: the logs of both processes, and users and platform after the last day."""
PRODUCTION = "production"


@dataclass(frozen=True)
class Options:
    """How the day is played.

    Attributes:
        embedded: the home's own server, whatever REDIS_URL says.
        speed: of the world's clock.
        once: whether it ends after the day.
        port: of the service; 0: any that is free.
    """

    embedded: bool
    speed: float = SPEED
    once: bool = False
    port: int = PORT


def is_made(home: Path) -> bool:
    """Whether a day can be played on the home: a simulated world, released, with a ranker."""
    from consumers.ranking.described import described
    from vidtopics.contracts import RELEASES
    from vidtopics.tables import Tables

    has_world = (home / "simulated").is_dir() and Tables(home).exists(RELEASES)
    return has_world and described(home / "models" / "ranking") is not None


def play(home: Path, settings: Settings, options: Options) -> None:
    """Play the next day of the home's world into `events apply` and `serve`, and say how it goes.

    Afterwards they go on until SIGINT or SIGTERM, unless `once`.

    Raises:
        MachineError: a process ended, or the service doesn't answer.
        SettingsError, TableError: the home isn't one of a simulated world.
    """
    from vidtopics.cli import show
    from vidtopics.cli.live_processes import running
    from vidtopics.cli.live_report import Report
    from vidtopics.sampling import sampled_peak
    from vidtopics.simulation import World
    from vidtopics.simulation.live_day import LiveDay
    from vidtopics.simulation.playing import Player

    with (
        sampled_peak(show.memory, every=1.0) as peak,
        show.timed() as seconds,
        ExitStack() as stack,
    ):
        ended = stack.enter_context(_until_signal())
        world = World.build(settings.simulation, settings.seed)
        with show.working("Replaying the world's log, and the next day under production"):
            day, state, platform = _before_day(home, settings, world)
            production = _under_production(home, world, state, platform, day)
        logs = home / FOLDER
        service = stack.enter_context(
            running(home, logs, options.port, embedded=options.embedded, ended=ended)
        )
        show.out.print(f"The page: {service.calls.url}/", highlight=False)
        live_day = LiveDay(world, state, platform, day)
        run = f"live{int(time.time())}"
        player = Player(live_day, service.calls, speed=options.speed, run=run, ended=ended)
        report = Report(service, production)
        player.play(report.line, REPORT_S)
        if not ended.is_set():
            _save(home, settings, state, platform, day + 1)
        report.end(player.played, live_day.midnight_us)
        figures = f"{seconds():.0f} s, peak memory {peak():.1f} GB"
        show.out.print(f"{figures} (with both processes, without Redis)", highlight=False)
        while not options.once and not ended.wait(1.0):
            service.check()


@contextmanager
def _until_signal() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set within the block."""
    ended, before = Event(), {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, lambda *_: ended.set())
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _before_day(home: Path, settings: Settings, world: World) -> tuple[int, State, Platform]:
    """The next day's number, and users and platform before it."""
    from vidtopics.simulation.live_day import after_log
    from vidtopics.simulation.platform import Platform
    from vidtopics.simulation.saved_state import load_state

    saved = sorted((home / FOLDER).glob(f"{_world_name(settings)}-day-*"))
    if saved:
        return int(saved[-1].name.rpartition("-")[2]), *load_state(saved[-1])
    return settings.simulation.days, *after_log(world, Platform.new(world, settings))


def _save(home: Path, settings: Settings, state: State, platform: Platform, day: int) -> None:
    """Keep users and platform for the next day; the last one's go."""
    from vidtopics.simulation.saved_state import save_state

    name = f"{_world_name(settings)}-day-{day:05d}"
    partial = home / FOLDER / f".{name}"
    shutil.rmtree(partial, ignore_errors=True)
    save_state(partial, state, platform)
    for old in (home / FOLDER).glob("*-day-*"):
        if old != partial:
            shutil.rmtree(old)
    partial.rename(home / FOLDER / name)


def _world_name(settings: Settings) -> str:
    from vidtopics.settings import digest

    return digest(settings.simulation, settings.seed)


def _under_production(
    home: Path, world: World, state: State, platform: Platform, day: int
) -> DayUnderPolicy:
    """The same day with the home's recall and ranking without topics, by yesterday's counts."""
    from consumers.policies import load_policies
    from vidtopics.simulation.live_day import under_policy

    policy = load_policies(home, world, [PRODUCTION])[PRODUCTION]
    return under_policy(world, state, platform, policy, day)
