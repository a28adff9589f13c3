from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

schemathesis = pytest.importorskip("schemathesis", reason="fuzzing needs schemathesis")

pytestmark = pytest.mark.slow

MAX_EXAMPLES = 60
QUICK = {
    "duration_in_s": 0.5, "audio_length": 0.5, "duration_seconds": 0.5, "num_inference_steps": 1,
}  # fmt: skip
EXPECTED = ["2xx", "304", "400", "401", "403", "404", "409", "410", "422", "429", "503"]
"""Values can fit the schema and still not the model: 422 then tells its range."""


def _keep_short(context, body):
    """Let the time go into odd requests and not into long sounds."""
    if not isinstance(body, dict):
        return body
    numbers = {name for name, value in body.items() if type(value) in (int, float) and value > 0}
    return {**body, **{name: QUICK[name] for name in QUICK.keys() & numbers}}


def _ask_for(job_id):
    def map_path_parameters(context, path_parameters):
        """Ask for a job that is there, but do not delete it."""
        operation = context.operation
        if path_parameters and "{id}" in operation.path and operation.method != "delete":
            return {**path_parameters, "id": job_id}
        return path_parameters

    return map_path_parameters


@pytest.fixture(params=list(schemathesis.GenerationMode))
def mode(request):
    return request.param


@pytest.fixture
def schema(server, mode):
    loaded = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    loaded.config.checks.positive_data_acceptance.expected_statuses = EXPECTED
    loaded.hook("map_body")(_keep_short)
    if mode == schemathesis.GenerationMode.POSITIVE:
        job = server.finished(server.job(prompt="rain", count=3, duration_in_s=0.5))
        loaded.hook("map_path_parameters")(_ask_for(job["id"]))
    return loaded


def test_every_route_keeps_to_its_description(schema, mode):
    failures = {}
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=MAX_EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case):
            case.call_and_validate(timeout=60)

        try:
            holds()
        except Unsatisfiable:  # there is no wrong way to ask
            assert operation.method == "get" or operation.path == "/v1/metadata"
        except (Exception, BaseExceptionGroup) as error:
            failures[operation.label] = error
    assert not failures, "\n\n".join(f"{name}\n{error}" for name, error in failures.items())
