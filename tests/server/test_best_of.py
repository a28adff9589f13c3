"""Several tries of a sound over HTTP: the best one comes, and its cost is counted."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from soundleap.audio.io import encode_audio
from soundleap.generator import Generator
from soundleap.ranking import best_takes, candidate_seeds
from soundleap.requests import Request, complete_all
from soundleap.resolve import open_model
from soundleap.server.worker import WorkerOptions, run

SHORT = {"prompt": "rain on a tin roof", "duration_in_s": 0.5, "num_inference_steps": 2, "seed": 7}


@pytest.fixture(scope="module")
def best(pipeline):
    """What the library keeps of three tries."""
    return dict(best_takes(Generator(pipeline), [Request(**SHORT)], 3))[0]


def test_the_best_try_comes_with_its_scores_and_seed(server, best):
    answer = server.sound(**SHORT, best_of=3)

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-seed"] == str(best.seed)
    scores = [float(word) for word in answer.headers["x-ranking-scores"].split()]
    assert scores == best.metadata["ranking"]["scores"]
    made = encode_audio(best.waveform, best.sampling_rate, "wav", best.metadata)
    assert answer.content == made
    assert server.sound(**SHORT, best_of=1).content == server.sound(**SHORT).content


def test_takes_of_a_job_are_the_best_of_their_tries(server, best):
    job = server.finished(server.job(**SHORT, count=2, best_of=3))

    assert job["status"] == "done"
    first, second = job["takes"]
    assert (first["step"], first["steps"]) == (6, 6)
    assert first["seed"] == first["metadata"]["seed"] == best.seed
    assert first["metadata"]["ranking"] == best.metadata["ranking"]
    assert second["seed"] in candidate_seeds(8, 3)


def test_the_limits_are_told_and_kept(start):
    server = start(max_best_of=4, max_audio_in_s=2.0, max_queue_per_client=6)

    listed = server.client.get("/v1/models").json()
    assert listed["limits"]["max_best_of"] == 4
    assert listed["data"][0]["ranking"] is True
    too_many = server.sound(**SHORT, best_of=5)
    assert too_many.status_code == 422
    assert too_many.json()["error"]["message"] == "best_of is 5; allowed: 1 to 4"
    assert server.post("/v1/jobs", **SHORT, best_of=0).status_code == 422
    too_long = server.post("/v1/jobs", **SHORT, count=2, best_of=4)
    assert too_long.status_code == 422
    assert "for 8 sounds, 4 s together" in too_long.text
    short = {**SHORT, "duration_in_s": 0.5}
    full = server.post("/v1/jobs", **short, count=4, best_of=1)
    assert full.status_code == 202
    server.finished(full.json())


def test_tries_count_as_sounds_that_wait(start):
    server = start(max_queue_per_client=6)

    refused = server.post("/v1/jobs", **SHORT, count=2, best_of=4)
    assert refused.status_code == 429
    assert "room for 6, asked for 8" in refused.text


def test_a_prompt_that_is_too_long_for_the_judge_is_refused(server):
    answer = server.sound(**{**SHORT, "prompt": "rain " * 150}, best_of=2)
    assert answer.status_code == 422


@pytest.fixture
def worker(untrained_folder):
    """A worker in a thread, which makes two sounds at once; its pipe and a way to ask."""
    ours, theirs = multiprocessing.Pipe()
    options = WorkerOptions(untrained_folder, device="cpu", max_batch_size=2)
    thread = threading.Thread(target=run, args=(theirs, options), daemon=True)
    thread.start()
    assert ours.recv()[0] == "ready"
    sample = complete_all([Request(**SHORT)], open_model(untrained_folder).manifest)[0]

    def ask(rows: int, best_of: int, *more: tuple) -> list[tuple]:
        for message in (("make", 1, [(sample, best_of)] * rows), *more):
            ours.send(message)
        return list(iter(ours.recv, ("end", 1)))

    yield ask
    ours.send(("stop",))
    thread.join()


def test_a_cancelled_batch_is_left_whole(worker):
    answers = worker(3, 2, ("cancel", 1))
    assert answers == [("error", row, "cancelled", "cancelled") for row in range(3)]


def test_a_judge_that_can_not_be_opened_fails_its_sounds_and_no_more(worker, tmp_path, monkeypatch):
    monkeypatch.setattr("soundleap.models.text_audio.DEFAULT_FOLDER", tmp_path)
    answers = worker(1, 2)
    assert [answer[:3] for answer in answers] == [("error", 0, "internal")]
    assert "holds no model.safetensors" in answers[0][3]
    assert "rain on a tin roof" not in answers[0][3]
    assert [answer[0] for answer in worker(1, 1)][-1] == "sound"
