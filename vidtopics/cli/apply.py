"""`vidtopics apply`: registers the feature repo."""

from __future__ import annotations

import shlex
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ReadableHome,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.settings import OnlineSettings

FILE = "feature_store.yaml"


def apply(
    home: ReadableHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Register entities, views and services with Feast.

    `feast -f DIR/feature_store.yaml ...` then works on this home.
    """
    from vidtopics.cli import homes, show

    with show.working("Registering the feature repo"):
        online = homes.settings(home, config).online
        file, registered = register(home, online, embedded)
    if as_json:
        print_json({"feature_store": str(file), **registered})
    else:
        counts = ", ".join(
            f"{len(names)} {kind.replace('_', ' ')}" for kind, names in registered.items()
        )
        line = f"Registered {counts}. Feast: feast -f {shlex.quote(str(file))} COMMAND"
        show.out.print(show.as_text(line), soft_wrap=True)


def register(
    home: Path, online: OnlineSettings, embedded: bool = False
) -> tuple[Path, dict[str, list[str]]]:
    """Write the home's `feature_store.yaml` and apply the checkout's feature repo to it.

    Returns the file, and the names of what is registered.
    """
    import contextlib
    import io
    import os
    import sys

    from feast import FeatureStore, Project
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total_with_repo_instance, parse_repo

    from vidtopics.files import write_whole
    from vidtopics.stores.applied import record_applied

    home, root = home.absolute(), _checkout()
    file = home / FILE
    text = repo_text(root / FILE, home, online, embedded)
    write_whole(file, text)
    before = Path.cwd()
    os.chdir(root)  # Feast names modules by their path below the working directory
    sys.path.insert(0, str(root))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Feast prints what the caller says better
            config = load_repo_config(root, file)
            # Of the folder alone: of a checkout Feast looks at each file of its environment, too.
            repo, store = parse_repo(root / "feature_repo"), FeatureStore(config=config)
            repo.projects.append(Project(name=config.project))
            apply_total_with_repo_instance(
                store, config.project, store.registry, repo, skip_source_validation=False
            )
    finally:
        sys.path.remove(str(root))
        os.chdir(before)
    record_applied(home, repo_digest(root, text))
    return file, {
        "entities": sorted(e.name for e in store.list_entities()),
        "feature_views": sorted(v.name for v in store.list_feature_views()),
        "feature_services": sorted(s.name for s in store.list_feature_services()),
    }


def is_registered(home: Path, online: OnlineSettings, embedded: bool = False) -> bool:
    """Whether :func:`register` would leave the registry and the file as they are; without Feast.

    Views are registered with the online store by it and by each materialisation: one follows.
    """
    from vidtopics.stores.applied import read_applied

    home, root = home.absolute(), _checkout()
    file, text = home / FILE, repo_text(root / FILE, home, online, embedded)
    is_written = file.is_file() and file.read_text(encoding="utf-8") == text
    return is_written and read_applied(home) == repo_digest(root, text)


def repo_digest(root: Path, text: str) -> str:
    """Equal where a checkout's feature repo registers the same for a `feature_store.yaml`."""
    from vidtopics.settings import digest
    from vidtopics.source import source_hash

    files = sorted((root / "feature_repo").rglob("*.py"))
    sources = [(str(f.relative_to(root)), f.read_text(encoding="utf-8")) for f in files]
    code = source_hash("vidtopics.contracts", "vidtopics.stores")
    return digest(text, sources, code, version("feast"))


def _checkout() -> Path:
    from vidtopics.cli import homes

    return homes.checkout("feature_repo", FILE)


def repo_text(checkout: Path, home: Path, online: OnlineSettings, embedded: bool) -> str:
    """The checkout's `feature_store.yaml` with a home's paths, online settings and server.

    Paths are quoted, and their `$` escaped: Feast replaces `$NAME` by the environment's variable
    before YAML is read.
    """
    import yaml

    from vidtopics.storage.mirrors import origin

    class Quoted(str):
        """A text that is written in double quotes."""

    class Dumper(yaml.SafeDumper):
        """Writes :class:`Quoted`, too."""

    tag = "tag:yaml.org,2002:str"
    Dumper.add_representer(Quoted, lambda dumper, text: dumper.represent_scalar(tag, text, '"'))
    repo = yaml.safe_load(checkout.read_text(encoding="utf-8"))
    repo["registry"] = Quoted(home / "registry.db")
    repo["offline_store"]["root"] = Quoted(f"{origin(home) or home}/tables")
    repo["online_store"] |= {"home": Quoted(home), "prefix": online.prefix}
    repo["online_store"]["buckets"] = online.buckets
    if embedded:
        repo["online_store"] |= {"url": "", "embedded": True}
    text = yaml.dump(repo, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    lines = [
        line.replace("$", r"\x24") if line.endswith('"') else line for line in text.splitlines()
    ]
    heading = "# Written by `vidtopics apply`: the repository's file for this home."
    return "\n".join([heading, *lines, ""])
