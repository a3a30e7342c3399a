"""The settings that a home was made with stay with it, so that a later verb needs no `--config`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vidtopics.errors import SettingsError, explain

if TYPE_CHECKING:
    from vidtopics.settings import Settings

FILE = "settings.yaml"


def checkout(*needed: str) -> Path:
    """The working directory or this package's checkout, whichever holds `needed`.

    Raises:
        SettingsError: neither does.
    """
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
    """`conf/NAME.yaml` of the working directory or the checkout; SettingsError if none is there."""
    return checkout(f"conf/{name}.yaml") / "conf" / f"{name}.yaml"


def settings(home: Path, config: Path | None, default: str = "demo") -> Settings:
    """From `--config`, else as the home was made, else from `conf/<default>.yaml`."""
    from vidtopics.settings import load

    if config is not None:
        return load(config)
    file = home / FILE
    return load(file) if file.is_file() else load(conf(default))


def prefix(home: Path, config: Path | None) -> str:
    """How the home's keys in Redis begin; the default where no settings say otherwise."""
    from vidtopics.settings import load

    file = home / FILE
    return load(config or (file if file.is_file() else None)).online.prefix


def keep(home: Path, made_with: Settings) -> None:
    """Write the settings to the home, in a bucket too."""
    import yaml

    from vidtopics.files import write_whole
    from vidtopics.storage.mirrors import origin

    home.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(made_with.model_dump(mode="json"), sort_keys=False)
    head = "# What this home was made with; --config overrides it.\n"
    write_whole(home / FILE, head + text)
    if origin(home):
        from vidtopics.storage.sending import send_file

        send_file(home, FILE)
