"""`vidtopics run`: producer jobs in dependency order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli import rounds
from vidtopics.cli.common import (
    BLOCKED,
    DEFAULT_HOME,
    AsJson,
    Config,
    WrittenHome,
    computes_on_spark,
    print_json,
)
from vidtopics.cli.event_service import land_before_run

if TYPE_CHECKING:
    from vidtopics.jobs.job import Run
    from vidtopics.jobs.pipeline import Step
    from vidtopics.jobs.releasing import Decision
    from vidtopics.jobs.training import Training
    from vidtopics.releases.lock import RunLock
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables


@rounds.monitored
def run(
    context: typer.Context,
    job: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="All jobs if none is named.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="T", help="A backfill as of this time (ISO 8601); now if left out."),
    ] = None,
    every: Annotated[
        float | None,
        rounds.pace("1h", "Go on in rounds as of now until a signal, each a process of its own."),
    ] = None,
    watch: rounds.Monitoring = rounds.UNWATCHED,
    home: WrittenHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Run producer jobs in dependency order; those that are up to date are skipped.

    Ends with 0 if all is well, also where tables wait as a candidate for a run of the jobs behind
    them; with 2 if a job can't run, 3 if another run has the home, 4 if a gate blocks the release.
    """
    from vidtopics.cli import homes, show
    from vidtopics.jobs.job import Run
    from vidtopics.jobs.pipeline import find
    from vidtopics.releases.lock import hold
    from vidtopics.tables import Tables

    rounds.refuse_without("--every", context, is_service=every is not None)
    settings = homes.settings(home, config)
    if every:
        if as_of or as_json:
            raise typer.BadParameter("--every goes with neither --as-of nor --json")
        find(job or [])  # a wrong name is refused now rather than in each round
        work = rounds.run_work(home, config, job or [], every)
        rounds.serve(home, False, settings.online, [work], watch)
        return
    find(job or [])
    # A time that isn't one is refused before anything is written; now is fixed under the lock, as a
    # small release that had it may be of a moment ago.
    backfill = Run.of_option(Tables(home), settings, as_of) if as_of is not None else None
    with hold(home, "vidtopics run") as lock:
        planned = replace(backfill or Run.now(Tables(home), settings), lock=lock)
        if as_of is None:
            land_before_run(home, settings, planned.as_of_us)
        done, decision = jobs(planned, job or [])
    number = decision.release_id if decision else None
    if as_json:
        state = decision.state if decision else None
        reasons = decision.objections if decision else []
        plain = {"release": number, "state": state, "reasons": reasons}
        print_json(plain | {"steps": [asdict(step) for step in done]})
    else:
        show.steps(done, lambda _: label(decision))
        print_left_out(done)
        if decision:
            print_decision(decision, planned)
    end_with(decision)


def jobs(planned: Run, names: list[str]) -> tuple[list[Step], Decision | None]:
    """Run jobs as of one time, with progress; on Spark where the environment names one."""
    from vidtopics.cli import show, train
    from vidtopics.jobs.pipeline import describe, find, run_jobs

    def trained(training: Training) -> None:
        text = "No topic model version yet. " + "\n".join(train.lines(training))
        show.console.print(show.as_text(text), soft_wrap=True)

    done: list[Step] = []
    with show.working(f"Running jobs as of {describe(planned.as_of_us)}") as progress:
        run = replace(planned, progress=progress, on_spark=computes_on_spark())
        decision = run_jobs(run, find(names), done.append, trained)
    return done, decision


def label(decision: Decision | None) -> str | None:
    """A release's number, with its state where it isn't in force."""
    if decision is None or decision.state == "released":
        return str(decision.release_id) if decision else None
    return f"{decision.release_id} {decision.state}"


def print_decision(decision: Decision, run: Run) -> None:
    """Why a release isn't in force, or what warned of it."""
    from vidtopics.cli.show import as_text, out
    from vidtopics.gates import render
    from vidtopics.times import moment

    if decision.state == "candidate":
        at = "" if run.live else f" --as-of {moment(run.as_of_us)}"
        out.print(as_text(f"Release {decision.release_id} is a candidate, not in force:"))
        for reason in decision.reasons:
            out.print(as_text(f"  {reason}"))
        out.print(as_text(f"Mend: vidtopics run{at}"))
    if any(verdict.verdict in ("warn", "block") for verdict in decision.verdicts):
        out.print(render(decision.verdicts))


def end_with(decision: Decision | None) -> None:
    """End the command with its exit status where a gate blocks."""
    if decision and decision.state == "rejected":
        raise typer.Exit(BLOCKED)


def print_left_out(done: Sequence[Step]) -> None:
    """What each job's rows lack and why, with the as-of time where there are several."""
    from rich.text import Text

    from vidtopics.cli.show import out
    from vidtopics.jobs.pipeline import describe

    several = len({step.as_of_us for step in done}) > 1
    for step in done:
        if step.left_out:
            at = f" as of {describe(step.as_of_us)}" if several else ""
            out.print(Text(f"  {step.publication.table}{at}: {step.left_out}"), soft_wrap=True)


def backfill(
    tables: Tables, settings: Settings, lock: RunLock
) -> tuple[list[Step], dict[int, int | None]]:
    """Train where it is needed and run all jobs, at every as-of date of the schedule."""
    from vidtopics.cli import show, train
    from vidtopics.jobs.job import Run
    from vidtopics.jobs.pipeline import describe, schedule, train_topics

    done: list[Step] = []
    releases: dict[int, int | None] = {}
    for as_of_us in schedule(tables, settings):
        run = replace(
            Run.backfill(tables, settings, as_of_us), lock=lock, on_spark=computes_on_spark()
        )
        with show.working(f"Training as of {describe(as_of_us)} if needed") as progress:
            training = train_topics(replace(run, progress=progress), if_needed=True)
        show.out.print(show.as_text("\n".join(train.lines(training))), soft_wrap=True)
        steps, decision = jobs(run, [])
        done += steps
        releases[as_of_us] = decision.release_id if decision else None
        if decision and decision.state != "released":
            print_decision(decision, run)
            end_with(decision)
    return done, releases
