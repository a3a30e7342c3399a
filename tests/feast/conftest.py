from pathlib import Path

import pytest
from feast_home import fill

from vidtopics import server


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("feast_home")
    fill(home)
    return home


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    place = tmp_path_factory.mktemp("feast_redis")
    yield server.start(place)
    server.stop(place)
