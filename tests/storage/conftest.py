"""An S3 server on loopback, a proxy in front of it, and a home of six videos."""

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import boto3
import pytest

from benchmarks.s3_server import s3_proxy

sys.path.insert(0, str(Path(__file__).parents[1] / "explore"))

import topic_world as world


class Bucket:
    """A bucket of the test's own, looked at by boto3, past the proxy."""

    def __init__(self, name):
        self.name = name
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=name)

    def url(self, prefix="home"):
        return f"s3://{self.name}/{prefix}"

    def contents(self, prefix="home"):
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=f"{prefix}/"
        )
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {key.removeprefix(f"{prefix}/"): self.read(key) for key in keys}

    def read(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def put(self, key, content):
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def delete(self, key):
        self.client.delete_object(Bucket=self.name, Key=key)


@pytest.fixture
def bucket(s3_environment, request):
    return Bucket(f"b{abs(hash(request.node.nodeid))}")


@pytest.fixture
def through_proxy(s3_port, bucket, monkeypatch):
    """From here on requests go through a proxy that spoils every nth of them."""
    with ExitStack() as stack:

        def begin(fault="none", every=0):
            proxy = stack.enter_context(s3_proxy(s3_port, fault, every))
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
            return proxy

        yield begin


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "home"
    world.build(root)
    files = {
        "settings.yaml": b"online: {prefix: vt}\n",
        "models/topics/1/arrays.safetensors": bytes(range(256)),
        "models/topics/1/manifest.json": b"{}",
        "models/ranking/model.json": b'{"name": 1}',
        "logs/served/2026-01-08.log": b"a line\n",
        "reports/ranking.json": b"{}",
        "redis/server.json": b"{}",
        "run.lock": b"",
        "online.json": b"{}",
        "tables/topics/.part-0.parquet.crc": b"crc",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def home(tmp_path, built):
    """A home with tables, a release, a model, logs, and what stays behind."""
    return shutil.copytree(built, tmp_path / "home")
