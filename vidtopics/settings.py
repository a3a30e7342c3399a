"""Settings as one typed tree that mirrors `conf/*.yaml`; defaults are the paper's values.

>>> Settings().topics.target_topics
4.0
>>> parse({"topics": {"treshold": 0.5}}, where="conf/mine.yaml")
Traceback (most recent call last):
...
vidtopics.errors.SettingsError: conf/mine.yaml, topics.treshold: expected a known key,
found 'treshold'. Mend: did you mean 'threshold'?.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import reprlib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from vidtopics.contracts import TABLES
from vidtopics.errors import SettingsError, explain
from vidtopics.paths import addressable, is_url
from vidtopics.yaml_files import parse_value, read_mapping

_SHORT = reprlib.Repr()  # aliases of aliases would print exponentially long
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 120

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A part of the tree: immutable, no unknown keys, every number finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `yes`, `on` and `true` are no numbers and no durations, which pydantic reads."""
        values = value if isinstance(value, list) else [value]
        annotation = cls.model_fields[str(info.field_name)].annotation
        if annotation is not bool and any(isinstance(item, bool) for item in values):
            raise PydanticCustomError("truth_value", "no truth value")
        return value


class IngestSettings(Section):
    """Reading a delivery."""

    max_rejected_share: Share = 0.05
    """Above this share of refused rows in a file the job stops and publishes nothing."""
    max_reused_share: Share = 0.01
    """Above this share of rows with another event's id the job stops: the file's ids restart."""
    max_image_pixels: Positive = 50_000_000
    """A cover that claims more is treated as a decompression bomb."""
    batch_rows: Positive = 200_000
    """Rows held in memory at once."""
    click_rating: float = 4.0
    """MovieLens: a rating of this or more stands for a click."""


class ScheduleSettings(Section):
    """The as-of dates of a backfill."""

    as_of_dates: Positive = 3
    """Runs at this many quantiles of impression time, the last at its end."""
    delay: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(hours=1)
    """In a backfill, a value becomes known this long after its as-of time."""


class SimulationSettings(Section):
    """The simulated short-video world (`docs/simulation.md` has the equations)."""

    users: Positive = 3_000
    videos: Positive = 2_000
    days: Positive = 14
    """All of them are in the log; in the first, users have little history yet."""
    primary_classes: Positive = 10
    secondary_classes: Positive = 40
    topics: Positive = 60
    tags: Positive = 1_200
    content_noise: Annotated[float, Field(ge=0)] = 0.3
    """Expected length of what sets a video's content apart from its topic's centre (length 1)."""
    sharpness: Annotated[float, Field(ge=0)] = 8.0
    """How fast affinity falls with the cosine between a video's taste and a user's interest."""
    popularity_exponent: Annotated[float, Field(ge=0)] = 1.2
    """Power of recent clicks that popular slots are drawn in proportion to."""
    random_click_rate: Annotated[float, Field(gt=0, lt=1)] = 0.455
    """Mean click probability of random users and videos at the first rank; a constant in all users'
    bias is fitted to it, for each world."""
    image_noise: Share = 0.25
    """e_I: share of covers drawn for another topic."""
    title_noise: Share = 0.28
    """e_T: share of titles written for another topic."""
    tag_noise: Share = 0.20
    """e_G: share of wrong tags."""
    visible_taste: Share = 0.7
    """eta: share of taste that content explains."""
    slate: Positive = 8
    cover_pixels: Positive = 160
    """Height and width of a cover; covers are drawn only if `covers` is true."""
    covers: bool = True
    start: str = "2026-01-01T00:00:00Z"


class ImageEncoderSettings(Section):
    """f_C of Eq. 1, a timm model by name."""

    name: str = "inception_resnet_v2"
    weights: str = ""
    """A safetensors or state-dict file, a folder in Hugging Face's layout, `package:NAME` of a
    package that ships either, or `random:SEED`: as drawn, untrained."""
    pixels: Positive = 299
    batch_size: Positive = 32


class TitleEncoderSettings(Section):
    """f_T of Eq. 1, a transformers model directory."""

    weights: str = ""
    """A folder in Hugging Face's layout, `package:NAME` of a package that ships one, or
    `random:SEED`: BERT base over bytes as it is drawn, untrained."""
    max_tokens: Positive = 32
    batch_size: Positive = 64


