"""`vidtopics train`: topic model versions, and the ranking model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    WrittenHome,
    computes_on_spark,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.jobs.training import Training

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Topic model versions, and the ranking model."""


@app.command()
def ranking(
    home: WrittenHome = DEFAULT_HOME, config: Config = None, as_json: AsJson = False
) -> None:
    """`ranking.model` on all impressions whose label window has closed; `recommend` ranks with it.

    Ends with 3 if another run has the home.
    """
    from consumers.ranking.home import train_ranking
    from vidtopics.cli import homes, reports, show
    from vidtopics.releases.lock import hold
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with (
        hold(home, "vidtopics train ranking"),
        show.working("Training the ranking model") as progress,
    ):
        report = train_ranking(Tables(home), settings, progress)
    if as_json:
        print_json(report)
    else:
        reports.trained(report)


@app.command()
def topics(
    as_of: Annotated[
        str | None,
        typer.Option(metavar="T", help="From what held then (ISO 8601); now if left out."),
    ] = None,
    if_needed: Annotated[
        bool,
        typer.Option("--if-needed", help="Only where the version in force serves no more."),
    ] = False,
    home: WrittenHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """A topic model version: joint model, tag space, topics and labels; `run` infers with it.

    It goes on from the version in force. Nothing is trained where nothing that a version depends on
    has changed. Ends with 2 where there is too little to learn from, 3 if another run has the home.
    """
    from dataclasses import replace

    from vidtopics.cli import homes, show
    from vidtopics.jobs.job import Run
    from vidtopics.jobs.pipeline import train_topics
    from vidtopics.releases.lock import hold
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with (
        hold(home, "vidtopics train topics") as lock,
        show.working("Training a topic model version") as progress,
    ):
        run = replace(
            Run.of_option(Tables(home), settings, as_of),
            lock=lock,
            progress=progress,
            on_spark=computes_on_spark(),
        )
        training = train_topics(run, if_needed=if_needed)
    if as_json:
        print_json(describe(training))
    else:
        show.out.print(show.as_text("\n".join(lines(training))), soft_wrap=True)


def describe(training: Training) -> dict[str, object]:
    """The version as plain values, and whether it is new."""
    from vidtopics.cli.models import plain

    asked = {"figures": list(training.figures), "reasons": list(training.reasons)}
    return {**plain(training.version), "is_new": training.is_new, **asked}


def lines(training: Training) -> list[str]:
    """What was trained, from which version, what changed, and what could not be learned."""
    from vidtopics.cli.models import figures
    from vidtopics.times import moment

    version = training.version
    name = f"Topic model {version.number} (as of {moment(version.as_of_us)[:19]})"
    if not training.is_new and training.figures and not training.reasons:
        return [f"{name} serves: {'; '.join(training.figures)}"]
    if not training.is_new:
        return [f"{name}: up to date, nothing that it was trained from has changed"]
    origin = f"from version {version.previous}" if version.previous else "the first"
    because = f", as {'; '.join(training.reasons)}" if training.reasons else ""
    remarks = [f"  {text}" for text in version.left_out]
    is_chosen_here = version.numbers["training"] == 1  # later ones of an epoch keep it
    calibration = version.evaluation.get("calibration", {}) if is_chosen_here else {}
    weights = [f"  {calibration['reason']}"] if "reason" in calibration else []
    points = calibration.get("curve", ())
    if points:
        curve = ", ".join(f"{p['tag_weight']:.2g}: {p['smooth']:.3f}" for p in points)
        weights.append(f"  tag block's weight and mean of ARI and NMI: {curve}")
    first, whole = (version.evaluation.get(name) for name in ("first_kept", "set_kept"))
    changes = []
    if first is not None and whole is not None:
        kept = f"{first:.1%} kept their first topic, {whole:.1%} their set of topics"
        changes.append(f"  of the videos of version {version.previous} {kept}")
    return [f"{name}, {origin}{because}: {figures(version)}", *changes, *weights, *remarks]
