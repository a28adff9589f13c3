"""`soundleap bench` on a small untrained model."""

import json
import os
from pathlib import Path

import pytest
import torch

from soundleap.bench.cold import generate_arguments, time_command
from soundleap.bench.machine import (
    cpu_name,
    describe_machine,
    peak_rss_in_bytes,
    reset_peak_rss,
    use_threads,
)
from soundleap.bench.report import STAGES, BenchReport
from soundleap.bench.run import run_bench
from soundleap.bench.settings import BenchSettings
from soundleap.bench.warm import time_stages
from soundleap.cli.main import main
from soundleap.debug import write_untrained_bundle
from soundleap.errors import InputError, SoundleapError
from soundleap.generator import Generator

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_untrained_bundle(tmp_path_factory.mktemp("bench") / "model").folder)


def test_report_has_a_case_for_every_steps_and_batch(model: str) -> None:
    settings = BenchSettings(
        model=model,
        steps=(1, 2),
        batch_sizes=(1, 3),
        duration_in_s=0.5,
        runs=2,
        threads=1,
        cold=False,
        device="cpu",
    )
    report = run_bench(settings)
    asked = [(case.num_inference_steps, case.batch_size) for case in report.cases]
    assert asked == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert report.cold_start is None
    assert report.machine.threads == 1
    for case in report.cases:
        assert set(case.seconds) == set(STAGES)
        assert all(spread.runs == 2 for spread in case.seconds.values())
        parts = sum(case.seconds[stage].min for stage in STAGES if stage != "total")
        assert 0 < parts <= case.seconds["total"].max
        spread = case.seconds["total"]
        sound_in_s = case.batch_size * 0.5
        assert case.real_time_factor.median == pytest.approx(spread.median / sound_in_s)


def test_stages_are_parts_of_the_total(model: str) -> None:
    generator = Generator(model, device="cpu", max_batch_size=2)
    requests = BenchSettings(model=model, duration_in_s=0.5).requests(1, 2)
    seconds = time_stages(generator, requests)
    assert tuple(seconds) == (*STAGES, "cpu")
    assert all(value > 0 for value in seconds.values())
    total = seconds.pop("total")
    del seconds["cpu"]
    assert sum(seconds.values()) <= total * (1 + 1e-9)  # blocks inside one block


def test_teacher_takes_its_own_default_steps(model: str) -> None:
    manifest = Generator(model, device="cpu").pipeline.manifest
    settings = BenchSettings(model=model, network="teacher")
    assert settings.steps_for(manifest) == (manifest.sampling.default_teacher_steps,)


def test_requests_of_a_case_differ_and_repeat() -> None:
    settings = BenchSettings()
    requests = settings.requests(2, 10)
    assert [request.seed for request in requests] == list(range(10))
    assert len({request.prompt for request in requests}) == 8
    assert requests == settings.requests(2, 10)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with use_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_machine_facts() -> None:
    machine = describe_machine(CPU)
    assert machine.cpu == cpu_name() != ""
    assert 1 <= machine.usable_cores <= machine.cores
    assert machine.torch == torch.__version__
    assert machine.device_name is None


def test_peak_memory_sees_a_large_tensor() -> None:
    scope = reset_peak_rss()
    before = peak_rss_in_bytes()
    size = 64 * 2**20
    torch.ones(size, dtype=torch.uint8)
    after = peak_rss_in_bytes()
    if scope == "case":
        assert before is not None
        assert after is not None
        assert after - before > 0.9 * size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runs": 0}, "runs is 0; allowed: 1 to"),
        ({"threads": 0}, "threads is 0; allowed: 1 to"),
        ({"batch_sizes": (1, 0)}, "batch is 0; allowed: 1 to"),
        ({"batch_sizes": ()}, "no batch size"),
        ({"steps": (2, 2)}, "steps names a value twice: 2, 2"),
    ],
)
def test_bad_settings_are_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BenchSettings(**values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "num_inference_steps is 0"),
        (["--steps", "1", "--steps", "99"], "num_inference_steps is 99"),
        (["--duration", "99"], "duration_in_s is 99 s"),
        (["--network", "studnet"], "did you mean 'student'"),
        (["--runs", "0"], "runs is 0"),
        (["--device", "abacus"], "device 'abacus'"),
    ],
)
def test_bad_arguments_end_with_one_line(model: str, arguments: list, message: str, capsys) -> None:
    assert main(["bench", "--model", model, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_command_writes_table_and_json(model: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "bench.json"
    short = ["--duration", "0.5", "--runs", "1", "--batch", "2", "--steps", "1", "--device", "cpu"]
    call = ["bench", "--model", model, "--no-cold", *short, "--json", str(path)]
    assert main(call) == 0
    report = BenchReport.model_validate(json.loads(path.read_text(encoding="utf-8")))
    assert report.to_table() in capsys.readouterr().out
    assert [case.batch_size for case in report.cases] == [2]
    assert main(call) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*call, "--overwrite"]) == 0


def test_cold_start_runs_the_real_command(model: str) -> None:
    settings = BenchSettings(model=model, duration_in_s=0.5, device="cpu")
    assert time_command(settings, 1, dict(os.environ)) > 0


def test_cold_start_tells_why_the_command_failed(tmp_path: Path) -> None:
    settings = BenchSettings(model=str(tmp_path / "none"), device="cpu")
    with pytest.raises(SoundleapError, match=r"status 1: soundleap: .* does not exist"):
        time_command(settings, 1, dict(os.environ))


def test_cold_arguments_name_network_and_model(tmp_path: Path) -> None:
    settings = BenchSettings(model="m", network="teacher", duration_in_s=2.5)
    arguments = generate_arguments(settings, 3, tmp_path / "x.wav")
    assert {"--teacher", "m", "2.5", "3"} <= set(arguments)
    assert "--model" not in generate_arguments(BenchSettings(), 1, tmp_path / "x.wav")
