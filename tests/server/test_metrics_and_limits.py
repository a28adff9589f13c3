from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from soundleap.errors import InputError
from soundleap.server.limits import Keys, RateLimiter, presented_key
from soundleap.server.logs import JsonLines
from soundleap.server.metrics import Counter, Gauge, Histogram, Metrics
from soundleap.server.settings import ServerSettings

KEY = "0123456789abcdef"


def test_a_histogram_counts_cumulatively():
    histogram = Histogram("seconds", "Help.", (0.1, 1.0), ("model",))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value, "m")

    assert list(histogram.lines()) == [
        'seconds_bucket{model="m",le="0.1"} 2',
        'seconds_bucket{model="m",le="1"} 3',
        'seconds_bucket{model="m",le="+Inf"} 4',
        'seconds_sum{model="m"} 7.65',
        'seconds_count{model="m"} 4',
    ]


def test_counters_and_gauges_escape_their_labels():
    counter = Counter("errors", "Help.", ("kind",))
    counter.add('a"b\\c\nd')
    counter.add('a"b\\c\nd', amount=0.5)

    assert list(counter.lines()) == ['errors{kind="a\\"b\\\\c\\nd"} 1.5']
    assert list(Gauge("length", "Help.", (), lambda: {(): 3.0}).lines()) == ["length 3"]


def test_the_text_has_help_and_type_for_every_metric():
    lines = Metrics().text().splitlines()

    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert names == [line.split()[2] for line in lines if line.startswith("# HELP")]
    assert "soundleap_stage_seconds" in names
    assert any(line.startswith("process_open_fds ") for line in lines) or not Path("/proc").exists()


def test_keys_are_held_as_hashes_and_their_holders_have_names(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{KEY}\n  {KEY}x  \n")
    keys = Keys.from_file(file)

    owners = {keys.owner(KEY), keys.owner(f"{KEY}x")}
    assert len(owners) == 2
    assert all(owner is not None and KEY not in owner for owner in owners)
    assert keys.owner(f"{KEY}y") is None
    assert keys.owner("kéy \ud800") is None
    assert KEY not in repr(vars(keys))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "holds no key"),
        ("short\n", "line 1: a key has 16 ASCII characters or more"),
        (f"{KEY}\nwith a space in it\n", "line 2"),
    ],
)
def test_a_file_of_keys_must_hold_good_ones(tmp_path: Path, text: str, message: str):
    file = tmp_path / "keys"
    file.write_text(text)

    with pytest.raises(InputError, match=message):
        Keys.from_file(file)
    with pytest.raises(InputError, match="can't read api_key_file"):
        Keys.from_file(tmp_path / "missing")


def test_a_key_is_found_in_either_header():
    assert presented_key({"authorization": f"Bearer {KEY}"}) == KEY
    assert presented_key({"authorization": f"bearer  {KEY} "}) == KEY
    assert presented_key({"xi-api-key": KEY}) == KEY
    assert presented_key({"authorization": "Basic abc"}) is None
    assert presented_key({}) is None


def test_a_bucket_lets_a_burst_pass_and_fills_steadily():
    now = 0.0
    limiter = RateLimiter(60.0, clock=lambda: now)

    assert [limiter.wait("a") for _ in range(60)] == [0.0] * 60
    assert limiter.wait("a") == pytest.approx(1.0)
    assert limiter.wait("b") == 0.0
    now = 0.25
    assert limiter.wait("a") == pytest.approx(0.75)
    now = 1.5
    assert limiter.wait("a") == 0.0


def test_settings_say_what_is_allowed():
    with pytest.raises(InputError, match="workers is 0; allowed: 1 to 256"):
        ServerSettings(workers=0)
    with pytest.raises(InputError, match="models is empty"):
        ServerSettings(models=())
    with pytest.raises(InputError, match="unknown worker_kind 'threads'; did you mean 'thread'"):
        ServerSettings(worker_kind="threads")  # pyright: ignore[reportArgumentType]


def test_log_lines_are_json_with_their_extra_fields():
    record = logging.makeLogRecord(
        {
            "msg": "hello %s",
            "args": ("you",),
            "levelname": "INFO",
            "event": "request",
            "status": 200,
        }
    )

    line = json.loads(JsonLines().format(record))

    assert line["message"] == "hello you"
    assert (line["event"], line["status"], line["level"]) == ("request", 200, "info")
