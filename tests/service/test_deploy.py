"""deploy/: files that systemd, Docker, Compose and Kubernetes take, and commands that we have."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from vidtopics.cli.common import build
from vidtopics.service.rounds import seconds

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES, COMPOSE, DOCKERFILE = (
    DEPLOY / name for name in ("kubernetes", "compose.yaml", "Dockerfile")
)
UNITS = sorted((DEPLOY / "systemd").iterdir())
MANIFESTS = sorted(KUBERNETES.iterdir())
PROGRAM = "/usr/local/bin/vidtopics"
SYSTEMD = shutil.which("systemd-analyze")


class Unit(configparser.ConfigParser):
    """systemd's files: keys with capitals, and some more than once."""

    def __init__(self, text: str) -> None:
        super().__init__(strict=False, interpolation=None)
        self.read_string(text)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def documents(*names: str) -> list[dict[str, Any]]:
    """The manifests, or those of some files."""
    files = [KUBERNETES / name for name in names] or MANIFESTS
    texts = [file.read_text(encoding="utf-8") for file in files]
    return [part for text in texts for part in yaml.safe_load_all(text)]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] in kinds]


def templates() -> list[dict[str, Any]]:
    """The pods."""
    jobs = [document["spec"]["jobTemplate"] for document in of_kind("CronJob")]
    return [document["spec"]["template"] for document in [*of_kind("Deployment"), *jobs]]


def compose() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return tree


def of_ours() -> dict[str, dict[str, Any]]:
    """The services of compose whose image we build."""
    return {name: s for name, s in compose()["services"].items() if "build" in s}


def instructions(name: str) -> list[str]:
    """What stands behind an instruction of the Dockerfile, each in one line."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def commands() -> list[list[str]]:
    """Every command line of ours, without the program."""
    units = [Unit(file.read_text(encoding="utf-8")) for file in UNITS]
    starts = [unit["Service"]["ExecStart"] for unit in units if unit.has_section("Service")]
    assert all(start.startswith(PROGRAM + " ") for start in starts)
    return [
        *(shlex.split(start)[1:] for start in starts),
        *(container(pod)["command"][1:] for pod in templates()),
        *(service["command"] for service in of_ours().values()),
        *(json.loads(line) for line in instructions("CMD") if "--help" not in line),
    ]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    [only] = pod["spec"]["containers"]
    assert only["command"][0] == "vidtopics"
    return dict(only)


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_one_that_we_have(words: list[str], tmp_path: Path) -> None:
    """The command line itself reads it, types of values and the home among it, and runs nothing."""
    (tmp_path / "tables").mkdir()
    home = words.index("--home") + 1
    words = [*words[:home], str(tmp_path), *words[home + 1 :]]
    command: Any = typer.main.get_command(build())
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("it", words)


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


@pytest.mark.parametrize(
    "document",
    documents(),
    ids=lambda d: f"{d['kind']} {d['metadata']['name']}" if "metadata" in d else d["kind"],
)
def test_kubernetes_takes_each_manifest(document: dict[str, Any]) -> None:
    """By the schemas of a Kubernetes release; a field that isn't there is refused."""
    if document["kind"] != "Kustomization":
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_a_manifest_with_an_unknown_field_is_refused() -> None:
    [document, *_] = of_kind("Deployment")
    document["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_pods_have_what_they_mount_and_no_more_rights_than_they_need() -> None:
    named = {(m["kind"], m["metadata"]["name"]): m for m in documents() if "metadata" in m}
    for pod in templates():
        spec, only = pod["spec"], container(pod)
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert {mount["name"] for mount in only["volumeMounts"]} == set(volumes)
        files = {}
        for mount in only["volumeMounts"]:
            volume = volumes[mount["name"]]
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in named
                assert option(only["command"], "--home") == mount["mountPath"]
            if secret := volume.get("secret"):
                keys = named["Secret", secret["secretName"]]["stringData"]
                files |= {f"{mount['mountPath']}/{key}": secret["secretName"] for key in keys}
        [password] = [v["value"] for v in only["env"] if v["name"] == "REDIS_PASSWORD_FILE"]
        assert files.pop(password) == "vidtopics-redis"
        if "--keys" in only["command"]:
            assert files.pop(option(only["command"], "--keys")) == "vidtopics-keys"
        assert not files
        assert spec["securityContext"]["runAsNonRoot"]
        assert only["securityContext"]["readOnlyRootFilesystem"]
        assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} == set(only["resources"])


