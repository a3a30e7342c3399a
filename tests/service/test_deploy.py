"""deploy/: units that systemd takes, manifests of known fields, and commands that we have."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from vidtopics.cli.common import build
from vidtopics.service.rounds import seconds

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
MANIFESTS = sorted((DEPLOY / "kubernetes").iterdir())
PROGRAM = "/usr/local/bin/vidtopics"
SYSTEMD = shutil.which("systemd-analyze")


class Unit(configparser.ConfigParser):
    """systemd's files: keys with capitals, and some more than once."""

    def __init__(self, text: str) -> None:
        super().__init__(strict=False, interpolation=None)
        self.read_string(text)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


class Fields(BaseModel):
    """A part of a manifest: no field that isn't named here, as Kubernetes refuses it too."""

    model_config = ConfigDict(extra="forbid")


class Variable(Fields):
    name: str
    value: str


class Port(Fields):
    name: str
    container_port: int = Field(alias="containerPort")


class Get(Fields):
    path: Literal["/live", "/ready"]
    port: str


class Probe(Fields):
    http_get: Get = Field(alias="httpGet")
    period: int = Field(alias="periodSeconds", gt=0)
    failures: int = Field(3, alias="failureThreshold", gt=0)
    timeout: int = Field(1, alias="timeoutSeconds", gt=0)


class Amounts(Fields):
    cpu: str = ""
    memory: str


class Resources(Fields):
    requests: Amounts
    limits: Amounts


class Mount(Fields):
    name: str
    path: str = Field(alias="mountPath")
    read_only: bool = Field(False, alias="readOnly")


class Container(Fields):
    name: str
    image: str
    command: list[str]
    env: list[Variable]
    resources: Resources
    mounts: list[Mount] = Field(alias="volumeMounts")
    ports: list[Port] = []
    live: Probe | None = Field(None, alias="livenessProbe")
    ready: Probe | None = Field(None, alias="readinessProbe")
    startup: Probe | None = Field(None, alias="startupProbe")


class Claim(Fields):
    name: str = Field(alias="claimName")


class OfSecret(Fields):
    name: str = Field(alias="secretName")


class Volume(Fields):
    name: str
    claim: Claim | None = Field(None, alias="persistentVolumeClaim")
    secret: OfSecret | None = None


class Pod(Fields):
    containers: list[Container]
    volumes: list[Volume]
    grace: int = Field(30, alias="terminationGracePeriodSeconds")
    restart: Literal["Always", "Never"] = Field("Always", alias="restartPolicy")
    affinity: dict[str, Any] = {}


class Metadata(Fields):
    name: str = Field(pattern=r"^[a-z0-9-]{1,63}$")
    labels: dict[str, str] = {}


class OnlyLabels(Fields):
    labels: dict[str, str]


class Template(Fields):
    metadata: OnlyLabels
    spec: Pod


class Selector(Fields):
    match: dict[str, str] = Field(alias="matchLabels")


class Strategy(Fields):
    type: Literal["Recreate"]


class DeploymentSpec(Fields):
    replicas: Literal[1]
    strategy: Strategy
    selector: Selector
    template: Template


class Deployment(Fields):
    api: Literal["apps/v1"] = Field(alias="apiVersion")
    kind: Literal["Deployment"]
    metadata: Metadata
    spec: DeploymentSpec


class JobSpec(Fields):
    backoff: int = Field(alias="backoffLimit")
    template: Template


class JobTemplate(Fields):
    spec: JobSpec


class CronSpec(Fields):
    schedule: str = Field(pattern=r"^([\d*/,-]+ ){4}[\d*/,-]+$")
    concurrency: Literal["Forbid"] = Field(alias="concurrencyPolicy")
    deadline: int = Field(alias="startingDeadlineSeconds")
    failed: int = Field(alias="failedJobsHistoryLimit")
    job: JobTemplate = Field(alias="jobTemplate")


class CronJob(Fields):
    api: Literal["batch/v1"] = Field(alias="apiVersion")
    kind: Literal["CronJob"]
    metadata: Metadata
    spec: CronSpec


class Secret(Fields):
    api: Literal["v1"] = Field(alias="apiVersion")
    kind: Literal["Secret"]
    metadata: Metadata
    type: Literal["Opaque"]
    data: dict[str, str] = Field(alias="stringData")


class ClaimRequests(Fields):
    requests: dict[Literal["storage"], str]


class VolumeClaimSpec(Fields):
    modes: list[Literal["ReadWriteOnce"]] = Field(alias="accessModes")
    resources: ClaimRequests


class VolumeClaim(Fields):
    api: Literal["v1"] = Field(alias="apiVersion")
    kind: Literal["PersistentVolumeClaim"]
    metadata: Metadata
    spec: VolumeClaimSpec


