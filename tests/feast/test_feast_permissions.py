"""Feast's permissions on views of our store, through the app that `feast serve` runs."""

import asyncio
import json

import pytest
import redis
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.feature_server import get_app
from feast.permissions.action import AuthzedAction
from feast.permissions.auth.auth_manager import AllowAll, AuthManager, set_auth_manager
from feast.permissions.auth.token_parser import TokenParser
from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
from feast.permissions.security_manager import (
    SecurityManager,
    no_security_manager,
    set_security_manager,
)
from feast.permissions.server.rest_token_extractor import RestTokenExtractor
from feast.permissions.user import User
from feast.types import Array, Float32, Int64, String
from packed_shop import NOW, make_store, push

USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)


class TokenIsRole(TokenParser):
    """The bearer token `reader` is a user of role `reader`; a provider's need a server."""

    async def user_details_from_access_token(self, access_token):
        return User(username=access_token, roles=[access_token])


def view(name):
    return FeatureView(
        name=name,
        entities=[USER],
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="n", dtype=Int64),
            Field(name="z", dtype=Array(Float32)),
        ],
        source=FileSource(
            path=name, file_format=DeltaFormat(), timestamp_field="event_timestamp", name=name
        ),
    )


def allowed(name, pattern, role, *actions):
    return Permission(
        name=name,
        types=[FeatureView],
        name_patterns=[pattern],
        policy=RoleBasedPolicy(roles=[role]),
        actions=list(actions),
    )


@pytest.fixture
def store(tmp_path, redis_url):
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushall()
    store = make_store(tmp_path, redis_url, "guarded")
    read, write = AuthzedAction.READ_ONLINE, AuthzedAction.WRITE_ONLINE
    store.apply(
        [
            USER,
            view("open_facts"),
            view("secret_facts"),
            allowed("readers", "open_.*", "reader", read),
            allowed("writers", ".*", "writer", read, write),
        ]
    )
    for name in ("open_facts", "secret_facts"):
        push(store, name, [{"user_id": "a", "n": 1, "z": [1.0]}])
    return store


@pytest.fixture
def guarded():
    """Permissions are enforced until the test's end."""

    def enforce(store):
        set_security_manager(SecurityManager(store.project, store.registry))
        set_auth_manager(
            AuthManager(token_parser=TokenIsRole(), token_extractor=RestTokenExtractor())
        )

    yield enforce
    no_security_manager()
    set_auth_manager(AllowAll())


def post(store, path, body, token=None):
    """Status and body of a request to the app, as one of `feast serve`."""
    headers = [(b"content-type", b"application/json")]
    headers += [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    messages = []

    async def receive():
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message):
        messages.append(message)

    async def request():
        try:
            await get_app(store)(scope, receive, send)
        except Exception:  # the server's error handler has answered, and raises it for the log
            if not messages:
                raise
        finally:
            await store.close()

    asyncio.run(request())
    answer = b"".join(message.get("body", b"") for message in messages[1:])
    return messages[0]["status"], json.loads(answer) if answer.startswith((b"{", b"[")) else answer


def read(store, view, token=None, users=("a",)):
    body = {"features": [f"{view}:n"], "entities": {"user_id": list(users)}}
    return post(store, "/get-online-features", body, token)


def values_of(answer):
    return answer["results"][answer["metadata"]["feature_names"].index("n")]["values"]


def test_reading_needs_the_role_that_a_permission_names(store, guarded):
    guarded(store)
    status, answer = read(store, "open_facts", "reader")
    assert (status, values_of(answer)) == (200, [1])
    assert read(store, "secret_facts", "reader")[0] == 403
    assert read(store, "open_facts", "stranger")[0] == 403
    assert read(store, "open_facts")[0] == 401
    assert values_of(read(store, "secret_facts", "writer")[1]) == [1]


def test_writing_needs_it_too_and_a_refused_row_is_not_written(store, guarded):
    guarded(store)
    times = {"event_timestamp": [NOW.isoformat()], "created": [NOW.isoformat()]}
    body = {
        "feature_view_name": "open_facts",
        "df": {"user_id": ["b"], "n": [2], "z": [[2.0]], **times},
    }
    assert post(store, "/write-to-online-store", body, "reader")[0] == 403
    assert values_of(read(store, "open_facts", "writer", ["b"])[1]) == [None]
    assert post(store, "/write-to-online-store", body, "writer")[0] == 200
    assert values_of(read(store, "open_facts", "writer", ["b"])[1]) == [2]


def test_searching_needs_it_too(store, guarded):
    guarded(store)
    bodies = [
        {"features": [f"{view}:n"], "query": [1.0], "top_k": 1, "api_version": 2}
        for view in ("open_facts", "secret_facts")
    ]
    assert [post(store, "/search", body, "reader")[0] for body in bodies] == [200, 403]


def test_without_an_auth_manager_permissions_are_applied_and_not_enforced(store):
    assert {p.name for p in store.list_permissions()} == {"readers", "writers"}
    assert values_of(read(store, "secret_facts")[1]) == [1]


def test_a_null_id_is_one_row_that_is_not_found_in_a_request_to_the_server(store):
    status, answer = read(store, "open_facts", users=["a", None])
    assert (status, values_of(answer)) == (200, [1, None])
    index = answer["metadata"]["feature_names"].index("n")
    assert answer["results"][index]["statuses"] == ["PRESENT", "NOT_FOUND"]
