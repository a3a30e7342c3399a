"""TLS with certificates on both sides, for what reads and what loads.

The packaged server has no TLS, so a proxy in this process has it in front of that server.
"""

from __future__ import annotations

import ssl
import subprocess
import threading
from contextlib import ExitStack, contextmanager, suppress
from socket import create_connection, create_server
from urllib.parse import urlsplit

import pytest
import redis
from small_store import put, value

from vidtopics.online import OnlineClient
from vidtopics.online.connections import connect

EXTENSION = "subjectAltName=DNS:localhost\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority's server and client, and an intruder of an authority that nobody knows."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text(EXTENSION)

    def openssl(command):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)

    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for authority, names in {"ca": ("server", "client"), "stranger": ("intruder",)}.items():
        openssl(
            f"req -x509 {key} -keyout {authority}.key -out {authority}.crt -subj /CN={authority}"
        )
        for name in names:
            openssl(f"req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}")
            signer = f"-CA {authority}.crt -CAkey {authority}.key -CAcreateserial"
            openssl(f"x509 -req -in {name}.csr {signer} -out {name}.crt -extfile names")
    return folder


def copied(source, target):
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for side in (source, target):
        with suppress(OSError):
            side.close()


@contextmanager
def tls_in_front_of(port, certificates):
    """A port that speaks TLS with clients of the authority, for a server that doesn't."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED

    def serve(listener):
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=pass_on, args=(plain,), daemon=True).start()

    def pass_on(plain):
        try:
            client = context.wrap_socket(plain, server_side=True)
        except (ssl.SSLError, OSError):
            plain.close()
            return
        server = create_connection(("127.0.0.1", port))
        threading.Thread(target=copied, args=(server, client), daemon=True).start()
        copied(client, server)

    with create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


@pytest.fixture
def address(valkey, store, certificates):
    with ExitStack() as stack:
        port = stack.enter_context(tls_in_front_of(urlsplit(valkey).port, certificates))

        def of(name, authority="ca", host="localhost"):
            files = {"ssl_certfile": f"{name}.crt", "ssl_keyfile": f"{name}.key"}
            files["ssl_ca_certs"] = f"{authority}.crt"
            options = "&".join(f"{key}={certificates / file}" for key, file in files.items())
            return f"rediss://{host}:{port}?{options}"

        of.port = port
        yield of


def test_both_sides_show_certificates(address):
    with connect(address("client")) as connection:
        put(connection, {"a": value(1)})
        features = OnlineClient(connection).read("topics", ["a", "b"])
        assert features["topic_count"].tolist() == [1, 0]
    strangers = (
        address("intruder"),  # the server doesn't know its authority
        address("client", "stranger"),  # the client doesn't know the server's
        address("client", host="127.0.0.1"),  # the certificate has another name
        f"redis://localhost:{address.port}",
    )
    for url in strangers:
        with connect(url) as connection, pytest.raises(redis.RedisError):
            connection.ping()