class ServicePort(Fields):
    name: str
    port: int
    target: str = Field(alias="targetPort")


class ServiceSpec(Fields):
    selector: dict[str, str]
    not_ready: bool = Field(alias="publishNotReadyAddresses")
    ports: list[ServicePort]


class Service(Fields):
    api: Literal["v1"] = Field(alias="apiVersion")
    kind: Literal["Service"]
    metadata: Metadata
    spec: ServiceSpec


Manifest = TypeAdapter(Deployment | CronJob | Secret | VolumeClaim | Service)


def manifests() -> list[Any]:
    texts = (file.read_text(encoding="utf-8") for file in MANIFESTS)
    return [Manifest.validate_python(part) for text in texts for part in yaml.safe_load_all(text)]


def pods() -> list[Template]:
    of_deployments = [m.spec.template for m in manifests() if isinstance(m, Deployment)]
    return of_deployments + [
        m.spec.job.spec.template for m in manifests() if isinstance(m, CronJob)
    ]


def commands() -> list[list[str]]:
    units = [Unit(file.read_text(encoding="utf-8")) for file in UNITS]
    starts = [unit["Service"]["ExecStart"] for unit in units if unit.has_section("Service")]
    assert all(start.startswith(PROGRAM + " ") for start in starts)
    return [shlex.split(start)[1:] for start in starts] + [
        container.command[1:] for pod in pods() for container in pod.spec.containers
    ]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_one_that_we_have(words: list[str], tmp_path: Path) -> None:
    """The command line itself reads it, types of values and the home among it, and runs nothing."""
    (tmp_path / "tables").mkdir()
    home = words.index("--home") + 1
    words = [*words[:home], str(tmp_path), *words[home + 1 :]]
    group: Any = typer.main.get_command(build())
    group.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.skipif(SYSTEMD is None, reason="no systemd-analyze (Debian: apt-get install systemd)")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With a program that there is in the place of ours."""
    for file in UNITS:
        text = file.read_text(encoding="utf-8").replace(PROGRAM, str(shutil.which("true")))
        (tmp_path / file.name).write_text(text)
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(
        [str(SYSTEMD), "verify", "--man=no", "--recursive-errors=no", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_units_belong_together() -> None:
    units = {file.name: Unit(file.read_text(encoding="utf-8")) for file in UNITS}
    timers = {name.removesuffix(".timer") for name in units if name.endswith(".timer")}
    assert timers <= {name.removesuffix(".service") for name in units if name.endswith(".service")}
    service = units["vidtopics.service"]["Service"]
    assert service["KillMode"] == "mixed"  # a run that is under way isn't killed at once


def test_manifests_belong_together() -> None:
    named = {(m.kind, m.metadata.name) for m in manifests()}
    for pod in pods():
        (container,) = pod.spec.containers
        volumes = {volume.name: volume for volume in pod.spec.volumes}
        for mount in container.mounts:
            volume = volumes[mount.name]
            if volume.claim:
                assert ("PersistentVolumeClaim", volume.claim.name) in named
                assert container.command[container.command.index("--home") + 1] == mount.path
            if volume.secret:
                assert ("Secret", volume.secret.name) in named
                (file,) = [v.value for v in container.env if v.name == "REDIS_PASSWORD_FILE"]
                (secret,) = [m for m in manifests() if isinstance(m, Secret)]
                assert file in {f"{mount.path}/{key}" for key in secret.data}
    (daemon,) = [m for m in manifests() if isinstance(m, Deployment)]
    assert daemon.spec.selector.match == daemon.spec.template.metadata.labels
    (service,) = [m for m in manifests() if isinstance(m, Service)]
    assert service.spec.selector.items() <= daemon.spec.template.metadata.labels.items()
    (container,) = daemon.spec.template.spec.containers
    words = container.command
    assert words[words.index("--metrics-port") + 1] == str(container.ports[0].container_port)
    for probe in (container.live, container.ready, container.startup):
        assert probe is not None
        assert probe.http_get.port == container.ports[0].name
    assert container.live is not None
    assert container.live.http_get.path == "/live"


def test_no_sample_has_a_password() -> None:
    for file in (*UNITS, *MANIFESTS):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"//[^@\s]*:[^@\s/]+@", text), file
    (secret,) = [m for m in manifests() if isinstance(m, Secret)]
    assert set(secret.data.values()) == {"CHANGE-ME"}


def test_paces_are_durations() -> None:
    for words in commands():
        for option in ("--run-every", "--materialize-every"):
            if option in words:
                assert seconds(words[words.index(option) + 1]) > 0
