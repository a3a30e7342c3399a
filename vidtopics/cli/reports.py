"""Reports as tables on a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from vidtopics.cli.show import as_text, out

COLUMNS = ("image", "title", "joint", "joint + tag")
ORDER = (("image", "joint"), ("title", "joint"), ("joint", "joint + tag"))


def representations(report: dict[str, Any]) -> None:
    """Table I with intervals, the paper's order judged, Fig. 3, separation, probes, topics."""
    seed = report["seed"]
    out.print(
        f"Table I on {report['videos']:,} held-out videos, {_release(report)},"
        f" {report['trainings']} trainings (seeds {seed} to {seed + report['trainings'] - 1})"
        f" of {report['clusterings']} clusterings;"
        " ± is the 95% interval, over trainings",
        highlight=False,
        soft_wrap=True,
    )
    out.print(_table_1(report))
    for reason in report["left_out"]:
        out.print(f"Left out: {reason}", markup=False, highlight=False, soft_wrap=True)
    for line in (*_figure_3(report["figure3"]), *_probes(report["probes"])):
        out.print(line, highlight=False, soft_wrap=True)
    out.print(_separation(report["separation"]))
    topics = report["topics"]
    if "topics_per_video" in topics:
        out.print(
            f"Topics: {topics['topics']:.0f} in epoch {topics['topic_epoch']:.0f},"
            f" {topics['topics_per_video']:.2f} per video on average,"
            f" {topics['below_threshold']:.0%} of videos without a centre within the threshold",
            highlight=False,
        )


def _table_1(report: dict[str, Any]) -> Table:
    classes = report["classes"]
    scores = {(r["metric"], r["level"], r["features"]): r for r in report["table1"]}
    differences = {(r["metric"], r["level"], r["from"], r["to"]): r for r in report["differences"]}
    table = Table("", *COLUMNS, "paper's order", box=None, header_style="bold")
    for metric in ("ari", "nmi"):
        for level in classes:
            row = [scores.get((metric, level, name)) for name in COLUMNS]
            cells = [_plain(score) if score else "none" for score in row]
            steps = [differences.get((metric, level, a, b)) for a, b in ORDER]
            verdict = order_verdict([step for step in steps if step])
            table.add_row(f"{metric.upper()} {level} (K = {classes[level]})", *cells, verdict)
    return table


def _figure_3(figure: dict[str, Any]) -> list[str]:
    """Fig. 3 in the paper's way and at matched dimensions, each from the least ratio up."""
    if not figure["ratios"]:
        return []
    shown = _ascending(figure["ratios"])
    matched = _ascending(figure["matched_ratios"])
    dimensions = ", ".join(
        f"{name} {value:.0f}" for name, value in figure["intrinsic_dimensions"].items()
    )
    return [
        "Fig. 3, distance between clusters over distance within, mean of"
        f" {len(next(iter(figure['ratios'].values())))} clusterings"
        f" at K = {figure['clusters']}: {shown}",
        f"  It falls with the number of dimensions ({dimensions}), whatever they hold;"
        f" at {figure['matched_dimensions']} principal components each: {matched}",
    ]


def _ascending(ratios: dict[str, list[float]]) -> str:
    means = {name: sum(values) / len(values) for name, values in ratios.items()}
    return " < ".join(f"{name} {means[name]:.3f}" for name in sorted(means, key=lambda n: means[n]))


def _probes(accuracies: dict[str, float]) -> list[str]:
    if not accuracies:
        return []
    shown = ", ".join(f"{name} {value:.3f}" for name, value in accuracies.items())
    return [f"Linear probes of the primary class, accuracy: {shown}"]


def _separation(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "classes",
        "features",
        "silhouette",
        "Davies-Bouldin (less is better)",
        "same class among 10 neighbours",
        box=None,
        header_style="bold",
    )
    for row in rows:
        figures = (f"{row[name]:.3f}" for name in ("silhouette", "davies_bouldin", "neighbours"))
        table.add_row(row["level"], row["features"], *figures)
    return table


def trained(report: dict[str, Any]) -> None:
    """What the ranking model was trained on and how well it does."""
    state = "is up to date" if report["skipped"] else f"trained in {report['seconds']:.0f} s"
    out.print(
        f"Ranking model {report['model']} {state}: {report['rows']:,} impressions"
        f" ({report['clicked'] / report['rows']:.0%} clicked) of {report['users']:,} users,"
        f" {report['videos']:,} videos, {report['topics']:,} topics, release {report['release']};"
        f" AUC {report['auc']:.3f} on the held-out end, {report['epochs']} epochs",
        highlight=False,
        soft_wrap=True,
    )
    reason = f"; not as served: {report['because']}" if report["because"] else ""
    out.print(as_text(f"Features {report['known']}{reason}"), soft_wrap=True)
    if report["without_topics"]:
        text = f"No impression had a topic: {report['without_topics']}."
        out.print(as_text(text), soft_wrap=True)


def _plain(estimate: dict[str, Any], form: str = ".3f") -> str:
    if estimate["low"] is None:
        return f"{estimate['mean']:{form}}"
    half = (estimate["high"] - estimate["low"]) / 2
    return f"{estimate['mean']:{form}} ± {half:{form.lstrip('+')}}"


def _release(report: dict[str, Any]) -> str:
    return f"release {report['release']} (as of {report['as_of'][:19]})"


def order_verdict(steps: list[dict[str, Any]]) -> str:
    """Whether joint is above image and title, joint + tag above joint, each beyond its interval.

    >>> step = {"from": "joint", "to": "joint + tag", "mean": 0.02}
    >>> order_verdict([step | {"low": 0.01}]), order_verdict([step | {"low": -0.01}])
    ('yes', 'open: joint + tag > joint within its interval')
    """
    if not steps:
        return "no pair to compare"
    broken = [f"{s['to']} not above {s['from']}" for s in steps if s["mean"] <= 0]
    unsure = [
        f"{s['to']} > {s['from']} within its interval" for s in steps if s["mean"] > 0 >= s["low"]
    ]
    if broken:
        return "no: " + "; ".join([*broken, *unsure])
    return "open: " + "; ".join(unsure) if unsure else "yes"
