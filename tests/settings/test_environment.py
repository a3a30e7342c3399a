"""Settings, addresses and passwords of the environment, and the table of variables in the docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url

from vidtopics.cli import homes
from vidtopics.errors import SettingsError
from vidtopics.server import named_url, plain, with_password
from vidtopics.settings import Settings, load, parse

ROOT = Path(__file__).parents[2]
CODE = ("vidtopics", "producers", "consumers", "spark_jobs", "feature_repo")


def test_the_environment_wins_over_the_file_and_an_option_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("online: {prefix: file, buckets: 8}\nseed: 3\n")
    monkeypatch.setenv("VIDTOPICS_ONLINE__PREFIX", "environment")
    monkeypatch.setenv("VIDTOPICS_SEED", "5")
    monkeypatch.setenv("VIDTOPICS_RANKING__HIDDEN", "[8, 4]")
    monkeypatch.setenv("VIDTOPICS_SCHEDULE__DELAY", "PT2H")
    loaded = load(file)
    assert (loaded.online.prefix, loaded.online.buckets, loaded.seed) == ("environment", 8, 5)
    assert (loaded.ranking.hidden, loaded.schedule.delay.total_seconds()) == ((8, 4), 7_200)
    assert homes.prefix(tmp_path, None) == "environment"
    assert homes.prefix(tmp_path / "none", None) == "environment"
    monkeypatch.delenv("VIDTOPICS_ONLINE__PREFIX")
    assert homes.prefix(tmp_path, None) == "file"


WRONG = {
    "an unknown key": ("VIDTOPICS_ONLINE__PREFX", "a", "did you mean 'VIDTOPICS_ONLINE__PREFIX'"),
    "an unknown section": ("VIDTOPICS_ONLIN__PREFIX", "a", "did you mean 'VIDTOPICS_ONLINE'"),
    "one underscore": ("VIDTOPICS_ONLINE_PREFIX", "a", "expected a known key"),
    "a wrong value": ("VIDTOPICS_ONLINE__BUCKETS", "many", "expected Input should be a valid int"),
    "a truth value": ("VIDTOPICS_ONLINE__BUCKETS", "yes", "no truth value"),
    "below a value": ("VIDTOPICS_SEED__MORE", "1", "expected Input should be a valid integer"),
    "a section": ("VIDTOPICS_ONLINE", "a", "expected Input should be a valid dictionary"),
    "no YAML": ("VIDTOPICS_SEED", "[1", "expected a YAML value"),
}


@pytest.mark.parametrize(("name", "value", "text"), WRONG.values(), ids=WRONG)
def test_a_variable_that_no_setting_has_is_named(name: str, value: str, text: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(text)) as error:
        parse({}, where="mine.yaml", environment={name: value})
    assert str(error.value).startswith(f"{name}: ")


def test_a_mistake_in_the_file_is_still_the_files() -> None:
    with pytest.raises(SettingsError) as error:
        parse({"online": 3, "seed": -1}, where="mine.yaml", environment={"VIDTOPICS_SEED": "1"})
    assert str(error.value).startswith("mine.yaml, online: ")
    assert "seed" not in str(error.value)


def test_variables_of_other_programs_are_none_of_ours() -> None:
    """Kubernetes makes some for a service that is called vidtopics."""
    others = {
        "VIDTOPICS_SERVICE_HOST": "10.0.0.1",
        "VIDTOPICS_SERVICE_PORT_METRICS": "9108",
        "VIDTOPICS_PORT": "tcp://10.0.0.1:9108",
        "VIDTOPICS_PORT_9108_TCP_ADDR": "10.0.0.1",
        "VIDTOPICS_DAEMON_SERVICE_HOST": "10.0.0.1",
        "VIDTOPICS_DAEMON_PORT_9108_TCP": "tcp://10.0.0.1:9108",
        "VIDTOPICS_FAILPOINT": "publish.read",
        "PATH": "/bin",
    }
    assert parse({}, where="x", environment=others) == Settings()


def test_a_section_that_two_names_share_is_changed_under_one_alone(tmp_path: Path) -> None:
    tree = {"tags": (shared := {"walk_length": 7}), "topics": {"iterations": 3}, "other": shared}
    with pytest.raises(SettingsError, match="other"):
        parse(tree, where="x", environment={"VIDTOPICS_TAGS__WALK_LENGTH": "9"})
    assert shared == {"walk_length": 7}


SECRET = "p@ss:w/rd#?é"


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("REDIS_PASSWORD", raising=False)
    file = tmp_path / "password"
    file.write_text(SECRET + "\n", encoding="utf-8")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))
    return file


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("redis://cache:6379/2", None),
        ("rediss://ranker@cache?ssl_cert_reqs=none", "ranker"),
        ("redis://ranker:@[::1]:7000", "ranker"),
        ("unix:///run/redis.sock?db=3", None),
    ],
)
def test_a_password_comes_from_a_file(secret: Path, url: str, user: str | None) -> None:
    """Redis's own reading of the address is the oracle."""
    before, after = parse_url(url), parse_url(with_password(url))
    assert after == before | {"password": SECRET} | ({"username": user} if user else {})
    assert plain(with_password(url)) in (url.partition("?")[0].replace("ranker@", ""), plain(url))
    assert SECRET not in plain(with_password(url))