class ContentSettings(Section):
    """Joint representation of cover and title (III-A1)."""

    image_encoder: ImageEncoderSettings = ImageEncoderSettings()
    title_encoder: TitleEncoderSettings = TitleEncoderSettings()
    train_encoders: bool = True
    """True: fine-tune end to end (the paper). False: train projections and MMoE alone."""
    projection_width: Count = 0
    """Width of each modality's projection before z; 0: none, z is the encoders' outputs."""
    experts: Positive = 12
    expert_width: Positive = 512
    tower_width: Positive = 64
    iterations: Positive = 200
    warm_iterations: Positive = 40
    """Of a run that goes on from the last model: 200 at each of five dates learned by heart."""
    batch_size: Positive = 300
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    normalize_targets: bool = True
    """True: each task's targets sum to 1. False: binary vectors, as Eq. 2 is printed."""
    holdout_share: Share = 0.1
    """Share of contents that never train, chosen by a hash of cover and title; Table I is measured
    on their videos."""
    validation_share: Share = 0.05
    """Share of the learning videos that fine-tuning is judged on instead, by a hash of cover and
    title; 1,000 of them at most. Not used where `patience` is 0."""
    patience: Count = 5
    """Checks without a better validation loss after which fine-tuning stops and goes back to the
    best; 0: all iterations (the paper)."""
    check_every: Positive = 10
    """Iterations between two checks of the validation loss."""
    checkpoint_every: Positive = 20
    """Iterations between two checkpoints of fine-tuning, from which a run that died goes on."""
    processes: Positive = 1
    """That fine-tune together, each with a part of every batch (Spark's TorchDistributor)."""
    max_tags: Positive = 12_000
    """Tag classes of the third task, by falling number of videos (paper: 12,000)."""
    min_tag_videos: Positive = 2

    @model_validator(mode="after")
    def _refuse_to_train_nothing(self) -> Self:
        """Frozen encoders without a projection: the MMoE would learn, and z stay as it is."""
        if not self.train_encoders and self.projection_width == 0:
            raise PydanticCustomError(
                "trains_nothing",
                "something to train that reaches z: train_encoders: true or projection_width > 0",
            )
        return self


class TagSettings(Section):
    """Tag graph and its embedding (III-A2)."""

    min_videos: Positive = 2
    """A tag on fewer videos is left out of the graph."""
    max_tags_per_video: Positive = 200
    """A video with more gives the graph its most frequent ones, as pairs grow with the square."""
    walks_per_tag: Positive = 10
    walk_length: Annotated[int, Field(gt=0, le=10_000)] = 100
    """Gensim takes no sentence longer than 10,000 words."""
    dimensions: Positive = 128
    window: Positive = 5
    negatives: Positive = 5
    epochs: Positive = 1
    engine: Literal["local", "graphframes"] = "local"
    """What finds the graph's components: scipy, or GraphFrames on Spark with its jar."""


class TopicSettings(Section):
    """Clustering and assignment (III-A3)."""

    clusters: Count = 0
    """Topics of an epoch's first training (paper: 6,000); 0: by the catalogue's size, 3.5 times the
    square root of its videos. Births and retirements change their number then."""
    restarts: Positive = 3
    """Clusterings of an epoch's first training; the one of the greatest mean cosine is taken."""
    target_topics: Annotated[float, Field(ge=0, le=8)] = 4.0
    """Mean number of topics that an epoch's first training calibrates the thresholds to (paper: 4),
    one for each pattern of blocks; 0: `threshold` holds for all."""
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.6
    """tau_3: least cosine to a centre; used where `target_topics` is 0."""
    centre_tags: bool = True
    """True: subtract what all tag blocks have in common. False: as the paper has it."""
    tag_weight: Annotated[float, Field(ge=0)] | None = None
    """Of the tag block, beside `joint_weight` (paper: 1 and 1); null: chosen on videos that train.
    """
    joint_weight: Annotated[float, Field(ge=0)] = 1.0
    iterations: Positive = 25
    sample: Positive = 100_000
    """Videos that k-means++ and Lloyd's steps see at most; assignment sees all."""
    label_terms: Positive = 5
    labeller: str = ""
    """A function that names topics (`package.module:function`), from a language model say; empty:
    their terms alone."""
    min_size: Positive = 4
    """Videos that found a topic, and that each part of a split has, at least."""
    growth: Share = 0.1
    """A training adds at most this share of the topics there are, beyond those that retire."""
    overfull: Annotated[float, Field(gt=1)] = 3.0
    """A topic of more than this many times the mean number of videos splits."""
    loose: Share = 0.85
    """A topic splits whose mean cosine of videos to centre is below this share of the median's."""
    relearn_growth: Annotated[float, Field(ge=1)] = 2.0
    """A training that goes on from a version leaves its joint model and its tags' vectors as they
    are, and learns vectors of new tags, topics and labels. From this many times the videos on, or
    the tags given to them, that those were learned from, it trains them on too and chooses block
    weights and thresholds anew; most videos have another set of topics then."""
    keep_first: Share = 0.95
    """A training leaves at least this share of the unchanged videos their first topic ..."""
    keep_set: Share = 0.85
    """... and this share their set of topics; what would move more waits for the next training."""
    least_cosine: Share = 0.95
    """`train topics --if-needed` trains where the mean cosine of videos to their centre is below
    this share of what it was after the last training, ..."""
    most_below_threshold: Share = 0.05
    """... the share of videos without a topic within the threshold has risen by more than this, ...
    """
    most_new_tags: Share = 0.05
    """... more than this share of the tags that videos carry is new since, ..."""
    most_age: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=30)
    """... or the last training is older than this."""


