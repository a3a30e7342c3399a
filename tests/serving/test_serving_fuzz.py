"""Whatever is sent to whichever route: no bug, and answers as /openapi.json describes them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi import checks
from serving_world import release, service_over, store_model
from test_serving_events import event
from test_serving_similar import JOINT

from consumers.serving.app import make_app
from consumers.serving.media_types import JSON
from consumers.serving.neighbours import Neighbours

load_all_checks()
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
HERE = {"Host": "127.0.0.1"}
"""As the gate asks for; another host is a 403, whatever the request is."""
ROUTES = {
    ("POST", "/recommend"),
    ("POST", "/features"),
    ("POST", "/similar"),
    ("POST", "/events"),
    ("GET", "/topics/{topic_id}"),
    ("GET", "/live"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
}


@pytest.fixture
def operations(store, tmp_path):
    """The routes over a release, in this process; known ids aren't drawn, so most are unknown."""
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path, similar=("joint",))
    index = Neighbours([*JOINT], np.array([*JOINT.values()], np.float16))
    service.watch._neighbours = lambda number: {"joint": index}
    service.watch.look()
    assert not list(service.not_ready())
    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(service, None))
    yield [result.ok() for result in schema.get_all_operations()]
    service.close()


def fuzz(operation, examples):
    """So many requests of a route, as its description has them and as it forbids them."""
    modes = GenerationMode.POSITIVE, GenerationMode.NEGATIVE

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(operation.as_strategy(generation_mode=mode) for mode in modes))
    def call(case):
        response = case.call(headers=HERE)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    statuses = set()
    call()
    assert statuses - {403, 415, 422}, f"{operation.path}: {statuses}, no answer of the route"


def test_no_request_is_a_bug_and_answers_are_as_described(operations):
    assert {(o.method.upper(), o.path) for o in operations} >= ROUTES
    for operation in operations:
        fuzz(operation, 6)


EVENTS = {
    "all taken": ([event(1)], 200),
    "some refused": ([event(1), event(2, "view")], 200),
    "all refused": ([event(1, "view"), "no event"], 422),
    "none": ([], 200),
    "no events": ("[{", 422),
}


@pytest.mark.parametrize(("body", "status"), EVENTS.values(), ids=EVENTS)
def test_what_becomes_of_events_is_answered_as_described(operations, body, status):
    """What is drawn above is rarely an event."""
    [operation] = [each for each in operations if each.path == "/events"]
    text = body if isinstance(body, str) else json.dumps(body)
    case = operation.Case(body=text.encode(), media_type=JSON)
    response = case.call(headers=HERE | {"Content-Type": JSON})
    assert response.status_code == status
    case.validate_response(response, checks=CHECKS)


@pytest.mark.slow  # 25 times as many
def test_no_request_of_many_is_a_bug(operations):
    for operation in operations:
        fuzz(operation, 150)
