"""The process: an address, workers, and an end that drops no request."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from consumers.serving.protocol import BoundedProtocol
from vidtopics.errors import MachineError, SettingsError, explain
from vidtopics.service import logs
from vidtopics.settings import Settings

if TYPE_CHECKING:
    from consumers.serving.service import Service

SECOND = timedelta(seconds=1)
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder by which workers add up their figures."""
KEEP_ALIVE_S = 75
"""Longer than balancers keep idle connections (60 s), so that none is closed under a request."""
SPARE_CONNECTIONS = 4
"""Beside those of reading threads: the look at the live release, and readers that are late."""


@dataclass(frozen=True)
class Options:
    """What a worker is made from; workers are processes of their own, so it is pickled.

    Attributes:
        home: its folder.
        url: of its Redis.
        settings: of the home.
        keys: file of API keys; None: no key is asked for.
        workers: processes.
        page: whether `/` is a page for people.
    """

    home: Path
    url: str
    settings: Settings
    keys: Path | None = None
    workers: int = 1
    page: bool = False


def serve(options: Options, host: str, port: int) -> None:
    """Answer on an address until SIGTERM or SIGINT.

    Raises:
        SettingsError: another address than loopback without keys, or wrong keys.
        MachineError: the address can't be had, or a worker can't begin.
    """
    _check(options, host)
    chosen = options.settings.serving.page
    options = replace(options, page=_is_loopback(host) if chosen is None else chosen)
    with ExitStack() as stack:
        listener = stack.enter_context(_listening(host, port))
        logs.configure("json", "info")
        if options.workers > 1:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vidtopics-serve-"))
            os.environ[SHARED_FOLDER] = folder
        config = _config(options)
        address, bound, *_ = listener.getsockname()
        logs.info("started", host=address, port=bound, workers=options.workers)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _already_handled)
        if options.workers > 1:
            _run_workers(config, listener)
        else:
            Server(config).run([listener])
    logs.info("ended", cause="a signal")


def _check(options: Options, host: str) -> None:
    from consumers.serving.keys import KeyRing

    if options.keys is not None:
        KeyRing.read(options.keys)
    elif not _is_loopback(host):
        raise SettingsError(
            explain(
                f"--host {host}",
                expected="an address of loopback, as no API keys are given",
                found="one that others reach",
                mend="name a file of keys (--keys FILE, docs/serving.md), or serve on 127.0.0.1",
            )
        )


def _is_loopback(host: str) -> bool:
    """Whether a host is of this machine alone.

    >>> [_is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "cache")]
    [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2_048)
    except OSError as error:
        raise MachineError(
            explain(
                f"--host {host} --port {port}",
                expected="an address of this machine that is free",
                found=(error.strerror or str(error)).lower(),
                mend="name another, or end what has it",
            )
        ) from error
    with listener:
        yield listener


def _config(options: Options) -> Config:
    seconds = options.settings.serving.deadline / SECOND
    return Config(
        partial(worker_app if options.workers == 1 else _worker_or_exit, options),
        factory=True,
        http=BoundedProtocol,
        ws="none",
        workers=options.workers,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(2 * seconds) + 1,
    )


def _run_workers(config: Config, listener: socket.socket) -> None:
    supervisor = Multiprocess(config, [listener])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise MachineError(
            explain(
                "a worker",
                expected="that it begins",
                found="that it ended",
                mend="see the log's last lines",
            )
        )


def _already_handled(number: int, frame: FrameType | None) -> None:
    """Uvicorn raises the signal that ended it once more, for whoever had it before."""


def worker_app(options: Options) -> FastAPI:
    """The application of one worker, which looks at the live release while it runs."""
    from prometheus_client import CollectorRegistry

    from consumers.live import LiveRules
    from consumers.serving.app import make_app
    from consumers.serving.catalogue import HomeCatalogue
    from consumers.serving.keys import KeyRing
    from consumers.serving.labels import Labels
    from consumers.serving.live import Live, Watch
    from consumers.serving.metrics import ServingMetrics
    from consumers.serving.models import RankingModels
    from consumers.serving.neighbours import read_neighbours
    from consumers.serving.service import Service
    from vidtopics.online import OnlineClient
    from vidtopics.online.events import EventClient
    from vidtopics.tables import Tables

    logs.configure("json", "info")
    settings = options.settings
    metrics = ServingMetrics(CollectorRegistry(), shared=options.workers > 1)
    client = OnlineClient.from_url(
        options.url,
        prefix=settings.online.prefix,
        metrics=metrics.online,
        timeout_s=settings.serving.deadline / SECOND,
        max_connections=3 * settings.serving.threads + SPARE_CONNECTIONS,
    )
    tables = Tables(options.home)

    def switched(live: Live) -> None:
        metrics.switched(live.release)
        version = live.model.version if live.model else None
        logs.info("switched", release=live.release, model=version)

    watch = Watch(
        client,
        RankingModels(tables.home / "models" / "ranking"),
        partial(Labels.read, tables),
        settings.recall,
        neighbours=partial(read_neighbours, tables, settings.serving.similar),
        warn=logs.warn,
        switched=switched,
        lagged=metrics.lagged,
        max_event_lag_s=settings.online.max_event_lag / SECOND,
    )
    events = EventClient(
        client.connection,
        prefix=settings.online.prefix,
        patience_s=settings.serving.deadline / SECOND,
        max_ahead=settings.online.max_ahead,
    )
    service = Service(
        watch,
        settings.serving,
        metrics,
        events=events,
        popular_share=settings.recall.popular_share,
        live_rules=LiveRules.of(settings) if settings.recall.live else None,
    )
    keys = KeyRing.read(options.keys, options.workers) if options.keys else None
    catalogue = HomeCatalogue(tables, settings.ingest.max_image_pixels) if options.page else None
    return make_app(service, keys, running(service), catalogue)


def _worker_or_exit(options: Options) -> FastAPI:
    """As :func:`worker_app`; what hinders it ends all, as it would hinder the next worker too."""
    try:
        return worker_app(options)
    except Exception as error:
        logs.error("ended", cause=logs.cause(error, options.home))
        sys.exit(STARTUP_FAILURE)


def running(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The lifespan of an application: the watch's, and draining from the first signal on."""
    from consumers.serving.live import watching

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _drain_on_signals(service)
        with watching(service.watch, service.settings.check_every / SECOND):
            yield
        service.close()

    return lifespan


def _drain_on_signals(service: Service) -> None:
    """Between a signal and the server's own end `/ready` says no and requests are answered on.

    A second signal ends it at once.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # of a test: signals come to the main thread alone
    loop, drain_s = asyncio.get_running_loop(), service.settings.drain / SECOND
    for number in (signal.SIGTERM, signal.SIGINT):
        end: Any = signal.getsignal(number)

        def drain(number: int, frame: FrameType | None, end: Any = end) -> None:
            if service.draining:
                end(number, frame)
                return
            service.draining = True
            loop.call_soon_threadsafe(loop.call_later, drain_s, end, number, None)

        signal.signal(number, drain)