def test_probes_services_and_budgets_meet_their_pods() -> None:
    labels = {pod["metadata"]["labels"]["app"]: pod for pod in templates()}
    for deployment in of_kind("Deployment"):
        pod, only = deployment["spec"]["template"], container(deployment["spec"]["template"])
        assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
        [port] = only["ports"]
        assert str(port["containerPort"]) in only["command"]
        probes = {name: only[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")}
        assert {probe["port"] for probe in probes.values()} == {port["name"]}
        assert (probes["liveness"]["path"], probes["readiness"]["path"]) == ("/live", "/ready")
    for service in of_kind("Service"):
        pod = labels[service["spec"]["selector"]["app"]]
        [port] = service["spec"]["ports"]
        assert port["targetPort"] == container(pod)["ports"][0]["name"]
    for budget in of_kind("PodDisruptionBudget"):
        [deployment] = [
            d for d in of_kind("Deployment") if d["spec"]["selector"] == budget["spec"]["selector"]
        ]
        assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]
    for policy in of_kind("NetworkPolicy"):
        selector = policy["spec"]["podSelector"]
        apps = selector.get("matchLabels", {}).values() or selector["matchExpressions"][0]["values"]
        for app in apps:
            ports = {port["name"] for port in container(labels[app])["ports"]}
            assert {p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]} <= ports


def test_the_kustomization_has_every_file_and_image() -> None:
    [kustomization] = documents("kustomization.yaml")
    files = {file.name for file in MANIFESTS} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    images = {container(pod)["image"].rpartition(":")[0] for pod in templates()}
    assert images == {image["name"] for image in kustomization["images"]}
    targets = {image.rpartition("/vidtopics-")[2] for image in images}
    assert targets == set(stages())


def stages() -> list[str]:
    return [line.rpartition(" AS ")[2] for line in instructions("FROM")]


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "hadolint"), str(DOCKERFILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_images_get_files_and_extras_that_there_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(project["project"]["optional-dependencies"])
    installed = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE.read_text(encoding="utf-8"))
    assert len(installed) == len(stages())
    assert {extra for line in installed for extra in line.split(",")} <= extras
    copied = {name for line in instructions("COPY") for name in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} <= copied
    kept = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert {line[1:] for line in kept.splitlines() if line.startswith("!")} == copied


def test_compose_is_what_its_specification_allows(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text(encoding="utf-8").replace("restart:", "restarts:"))
    for file, status in ((COMPOSE, 0), (wrong, 1)):
        command = [sys.executable, "-m", "check_jsonschema"]
        options = ["--builtin-schema", "vendor.compose-spec", str(file)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout


def test_compose_belongs_together() -> None:
    tree = compose()
    for service in tree["services"].values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            is_file = source.startswith(".")
            known = (DEPLOY / source).exists() or source == "./deliveries"
            assert known if is_file else source in tree["volumes"], volume
        assert set(service.get("secrets", ())) <= set(tree["secrets"])
    for name, service in of_ours().items():
        target = service["build"]["target"]
        assert (target in stages(), service["image"]) == (True, f"vidtopics-{target}"), name
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        home = option(service["command"], "--home")
        assert any(volume.split(":")[:2] == ["home", home] for volume in service["volumes"])
        secrets = {f"/run/secrets/{secret}" for secret in service["secrets"]}
        assert service["environment"]["REDIS_PASSWORD_FILE"] in secrets
        if "--keys" in service["command"]:
            assert option(service["command"], "--keys") in secrets
    redis = " ".join(tree["services"]["redis"]["command"])
    assert "--appendonly yes" in redis
    assert "--maxmemory-policy noeviction" in redis


def test_prometheus_scrapes_each_service_and_has_the_rules() -> None:
    settings = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["static_configs"] for job in settings["scrape_configs"]}
    targets = {}
    for name, service in of_ours().items():
        words = service["command"]
        port = option(words, "--port" if words[0] == "serve" else "--metrics-port")
        targets[name] = [{"targets": [f"{name}:{port}"]}]
    assert jobs == targets
    mounted = {v.split(":")[1]: v for v in compose()["services"]["prometheus"]["volumes"]}
    assert set(settings["rule_files"]) <= set(mounted)
    [provider] = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]
    boards = compose()["services"]["grafana"]["volumes"]
    assert any(f":{provider['options']['path']}/" in volume for volume in boards)
    [source] = yaml.safe_load((DEPLOY / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_no_sample_has_a_password() -> None:
    for file in (*UNITS, *MANIFESTS, COMPOSE, DOCKERFILE):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"//[^@\s]*:[^@\s/]+@", text), file
    for secret in of_kind("Secret"):
        assert all("CHANGE-ME" in text for text in secret["stringData"].values())


def test_paces_are_durations() -> None:
    for words in commands():
        for option in ("--run-every", "--materialize-every"):
            if option in words:
                assert seconds(words[words.index(option) + 1]) > 0