class StatisticsSettings(Section):
    """Smoothed click-through rate."""

    prior_exposures: Annotated[float, Field(gt=0)] = 10.0
    """w in (clicks + w * global CTR) / (exposures + w)."""
    half_life: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=7)
    """After which an event counts half in a video's decayed counts, by which queues are ordered."""


class UserSettings(Section):
    """What is served of each user beside recent clicks and skips."""

    half_life: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=7)
    """After which an event counts half in decayed counts."""
    topics: Positive = 64
    """Topics of a user that are served, by falling decayed exposures."""
    parents: Positive = 16
    """Parent topics, likewise."""


class QueueSettings(Section):
    """Topic queues (III-B1)."""

    min_exposures: Count = 10
    """tau_1: a video with fewer is not judged; it is fresh, or in no queue of a topic."""
    min_ctr: Share = 0.07
    """tau_2: a judged video with a lower click-through rate leaves its queues."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.75
    """Probability that the rate is below tau_2 (Beta posterior) from which a video leaves."""
    fresh_age: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(days=7)
    """Time since publication within which a video with fewer than tau_1 exposures is fresh."""
    fresh_pool: Count = 100
    """Fresh videos of a queue, from which requests draw, at most."""
    length: Positive = 1_000
    """Judged videos that a queue holds at most. With less than N_3 and what a user has seen
    (2 N_1) the catalogue's queue can't fill up every user's candidates."""


class RecallSettings(Section):
    """Candidate generation (III-B1)."""

    recent_clicks: Positive = 128
    """N_1: clicks that a user's topics are counted over."""
    topics: Positive = 4
    """N_2: topics that candidates come from."""
    candidates: Positive = 600
    """N_3."""
    floor: Share = 0.1
    """Least share of the candidates that each chosen topic gets."""
    fresh_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of a queue that is drawn from its fresh videos, anew for each request."""
    popular_share: Share = 0.9
    """Share of the candidates from what is popular in the whole catalogue, tilted to the user's
    topics, in turn with those of their queues; 0: only where these leave places open."""
    parent_prior: Annotated[float, Field(ge=0)] = 50
    """Clicks, spread as all users' are, that count beside the user's own in a topic or parent
    topic: how far the user's clicks are trusted against what is popular."""
    leave_out: Literal["seen", "clicked"] = "seen"
    """Which of the user's recent videos don't come back: all that were shown, or clicked ones."""


class RankingSettings(Section):
    """Ranking models and the frame that they are trained on (III-B2, IV-D)."""

    label_window: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=1)
    """A click counts within this time; a training row exists once it has passed."""
    history: Positive = 100
    """Earlier impressions of a user that a model sees at most, newest first."""
    model: Literal["lr", "emlp", "wide_and_deep", "dcn", "din"] = "wide_and_deep"
    """What `vidtopics train ranking` trains and `recommend` ranks with."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models are trained; auto: on a GPU where there is one."""
    embedding_width: Positive = 16
    """Of videos and users."""
    topic_width: Positive = 8
    """Of a topic (paper, IV-D)."""
    table_rows: Annotated[int, Field(ge=2)] = 2**18
    """Of an embedding table at most; more users or videos than that share rows by a hash."""
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 32)
    cross_layers: Positive = 2
    """Of DCN."""
    epochs: Positive = 6
    """At most; a validation cut of the training rows chooses how many."""
    batch_size: Positive = 2_048
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4


