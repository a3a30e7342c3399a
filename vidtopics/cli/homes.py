"""The settings that a home was made with stay with it, so that a later verb needs no `--config`."""

from __future__ import annotations

from pathlib import Path

import yaml

from vidtopics.errors import SettingsError, explain
from vidtopics.settings import OnlineSettings, Settings, load

FILE = "settings.yaml"


def checkout(*needed: str) -> Path:
    """The working directory or the checkout that this package lies in, whichever holds `needed`; SettingsError if neither does."""
    for place in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if all((place / name).exists() for name in needed):
            return place
    raise SettingsError(
        explain(
            ", ".join(needed),
            expected="a checkout of vidtopics",
            found="none here",
            mend="run in a checkout",
        )
    )


def conf(name: str) -> Path:
    """`conf/NAME.yaml` below the working directory or the checkout; SettingsError if there is none."""
    return checkout(f"conf/{name}.yaml") / "conf" / f"{name}.yaml"


def settings(home: Path, config: Path | None, default: str = "demo") -> Settings:
    """From `--config`, else as the home was made, else from `conf/<default>.yaml`."""
    if config is not None:
        return load(config)
    kept = home / FILE
    return load(kept) if kept.is_file() else load(conf(default))


def prefix(home: Path, config: Path | None) -> str:
    """How the home's keys in Redis begin; the default where nothing says otherwise, so that a client needs no checkout."""
    known = config is not None or (home / FILE).is_file()
    return settings(home, config).online.prefix if known else OnlineSettings().prefix


def keep(home: Path, made_with: Settings) -> None:
    """Write the settings to the home."""
    home.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(made_with.model_dump(mode="json"), sort_keys=False)
    (home / FILE).write_text(
        f"# What this home was made with; --config overrides it.\n{text}", encoding="utf-8"
    )
