"""`vidtopics apply`: registers the feature repo."""

from __future__ import annotations

from pathlib import Path

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, Home, print_json


def apply(home: Home = DEFAULT_HOME, config: Config = None, as_json: AsJson = False) -> None:
    """Register entities, views and services with Feast; `feast -f DIR/feature_store.yaml ...` then works on this home."""
    from vidtopics.cli import homes, show

    with show.working("Registering the feature repo"):
        file, registered = register(home, homes.settings(home, config).online.prefix)
    if as_json:
        print_json({"feature_store": str(file), **registered})
    else:
        counts = ", ".join(
            f"{len(names)} {kind.replace('_', ' ')}" for kind, names in registered.items()
        )
        show.out.print(
            f"Registered {counts}. Feast: feast -f {file} COMMAND", highlight=False, soft_wrap=True
        )


def register(home: Path, prefix: str) -> tuple[Path, dict[str, list[str]]]:
    """Write the home's `feature_store.yaml` and apply the checkout's feature repo to it; names of what is registered."""
    import contextlib
    import io
    import os
    import sys

    from feast import FeatureStore
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    from vidtopics.cli import homes

    root = homes.checkout("feature_repo", "feature_store.yaml")
    home = home.absolute()
    text = (root / "feature_store.yaml").read_text(encoding="utf-8")
    file = home / "feature_store.yaml"
    file.write_text(
        "# Written by `vidtopics apply`: the repository's file with the paths of this home.\n"
        + "\n".join(
            _in_home(line, home) for line in text.splitlines() if not line.startswith("#")
        ).replace("prefix: vt", f"prefix: {prefix}")
        + "\n",
        encoding="utf-8",
    )
    before = Path.cwd()
    os.chdir(root)  # Feast names modules by their path below the working directory
    sys.path.insert(0, str(root))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Feast prints what the caller says better
            apply_total(load_repo_config(root, file), root, skip_source_validation=False)
    finally:
        sys.path.remove(str(root))
        os.chdir(before)
    store = FeatureStore(fs_yaml_file=file)
    return file, {
        "entities": sorted(e.name for e in store.list_entities()),
        "feature_views": sorted(v.name for v in store.list_feature_views()),
        "feature_services": sorted(s.name for s in store.list_feature_services()),
    }


def _in_home(line: str, home: Path) -> str:
    """A line `key: value` whose value begins with `.vidtopics`, with the path of `home` for that.

    The value is quoted, and `$` escaped: Feast replaces `$NAME` by the environment's variable
    before YAML is read.
    """
    import yaml

    key, mark, value = line.partition(": .vidtopics")
    if not mark:
        return line
    text = yaml.safe_dump(f"{home}{value}", default_style='"', width=float("inf")).strip()
    escaped = text.replace("$", r"\x24")
    return f"{key}: {escaped}"
