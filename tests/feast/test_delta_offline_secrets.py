"""Keys of an object store are in no text that a person or a log may see."""

import copy
import pickle
from pathlib import Path

import pytest
import yaml
from feast import RepoConfig
from pydantic import ValidationError

from vidtopics.stores.delta import DeltaOfflineStoreConfig

SECRET = "wJalr/very+secret"
OPTIONS = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ALLOW_HTTP": True, "timeout": 30}


def config(tmp_path, options=OPTIONS):
    store = {
        "type": "vidtopics.stores.delta.DeltaOfflineStore",
        "root": "s3://bucket/tables",
        "storage_options": dict(options),
    }
    return RepoConfig(project="shop", registry=str(tmp_path / "r.db"), offline_store=store)


@pytest.mark.parametrize(
    "text",
    [
        repr,
        str,
        "{}".format,
        lambda settings: repr(settings.offline_store),
        lambda settings: str(settings.offline_store),
        lambda settings: repr(settings.offline_store.storage_options),
        lambda settings: repr(settings.offline_config),
        lambda settings: repr(copy.deepcopy(settings)),
        lambda settings: repr(settings.offline_store.model_copy()),
        lambda settings: repr(pickle.loads(pickle.dumps(settings))),
    ],
)
def test_no_text_of_the_settings_has_a_key(tmp_path, text):
    written = text(config(tmp_path))
    assert SECRET not in written
    assert "AWS_SECRET_ACCESS_KEY" in written


def test_the_store_still_gets_the_key(tmp_path):
    options = config(tmp_path).offline_store.storage_options
    assert options == OPTIONS
    assert f"{options['AWS_SECRET_ACCESS_KEY']}" == SECRET


@pytest.mark.parametrize("wrong", [{"AWS_SECRET_ACCESS_KEY": [SECRET]}, {SECRET: 1.5}, SECRET])
def test_an_error_of_the_settings_has_no_key(wrong):
    with pytest.raises(ValidationError) as error:
        DeltaOfflineStoreConfig(storage_options=wrong)
    assert SECRET not in str(error.value).replace(f"storage_options.{SECRET}", "")


def test_the_settings_are_written_to_a_file_as_they_are(tmp_path):
    """The file is where the key belongs: `write_to_path` and back gives the same store."""
    settings = config(tmp_path)
    settings.write_to_path(tmp_path)
    written = yaml.safe_load(Path(tmp_path, "feature_store.yaml").read_text())
    assert written["offline_config"]["storage_options"] == OPTIONS