def test_a_cluster_has_its_password_before_the_first_node(secret: Path) -> None:
    url = with_password("redis+cluster://ranker@a:1,b:2")
    head, _, hosts = url.rpartition("@")
    assert (hosts, unquote(head)) == ("a:1,b:2", f"redis+cluster://ranker:{SECRET}")


def test_the_password_of_an_address_wins(secret: Path) -> None:
    for url in ("redis://:own@cache", "redis://cache?password=own"):
        assert with_password(url) == url


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_any_password_arrives_as_it_is(password: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REDIS_PASSWORD_FILE", raising=False)
        patch.setenv("REDIS_PASSWORD", password)
        assert parse_url(with_password("redis://cache"))["password"] == password


def test_the_homes_address_has_it(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://cache")
    assert parse_url(str(named_url(tmp_path)))["password"] == SECRET


def test_feasts_store_has_it_too(secret: Path, tmp_path: Path) -> None:
    packed_redis = pytest.importorskip("vidtopics.stores.packed_redis")
    settings = packed_redis.PackedRedisOnlineStoreConfig(url="redis://ranker@cache")
    config = SimpleNamespace(online_store=settings, repo_path=tmp_path)
    assert parse_url(packed_redis._url(config))["password"] == SECRET
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("fault", ["missing", "empty", "folder", "both", "bytes"])
def test_a_password_that_cannot_be_read_is_one_message(
    secret: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "both":
        monkeypatch.setenv("REDIS_PASSWORD", SECRET)
    elif fault == "empty":
        secret.write_text("\n")
    elif fault == "bytes":
        secret.write_bytes(b"\xff")
    else:
        secret.unlink()
        if fault == "folder":
            secret.mkdir()
    with pytest.raises(SettingsError, match=r"^REDIS_PASSWORD_FILE=\S+: expected") as error:
        with_password("redis://cache")
    assert SECRET not in str(error.value)


def read_by_the_code() -> set[str]:
    """Names of variables that the code reads or sets: constants beside `environ` and `getenv`."""
    names: set[str] = set()
    for folder in CODE:
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if not re.search("environ|getenv", text):
                continue  # most files: to write out each of their calls takes seconds
            tree = ast.parse(text)
            constants = {
                node.targets[0].id: node.value.value
                for node in tree.body
                if isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and isinstance(node.value, ast.Constant)
            }
            for node in ast.walk(tree):
                for argument in arguments(node):
                    name = getattr(argument, "value", constants.get(getattr(argument, "id", "")))
                    assert isinstance(name, str), f"{file}: {ast.unparse(node)}"
                    names.add(name)
    return names


def arguments(node: ast.AST) -> list[ast.expr]:
    """The name of a variable in `environ.get(NAME)`, `environ[NAME]`, `NAME in environ`."""
    if isinstance(node, ast.Call):
        function = ast.unparse(node.func)
        return node.args[:1] if re.search(r"environ\.\w+$|getenv$", function) else []
    if isinstance(node, ast.Subscript):
        return [node.slice] if ast.unparse(node.value).endswith("environ") else []
    if isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]).endswith("environ"):
        return [node.left]
    return []


def test_the_docs_name_every_variable_that_the_code_reads_and_no_other() -> None:
    text = (ROOT / "docs" / "hosts.md").read_text(encoding="utf-8")
    section = text.partition("## Environment")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
    assert documented == read_by_the_code() | {"VIDTOPICS_SECTION__KEY"}


def test_the_reader_of_variables_reads_every_form() -> None:
    code = "import os\nos.environ.get('A'); os.environ['B']; 'C' in os.environ; os.getenv('D')"
    named = [a for node in ast.walk(ast.parse(code)) for a in arguments(node)]
    assert {a.value for a in named if isinstance(a, ast.Constant)} == {"A", "B", "C", "D"}
