from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from live_server import LONG, wait_for

SHORT = {"prompt": "Rain, on a tin roof!", "duration_in_s": 0.5, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def done(server) -> dict[str, Any]:
    """A finished job of three takes."""
    return server.finished(server.job(**SHORT, seed=7, count=3))


def test_a_job_is_taken_and_made(server, done):
    answer = server.post("/v1/jobs", **SHORT, count=2)
    job = answer.json()

    assert answer.status_code == 202
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert [take["number"] for take in job["takes"]] == [1, 2]
    assert server.finished(job)["status"] == "done"
    assert done["status"] == "done"
    assert [take["seed"] for take in done["takes"]] == [7, 8, 9]
    assert done["settings"]["guidance_scale"] == 3.0
    assert done["expires"] == pytest.approx(done["finished"] + 3600)
    take = done["takes"][0]
    assert (take["samples"], take["sampling_rate"], take["duration_in_s"]) == (8000, 16000, 0.5)
    assert (take["step"], take["steps"]) == (2, 2)
    assert take["metadata"]["prompt"] == SHORT["prompt"]
    assert take["loudness_dbfs"] < 0 < take["peak"] <= 1
    assert take["seconds"].keys() >= {"queue", "text", "network"}


def test_a_take_is_the_sound_of_its_seed(server, done):
    sound = server.sound(**SHORT, seed=8, response_format="flac")

    answer = server.client.get(done["takes"][1]["audio"]["flac"])

    assert answer.content == sound.content
    assert (answer.headers["x-seed"], answer.headers["content-type"]) == ("8", "audio/flac")
    again = server.client.get(
        done["takes"][1]["audio"]["flac"], headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_a_download_has_a_name_without_odd_letters(server, done):
    answer = server.client.get(f"{done['takes'][0]['audio']['wav']}?download=1")

    name = "0001-rain-on-a-tin-roof-7.wav"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_takes_come_as_a_zip(server, done):
    def names(query: str) -> list[str]:
        answer = server.client.get(f"{done['links']['archive']}{query}")
        assert answer.status_code == 200, answer.text
        with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
            assert file.testzip() is None
            return file.namelist()

    assert names("?takes=1,3&format=mp3") == [
        "0001-rain-on-a-tin-roof-7.mp3",
        "0003-rain-on-a-tin-roof-9.mp3",
    ]
    assert len(names("")) == 3
    first, second = (server.client.get(done["links"]["archive"]).content for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/audio/4.wav", 404, "not_found"),
        ("/audio/1.aac", 422, "invalid_value"),
        ("/audio/0.wav", 422, "invalid_value"),
        ("/audio/..%2f..%2fetc", 404, "not_found"),
        ("/archive.zip?takes=9", 404, "not_found"),
        ("/archive.zip?takes=a", 422, "invalid_value"),
        ("/archive.zip?format=aac", 422, "invalid_value"),
    ],
)
def test_what_a_job_does_not_have(server, done, path: str, status: int, code: str):
    answer = server.client.get(f"{done['links']['self']}{path}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_events_tell_the_state_and_the_end_of_a_finished_job(server, done):
    events = list(server.events(done))

    assert [name for name, _ in events] == ["state", "done"]
    assert events[0][1] == events[1][1] == server.client.get(done["links"]["self"]).json()


def test_events_tell_every_step_and_take(start):
    server = start()
    blocker = server.job(**LONG)
    job = server.job(**SHORT, count=2)
    events = []
    for name, data in server.events(job):
        if name == "state":
            assert data["status"] == "queued"
            server.client.delete(blocker["links"]["self"])
        events.append((name, data))

    names = [name for name, _ in events if name != "queued"]
    assert names == ["state", "step", "step", "take", "step", "step", "take", "done"]
    steps = [data for name, data in events if name == "step"]
    assert steps[:2] == [{"take": 1, "step": 1, "steps": 2}, {"take": 1, "step": 2, "steps": 2}]
    assert events[-1][1]["status"] == "done"


def test_positions_count_what_comes_before(start):
    server = start()
    first = server.job(**LONG)
    wait_for(lambda: server.dispatcher.running, "the first job's begin")
    second = server.job(**SHORT, count=3)
    third = server.job(**SHORT)

    assert (second["position"], third["position"]) == (0, 3)
    server.client.delete(second["links"]["self"])
    assert server.client.get(third["links"]["self"]).json()["position"] == 0
    server.client.delete(first["links"]["self"])
    assert server.finished(third)["status"] == "done"


def test_a_cancelled_job_stops_and_keeps_what_is_made(start):
    server = start()
    first = server.job(**SHORT)
    server.finished(first)
    job = server.job(**LONG)
    wait_for(lambda: server.client.get(job["links"]["self"]).json()["status"] == "running", "it")
    waiting = server.job(**SHORT, count=2)

    cancelled = server.client.delete(job["links"]["self"]).json()

    assert (cancelled["status"], cancelled["takes"][0]["status"]) == ("cancelled", "cancelled")
    assert [name for name, _ in server.events(job)] == ["state", "cancelled"]
    assert server.finished(waiting)["status"] == "done"  # the worker is free again
    assert server.client.get(f"{job['links']['self']}/audio/1.wav").status_code == 409
    assert server.client.get(job["links"]["archive"]).json()["error"]["code"] == "not_ready"


def test_a_finished_job_can_be_dropped(server):
    job = server.finished(server.job(**SHORT))

    assert server.client.delete(job["links"]["self"]).json()["status"] == "deleted"

    gone = server.client.get(job["links"]["self"])
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "gone")
    assert server.client.get("/v1/jobs/job_unknown").status_code == 404


def test_results_are_kept_up_to_a_size(start):
    server = start(results_kept_bytes=40_000)
    first, second = (server.finished(server.job(**SHORT)) for _ in range(2))  # 32 kB each

    server.call(server.service.jobs.sweep)

    assert server.client.get(first["links"]["self"]).json()["error"]["code"] == "gone"
    assert server.client.get(second["links"]["self"]).status_code == 200
    assert server.service.jobs.kept_bytes == 32_000


def test_results_are_kept_for_a_time(start):
    server = start(results_kept_in_s=0.1)
    job = server.job(**SHORT)

    wait_for(lambda: server.client.get(job["links"]["self"]).status_code == 410, "the sweep")
    assert server.service.jobs.kept_bytes == 0


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"count": 0}, "count", "count is 0; allowed: at least 1"),
        ({"count": 17}, "count", "count is 17; allowed: 1 to 16"),
        ({"duration_in_s": 20}, "duration_in_s", "duration_in_s is 20 s; allowed: 0.5 to 10 s"),
        ({"seed": 2**64 - 1, "count": 2}, "seed", "seed is 18446744073709551616; allowed: 0 to"),
        ({"response_format": "wav"}, "response_format", "unknown field 'response_format'"),
    ],
)
def test_a_job_that_is_not_allowed_is_refused_at_once(server, changes, field: str, message: str):
    answer = server.post("/v1/jobs", **{**SHORT, **changes})

    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]
    assert "request 1 of" not in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == field


def test_one_job_makes_a_limited_length_of_sound(start):
    server = start(max_audio_in_s=12.0)

    answer = server.post("/v1/jobs", prompt="rain", duration_in_s=5, count=3)

    assert answer.status_code == 422
    fault = answer.json()["error"]["fields"][0]
    assert (fault["field"], fault["allowed"]) == ("duration_in_s", "at most 4 s")


def test_a_take_that_the_worker_refuses_fails_with_its_reason(server):
    job = server.finished(server.job(prompt="rain " * 150))

    assert job["status"] == "failed"
    assert job["error"]["param"] == "prompt"
    assert "150 tokens" in job["takes"][0]["error"]["message"]
    assert json.loads(json.dumps(job)) == job