class OnlineSettings(Section):
    """What goes to Redis, and how its keys begin."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")] = "vt"
    """Every key begins with it; short, as each video pays for it once per view."""
    buckets: Annotated[int, Field(ge=1, le=16_384)] = 16
    """Hash slots that the keys of a view share; 64 for large clusters. Fixed once data is there."""
    vectors: bool = True
    """Whether views of vectors go online too; at the paper's size 3 M joint vectors are 27.6 GB.
    Where they are online already, the next run takes them out of Redis."""
    max_lag: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(minutes=15)
    """`/ready` says no while a release waits for longer; three rounds of five minutes."""
    max_ahead: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=1)
    """How far an event time may lie ahead of now; a row beyond is refused, as no right one could
    ever take its place."""
    keep: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(hours=24)
    """How long a release can be gone back to once the next one is live; 8 releases at most."""


class MaintenanceSettings(Section):
    """How long `vidtopics maintain` keeps what it may remove (docs/tables.md, "Maintenance")."""

    keep_releases: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(days=400)
    """Versions that a release of this age or younger names stay readable, as the one in force."""
    keep_versions: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(days=400)
    """Any other version stays readable this long: above the longest run, load or training join.
    Pins of training sets count for the same time."""


class Limits(Section):
    """Past which value a figure of a release warns, and past which it blocks; null: never."""

    warn: float | None
    block: float | None


OFF = Limits(warn=None, block=None)
ANY = Limits(warn=0, block=0)
FLOORS = frozenset({"rows", "topics_per_video", "occupancy", "mean_queue"})
"""Figures whose limits are least values; all others' are greatest ones."""
TABLE_LIMITS: Mapping[str, Limits] = {
    **{
        f"{name}.rows": Limits(warn=None, block=1)
        for name in (
            "video_catalog",
            "video_tag_embedding",
            "video_joint_representation",
            "topics",
            "video_topics",
            "video_statistics",
        )
    },
    # Running totals: each run shifts all of their bins.
    "video_statistics.psi": OFF,
    "video_counts.psi": OFF,
    "user_statistics.psi": OFF,
    "user_topic_counts.psi": OFF,
    "topic_queues.queue_exposures.psi": OFF,
    "topic_queues.queue_clicks.psi": OFF,
    "topics.size.psi": OFF,
    # A queue's places change with its click-through rates.
    "topic_queues.ended_share": Limits(warn=0.5, block=0.9),
    # With one topic model version, rows change where their videos do: none in ten days of 5% new
    # videos, half of a percent after a delivery of 1%.
    **{
        f"{name}.changed_share": Limits(warn=0.2, block=0.5)
        for name in (
            "tag_embedding",
            "video_tag_embedding",
            "video_joint_representation",
            "topics",
            "video_topics",
        )
    },
}
"""Limits of single tables that hold where the settings name none."""


