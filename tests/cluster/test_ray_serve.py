from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient

from soundleap.cluster.ray_serve import Replica, ServeOptions, front_app
from soundleap.errors import InputError
from soundleap.generator import Generator, Request
from soundleap.offline.folder import encoded

DEPLOY = Path(__file__).parents[2] / "deploy"
ASKED = {"prompt": "rain", "duration_in_s": 0.5, "num_inference_steps": 1}


class Call:
    """What a method of a Ray Serve handle is: `remote` gives something to await or cancel."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def remote(self, *values: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(asyncio.to_thread(self.function, *values))


def handle(replica: Replica, **others: Callable[..., Any]) -> Any:
    def make(values: dict[str, Any]) -> Any:
        return replica.answers([Request(**values)])[0]

    calls = {"make": make, "facts": replica.facts, **others}
    return SimpleNamespace(**{name: Call(function) for name, function in calls.items()})


@pytest.fixture(scope="module")
def options(untrained_folder: Path) -> ServeOptions:
    import torch

    threads = torch.get_num_threads()  # as in this process, for equal samples
    return ServeOptions(str(untrained_folder), device="cpu", lanes=3, threads=threads)


@pytest.fixture(scope="module")
def replica(options: ServeOptions) -> Replica:
    return Replica(options)


def wait_until_ready(client: httpx.Client) -> None:
    end = time.monotonic() + 60
    while client.get("/health").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_front_answers_as_the_server_does(options: ServeOptions, replica: Replica) -> None:
    with TestClient(front_app(options, handle(replica))) as client:
        wait_until_ready(client)
        answer = client.post("/v1/audio/generate", json={**ASKED, "seed": 7})
        assert answer.status_code == 200
        request = Request(**ASKED, seed=7)
        assert answer.content == encoded(replica.generator.generate([request])[0], "wav", True)
        job = client.post("/v1/jobs", json={**ASKED, "seed": 1, "count": 5}).json()
        end = time.monotonic() + 60
        while job["status"] not in ("done", "failed"):
            assert time.monotonic() < end
            job = client.get(f"/v1/jobs/{job['id']}").json()
        assert job["status"] == "done"
        assert len(job["takes"]) == 5
        refused = client.post("/v1/audio/generate", json={**ASKED, "duration_in_s": 99})
        assert refused.status_code == 422
        long = client.post("/v1/audio/generate", json={**ASKED, "prompt": "rain " * 190})
        assert (long.status_code, long.json()["error"]["code"]) == (422, "invalid_value")


def test_a_replica_that_fails_is_told_and_survived(options: ServeOptions, replica: Replica) -> None:
    def make(values: dict[str, Any]) -> Any:
        if values["seed"] == 1:
            raise ConnectionError
        if values["seed"] == 2:
            return "not_finite", "the network gave NaN"
        return replica.answers([Request(**values)])[0]

    with TestClient(front_app(options, handle(replica, make=make))) as client:
        wait_until_ready(client)
        found = [client.post("/v1/audio/generate", json={**ASKED, "seed": i}) for i in (1, 2, 3)]
    assert [answer.status_code for answer in found] == [503, 500, 200]
    assert found[0].json()["error"]["code"] == "worker_died"
    assert found[1].json()["error"]["code"] == "not_finite"


def test_only_the_culprit_of_a_batch_fails(replica: Replica) -> None:
    good = Request("rain", seed=1, duration_in_s=0.5)
    answers = replica.answers([good, Request("rain", seed=1, duration_in_s=99.0)])
    assert [kind for kind, _ in answers] == ["sound", "invalid_value"]


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match="did you mean 'threads'"):
        ServeOptions.read({"thread": 1})
    with pytest.raises(InputError, match="lanes is 0; allowed: 1 to 4096"):
        ServeOptions.read({"lanes": 0})


def test_the_deployment_file_fits() -> None:
    values = yaml.safe_load((DEPLOY / "ray_serve.yaml").read_text())
    assert values["http_options"]["host"] == "127.0.0.1"
    (application,) = values["applications"]
    module, _, name = application["import_path"].partition(":")
    assert (module, name) == ("soundleap.cluster.ray_serve", "build")
    options = ServeOptions.read(application["args"])
    front, model = application["deployments"]
    assert (front["name"], front["num_replicas"]) == ("Front", 1)
    scaling = model["autoscaling_config"]
    assert options.lanes >= scaling["max_replicas"] * model["max_ongoing_requests"]
    assert model["ray_actor_options"]["num_cpus"] == options.threads


@pytest.mark.slow
def test_the_application_runs_on_a_cluster(two_nodes: Any, untrained_folder: Path) -> None:
    from ray import serve
    from ray.serve.schema import ServeDeploySchema

    from soundleap.cluster.ray_serve import build

    values = yaml.safe_load((DEPLOY / "ray_serve.yaml").read_text())
    ServeDeploySchema.model_validate(values)
    application = values["applications"][0]
    arguments = {**application["args"], "model": str(untrained_folder), "device": "cpu"}
    serve.start(http_options={"host": "127.0.0.1", "port": 8941})
    try:
        serve.run(build(arguments), name="soundleap", route_prefix="/")
        with httpx.Client(base_url="http://127.0.0.1:8941", timeout=60) as client:
            wait_until_ready(client)
            found = [client.post("/v1/audio/generate", json={**ASKED, "seed": i}) for i in range(4)]
    finally:
        serve.shutdown()
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = Generator(untrained_folder, device="cpu")
    results = generator.generate([Request(**ASKED, seed=i) for i in range(4)])
    torch.set_num_threads(threads)
    assert [answer.content for answer in found] == [encoded(r, "wav", True) for r in results]
