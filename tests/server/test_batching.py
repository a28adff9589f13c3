from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from live_server import LONG, WAIT_IN_S, wait_for

from soundleap.generator import batches
from soundleap.requests import Sample
from soundleap.server.work import Work, can_share

SHORT = {"prompt": "rain", "duration_in_s": 0.5, "num_inference_steps": 1}
PROMPTS = ("rain", "a dog barks", "wind in trees", "a slow piano waltz")


def _samples(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


def _together(server: Any, bodies: list[dict[str, Any]]) -> list[Any]:
    """Ask for sounds while the worker is busy, so that they wait together."""
    blocker = server.job(**LONG)
    wait_for(lambda: server.dispatcher.running, "the blocker's begin")
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = [pool.submit(server.sound, **body) for body in bodies]
        wait_for(lambda: len(server.dispatcher.queue) == len(bodies), "the queue")
        server.client.delete(blocker["links"]["self"])
        return [answer.result() for answer in answers]


def test_waiting_sounds_share_a_batch_and_sound_as_if_made_alone(start, server):
    bodies = [{**SHORT, "prompt": text, "seed": i} for i, text in enumerate(PROMPTS)]

    batched = _together(start(max_batch_size=4), bodies)
    alone = [server.sound(**body) for body in bodies]

    for one, other in zip(batched, alone, strict=True):
        assert one.status_code == 200, one.text
        assert np.abs(_samples(one.content) - _samples(other.content)).max() <= 1e-3
        assert one.headers["x-seed"] == other.headers["x-seed"]


def test_on_a_cpu_sounds_are_made_one_by_one_and_are_exact(server):
    bodies = [{**SHORT, "prompt": text, "seed": i} for i, text in enumerate(PROMPTS)]

    busy = _together(server, bodies)
    alone = [server.sound(**body) for body in bodies]

    assert [one.content for one in busy] == [other.content for other in alone]


def test_the_window_gathers_sounds_that_come_one_after_another(start):
    server = start(max_batch_size=4, batch_window_in_s=1.0)
    bodies = [{**SHORT, "seed": i} for i in range(4)]
    made: list[int] = []
    observe = server.service.metrics.batches.observe
    server.service.metrics.batches.observe = lambda size, model: (made.append(size),
                                                                  observe(size, model))  # fmt: skip

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: server.sound(**body), bodies))

    assert [answer.status_code for answer in answers] == [200] * 4
    assert sum(made) == 4
    assert max(made) > 1


def _work(**changes: Any) -> Work:
    values = {
        "prompt": "a", "negative_prompt": None, "duration_in_s": 2.0, "num_inference_steps": 2,
        "guidance_scale": 3.0, "seed": 0, "network": "student",
    }  # fmt: skip
    return Work("client", Sample(**{**values, **changes}), None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prompt": "b", "seed": 5, "guidance_scale": 1.0}, True),
        ({"duration_in_s": 3.0}, True),
        ({"duration_in_s": 3.1}, False),
        ({"duration_in_s": 1.2}, False),
        ({"num_inference_steps": 3}, False),
        ({"network": "teacher", "solver": "ddim"}, False),
        ({"negative_prompt": "wind"}, False),
        ({"guidance_scale_post": 2.0}, False),
        ({"compat": True}, False),
    ],
)
def test_what_shares_a_batch_can_run_together(changes: dict[str, Any], expected: bool):
    first, other = _work(), _work(**changes)

    assert can_share(first, other) is expected
    assert can_share(other, first) is expected
    if expected:
        assert batches([first.sample, other.sample], 2) in ([[0, 1]], [[1, 0]])


def test_clients_are_served_in_turn(start):
    server = start()
    order: list[str] = []
    blocker = server.job(**LONG)
    wait_for(lambda: server.dispatcher.running, "the blocker's begin")
    model = next(iter(server.service.models.values()))

    def ask(client: str, count: int) -> None:
        from soundleap.requests import Request

        samples = server.service.complete(model, [Request(**SHORT)] * count)
        for work in server.service.submit(model, samples, client, patient=True):
            work.on_begin = lambda: order.append(client)

    server.call(lambda: (ask("greedy", 3), ask("modest", 1)))
    server.client.delete(blocker["links"]["self"])

    wait_for(lambda: len(order) == 4, "all four")
    assert order == ["greedy", "modest", "greedy", "greedy"]


def test_a_full_queue_says_when_to_come_again(start):
    server = start(max_queue=3, max_queue_per_client=2)
    blocker = server.job(**LONG)
    wait_for(lambda: server.dispatcher.running, "the blocker's begin")

    too_many = server.post("/v1/jobs", **SHORT, count=3)
    server.job(**SHORT, count=2)
    full = server.sound(**SHORT)

    for answer in (too_many, full):
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
    assert "there is room for 0, asked for 1" in full.json()["error"]["message"]
    server.client.delete(blocker["links"]["self"])


def test_a_direct_request_does_not_wait_for_ever(start):
    server = start(queue_timeout_in_s=0.1)
    blocker = server.job(**LONG)
    wait_for(lambda: server.dispatcher.running, "the blocker's begin")

    answer = server.sound(**SHORT)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "waited_too_long")
    assert int(answer.headers["retry-after"]) >= 1
    assert len(server.dispatcher.queue) == 0
    server.client.delete(blocker["links"]["self"])


def test_work_that_takes_too_long_is_stopped(start):
    server = start(timeout_in_s=0.3)

    answer = server.sound(**LONG)

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "took_too_long")
    assert server.sound(**SHORT).status_code in (200, 504)  # 504 on a machine that is very busy
    assert server.dispatcher.workers[0].alive


def test_clients_that_go_away_leave_the_queue_and_stop_the_work(start):
    server = start()

    def leave_after(moment: Any, what: str) -> None:
        client = httpx.Client(base_url=server.url, timeout=WAIT_IN_S)
        thread = threading.Thread(target=_swallow, args=(client,), daemon=True)
        thread.start()
        wait_for(moment, what)
        for connection in client._transport._pool.connections:
            connection._connection._network_stream._sock.shutdown(2)
        thread.join(WAIT_IN_S)

    leave_after(lambda: server.dispatcher.running, "the work's begin")
    wait_for(lambda: not server.dispatcher.running, "the work's end")

    blocker = server.job(**LONG)
    wait_for(lambda: server.dispatcher.running, "the blocker's begin")
    leave_after(lambda: len(server.dispatcher.queue), "the queue")
    wait_for(lambda: not len(server.dispatcher.queue), "the queue's end")
    server.client.delete(blocker["links"]["self"])
    assert server.sound(**SHORT).status_code == 200
    assert 'route="/v1/audio/generate",status="499"} 2' in server.client.get("/metrics").text


def _swallow(client: httpx.Client) -> None:
    with pytest.raises(httpx.HTTPError):
        client.post("/v1/audio/generate", json=LONG)