class GateSettings(Section):
    """Limits of a release's figures (`docs/releases.md` has each figure's definition)."""

    least_keys: Count = 20
    """A share of fewer keys than this is no evidence: its limits don't apply."""
    compare_within: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(days=7)
    """A release whose as-of time is later than the last one's by more than this isn't that of the
    next run: limits of growth, change and drift don't apply."""
    lost_history: Limits = ANY
    rows: Limits = OFF
    """Live keys, at least."""
    ended_share: Limits = Limits(warn=0.1, block=0.3)
    appeared_share: Limits = Limits(warn=2, block=10)
    changed_share: Limits = OFF
    """Counts change from run to run: limits are those of the tables that a topic model infers."""
    null_share: Limits = ANY
    other_width_share: Limits = ANY
    width_change: Limits = Limits(warn=0, block=None)
    not_finite_share: Limits = ANY
    off_length_share: Limits = ANY
    zero_share: Limits = Limits(warn=0.9, block=None)
    psi: Limits = Limits(warn=0.25, block=1)
    topics_per_video: Limits = Limits(warn=1, block=0.5)
    """Mean number of topics of a video, at least."""
    below_threshold_share: Limits = Limits(warn=0.5, block=0.9)
    occupancy: Limits = Limits(warn=0.9, block=0.5)
    """Share of topics that have a video, at least."""
    gini: Limits = Limits(warn=0.8, block=0.95)
    largest_share: Limits = Limits(warn=0.25, block=0.5)
    epoch_change: Limits = Limits(warn=0, block=None)
    no_queue_share: Limits = Limits(warn=0.5, block=0.9)
    mean_queue: Limits = OFF
    """Mean length of the queues that there are, at least."""
    input_age_hours: Limits = Limits(warn=48, block=None)
    tables: dict[str, Limits] = {}
    """Of one table or column: `video_topics.ended_share`, `video_topics.topic_count.psi`."""

    @field_validator("*")
    @classmethod
    def _refuse_crossed_limits(cls, value: Any, info: ValidationInfo) -> Any:
        """A figure warns before it blocks."""
        named = value if isinstance(value, dict) else {str(info.field_name): value}
        for name, limits in named.items():
            if isinstance(limits, Limits) and _are_crossed(name, limits):
                raise PydanticCustomError("crossed_limits", "a warn limit that is reached first")
        return value

    @field_validator("tables")
    @classmethod
    def _refuse_unknown_gates(cls, value: dict[str, Limits]) -> dict[str, Limits]:
        for name in value:
            if not _is_gate(cls, name):
                near = difflib.get_close_matches(name, _gates(cls), n=1, cutoff=0.0)[0]
                raise PydanticCustomError(
                    "unknown_gate",
                    "gates' names, TABLE.FIGURE or TABLE.COLUMN.FIGURE, as {near}; not {name}",
                    {"near": near, "name": name},
                )
        return value

    def of(self, name: str) -> Limits:
        """The limits of a gate: the column's, else the table's, else the figure's.

        >>> GateSettings().of("topics.rows").block, GateSettings().of("topic_queues.rows").block
        (1.0, None)
        """
        table, _, figure = name.partition(".")
        figure = figure.rpartition(".")[2]
        named = {**TABLE_LIMITS, **self.tables}
        limits: Limits = named.get(name) or named.get(f"{table}.{figure}") or getattr(self, figure)
        return limits


def _are_crossed(name: str, limits: Limits) -> bool:
    if limits.warn is None or limits.block is None:
        return False
    if name.rpartition(".")[2] in FLOORS:
        return limits.warn < limits.block
    return limits.warn > limits.block


def _is_gate(settings: type[GateSettings], name: str) -> bool:
    table, *column, figure = name.split(".") if "." in name else ("", name)
    if table not in TABLES or figure not in _figures(settings) or len(column) > 1:
        return False
    return not column or column[0] in {c.name for c in TABLES[table].values}


def _figures(settings: type[GateSettings]) -> list[str]:
    return [name for name, field in settings.model_fields.items() if field.annotation is Limits]


def _gates(settings: type[GateSettings]) -> list[str]:
    return [f"{table}.{figure}" for table in TABLES for figure in _figures(settings)]


class EvaluationSettings(Section):
    """Table I and Fig. 3; AUC with and without topics."""

    trainings: Annotated[int, Field(ge=2)] = 3
    """Models trained from other seeds that Table I's intervals are over; one has none."""
    clusterings: Positive = 4
    """Of each of those."""
    ranking_seeds: Positive = 5
    """Models trained per cell of the ranking table; intervals are over users and them."""
    ranking_trials: Positive = 4
    """Settings tried for each model and variant, on validation rows; the first is `ranking`'s."""


