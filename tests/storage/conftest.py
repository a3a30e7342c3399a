"""An S3 server on loopback, a proxy in front of it, and a home of six videos."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "explore")]

import topic_world as world  # noqa: E402

# In a process of its own: delta-rs holds Python's lock while it waits for some answers.
SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").disabled = True
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
SECRET = "never-to-be-shown"


def serving(*command):
    """A server of another process, which prints its port and ends with its input."""
    return subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.fixture(scope="session")
def s3_port():
    with serving("-c", SERVER) as server:
        yield int(server.stdout.readline())
        server.stdin.close()


@pytest.fixture
def environment(s3_port, monkeypatch):
    """What reaches the server, and nothing else of AWS that is set where the tests run."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    values = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


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
def bucket(environment, request):
    return Bucket(f"b{abs(hash(request.node.nodeid))}")


class Proxy:
    """What passed it: method, key, status, bytes of request and answer, fault."""

    def __init__(self, port):
        self.port = port

    def requests(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/requests") as answer:
            return json.load(answer)


@pytest.fixture
def through_proxy(s3_port, bucket, monkeypatch):
    """From here on requests go through a proxy that spoils every nth of them."""
    servers = []

    def begin(fault="none", every=0):
        server = serving(str(HERE / "s3_proxy.py"), str(s3_port), fault, str(every))
        servers.append(server)
        proxy = Proxy(int(server.stdout.readline()))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        return proxy

    yield begin
    for server in servers:
        server.stdin.close()
        server.wait()
        server.stdout.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "home"
    world.build(root)
    files = {
        "settings.yaml": b"online: {prefix: vt}\n",
        "models/topics/1/arrays.safetensors": bytes(range(256)) * 34_000,
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
    """A home with tables, a release, a model of several parts, logs, and what stays behind."""
    return shutil.copytree(built, tmp_path / "home")