class Settings(Section):
    """The whole tree."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    """Of every random draw; numpy, torch and gensim all take an unsigned number of 32 bits."""
    ingest: IngestSettings = IngestSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    simulation: SimulationSettings = SimulationSettings()
    content: ContentSettings = ContentSettings()
    tags: TagSettings = TagSettings()
    topics: TopicSettings = TopicSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    users: UserSettings = UserSettings()
    queues: QueueSettings = QueueSettings()
    recall: RecallSettings = RecallSettings()
    ranking: RankingSettings = RankingSettings()
    online: OnlineSettings = OnlineSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    gates: GateSettings = GateSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


VARIABLE = "VIDTOPICS_"
"""What a variable of a setting begins with: `VIDTOPICS_ONLINE__PREFIX` is `online.prefix`."""
NO_SETTING = re.compile(r"FAILPOINT|(.*_)?(SERVICE_HOST|SERVICE_PORT.*|PORT(_\d+_.*)?)")
"""Of a test, and those that Kubernetes makes for a service called vidtopics."""
KeyPath = tuple[str, ...]


def parse(
    tree: Mapping[str, Any], *, where: str, environment: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """The settings that `tree` describes, and variables of `environment`, which win over it.

    Raises:
        SettingsError: it names every key, variable and value that is wrong.

    >>> tree, environment = {"online": {"buckets": 8}}, {"VIDTOPICS_ONLINE__PREFIX": "staging"}
    >>> online = parse(tree, where="mine.yaml", environment=environment).online
    >>> online.buckets, online.prefix
    (8, 'staging')
    """
    variables = {
        tuple(name.removeprefix(VARIABLE).lower().split("__")): name
        for name in environment
        if name.startswith(VARIABLE) and not NO_SETTING.fullmatch(name.removeprefix(VARIABLE))
    }
    for path, name in variables.items():
        tree = _with_value(tree, path, parse_value(environment[name], name))
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        messages = [_message(e, where, variables) for e in error.errors()]
        raise SettingsError("\n".join(messages)) from None


def load(path: str | Path | None) -> Settings:
    """Settings from a YAML file (None: the defaults), and from the environment, which wins.

    Raises:
        SettingsError: the file can't be read, a key stands twice, or a key or value is wrong.
    """
    tree = read_mapping(path) if path else {}
    return parse(tree, where=str(path or "settings"), environment=os.environ)


def _with_value(tree: Any, path: KeyPath, value: Any) -> Any:
    """A copy of a tree with a value at a path."""
    if not path:
        return value
    if not isinstance(tree, Mapping):
        return tree  # no section: the message names it
    return {**tree, path[0]: _with_value(tree.get(path[0], {}), path[1:], value)}


def folder(home: str | os.PathLike[str]) -> Path:
    """A home's folder; SettingsError for an address, or a path that no table can lie below.

    >>> folder(".vidtopics").name
    '.vidtopics'
    >>> folder("s3://bucket/home")
    Traceback (most recent call last):
    ...
    vidtopics.errors.SettingsError: home: expected a folder, found s3:/bucket/home.
    Mend: name a local or mounted folder; Feast's offline store alone reads tables on an object
    store (docs/feature-store.md).
    """
    path = Path(home)
    if is_url(str(home)):
        raise SettingsError(
            explain(
                "home",
                expected="a folder",
                found=path.as_posix(),
                mend="name a local or mounted folder; Feast's offline store alone reads tables on "
                "an object store (docs/feature-store.md)",
            )
        )
    addressable(path, "home")
    return path


def digest(*parts: Any) -> str:
    """A short hash of settings sections and plain values, equal where they are equal.

    >>> digest(TagSettings()) == digest(TagSettings(walk_length=100))
    True
    >>> digest(TagSettings()) == digest(TagSettings(walk_length=50))
    False
    """
    plain = [p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _message(error: Any, where: str, variables: Mapping[KeyPath, str]) -> str:
    path = tuple(str(part) for part in error["loc"])
    variable = next((v for p, v in variables.items() if p[: len(path)] == path[: len(p)]), None)
    where = variable or f"{where}, {'.'.join(path)}"
    if error["type"] == "trains_nothing":
        return explain(
            where,
            expected=error["msg"],
            found="train_encoders: false, projection_width: 0",
            mend="set one of the two",
        )
    if error["type"] != "extra_forbidden":
        return explain(
            where,
            expected=error["msg"],
            found=_SHORT.repr(error["input"]),
            mend="correct the value",
        )
    known = _keys(Settings, error["loc"][:-1])
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.0)[0]
    if variable:
        near = VARIABLE + "__".join([*path[:-1], near]).upper()
    return explain(
        where,
        expected="a known key",
        found=repr(error["loc"][-1]),
        mend=f"did you mean {near!r}?",
    )


def _keys(model: Any, path: Iterable[str | int]) -> list[str]:
    for name in path:
        if isinstance(model, type):
            model = model.model_fields[str(name)].annotation  # type: ignore[attr-defined]
        else:  # dict[str, Section]
            model = get_args(model)[1]
    return list(model.model_fields)
