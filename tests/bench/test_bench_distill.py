"""`soundleap bench distill` at tiny sizes: what it measures, and that both sides do the same."""

import json
from typing import get_args

import pytest
import torch

from soundleap.bench import distill as bench
from soundleap.bench.distill_clock import STAGES, Clock
from soundleap.bench.distill_report import DistillReport
from soundleap.bench.distill_settings import (
    PRESETS,
    CaseName,
    DistillBenchSettings,
    cases_of,
)
from soundleap.bench.distill_worker import TASKS, in_turn
from soundleap.cli.main import main
from soundleap.errors import InputError

pytest.importorskip("accelerate")
PUBLISHED = ("consistencytta-stage1", "consistencytta-stage2", "audiolcm")


def tiny(**options) -> DistillBenchSettings:
    return DistillBenchSettings(size="tiny", iterations=1, **options)


def test_families_and_cases_by_name() -> None:
    assert cases_of([]) == get_args(CaseName) == tuple(PRESETS)
    assert cases_of(["consistencytta"]) == ("consistencytta-stage1", "consistencytta-stage2")
    assert cases_of(["audiolcm", "default", "audiolcm"]) == ("audiolcm", "default")
    with pytest.raises(InputError, match="consistencytta-stage2"):
        cases_of(["consistencyttta-stage2"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0; allowed: 1 to"),
        ({"iterations": 0}, "iterations is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"dtype": "float16"}, "float16"),
        ({"size": "huge"}, "huge"),
    ],
)
def test_settings_that_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        DistillBenchSettings(**options)


def test_nested_stages_are_counted_and_total_holds_them() -> None:
    clock = Clock()
    with clock.stage("total"):
        for _ in range(2):
            clock.around("teacher", lambda x: x + 1)(torch.zeros(3))
    assert set(clock.wall) == set(clock.cpu) == {"teacher", "total"}
    assert 0 < clock.wall["teacher"] <= clock.wall["total"]


def test_runs_take_turns_after_one_to_warm_up_each() -> None:
    order: list[tuple[str, int]] = []

    def run(name: str):
        def once(number: int) -> Clock:
            order.append((name, number))
            return Clock()

        return once

    found = in_turn(2, run("a"), run("b"))
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert len(found["ours"]["cpu"]) == len(found["stock"]["wall"]) == 2


@pytest.mark.parametrize("case", PUBLISHED)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_plain_formulation_has_our_loss_and_our_gradient(case: CaseName, batch_size) -> None:
    pytest.importorskip("diffusers")
    from soundleap.bench.distill_ours import Iteration
    from soundleap.bench.distill_stock import LOSSES
    from soundleap.models.fast_cpu import torchs_own

    ours = Iteration(case, tiny(batch_size=batch_size))
    for number in range(3):
        ours.student.zero_grad()
        loss = ours.loss(Clock(), number)
        loss.backward()
        gradient = [p.grad for p in ours.student.parameters() if p.grad is not None]
        ours.student.zero_grad()
        with torchs_own():
            plain = LOSSES[case](ours, Clock(), number)
            plain.backward()
        plain_gradient = [p.grad for p in ours.student.parameters() if p.grad is not None]
        torch.testing.assert_close(plain, loss, rtol=2e-4, atol=1e-6)
        whole, plain_whole = (
            torch.cat([g.flatten() for g in each]) for each in (gradient, plain_gradient)
        )
        assert float((whole - plain_whole).norm() / whole.norm()) < 2e-3


@pytest.mark.parametrize("case", PUBLISHED)
def test_every_task_of_a_published_case(case: CaseName) -> None:
    pytest.importorskip("diffusers")
    settings = tiny(stock=True, reduced=True)
    prepared = TASKS["prepare"](case, settings)
    assert set(prepared["ours"]["cpu"][0]) == set(prepared["stock"]["cpu"][0]) == {"encode", "text"}
    compared = TASKS["compare"](case, settings)
    expected = set(STAGES) - {"encode", "text", "optimiser", "ema"}
    if case == "consistencytta-stage1":
        expected -= {"target"}
    for side in ("ours", "stock"):
        assert set(compared[side]["cpu"][0]) == expected
    assert set(TASKS["optimise"](case, settings)["stock"]["wall"][0]) == {"optimiser", "ema"}


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"checkpointing": True}, {}])
def test_iterations_move_student_target_and_average(options: dict) -> None:
    from soundleap.bench.distill_ours import Iteration

    ours = Iteration("audiolcm", tiny(**options))
    before = [
        [p.detach().clone() for p in module.parameters()]
        for module in (ours.teacher, ours.student, ours.target, ours.average)
    ]
    ours.run(1)
    after = [list(m.parameters()) for m in (ours.teacher, ours.student, ours.target, ours.average)]
    moved = [
        any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
        for old, new in zip(before, after, strict=True)
    ]
    assert moved == [False, True, True, True]


def test_the_command_prints_a_table_and_writes_json(tmp_path, capsys) -> None:
    path = tmp_path / "new" / "distill.json"
    arguments = ["bench", "distill", "default", "--size", "tiny", "--iterations", "2"]
    main([*arguments, "--threads", "1", "--json", str(path)])
    table = capsys.readouterr().out
    assert "default: " in table
    assert all(stage in table for stage in STAGES)
    assert max(map(len, table.splitlines()[:-1])) <= 80
    report = DistillReport.model_validate_json(path.read_text(encoding="utf-8"))
    values = json.loads(path.read_text(encoding="utf-8"))
    case = values["cases"][0]
    assert (case["name"], case["preset"], case["batch_size"]) == ("default", "default-distill", 1)
    assert set(case["once_a_clip"]["cpu"]) == {"encode", "text"}
    assert set(case["iteration"]["wall"]) == set(STAGES) - {"encode", "text"}
    assert case["iteration"]["wall"]["total"]["runs"] == report.iterations == 2
    assert case["stock"] is case["ratio"] is None
    assert report.machine.threads == 1


def test_ratios_count_what_the_plain_formulation_does_anew(monkeypatch) -> None:
    def clocks(**sides: dict[str, float]) -> dict:
        told = {name: {"wall": [clock], "cpu": [clock]} for name, clock in sides.items()}
        return {**told, "peak": 1, "parameters": 7}

    found = {
        "prepare": clocks(ours={"encode": 9.0}, stock={"encode": 2.0, "text": 1.0}),
        "iterate": clocks(ours={"total": 3.0}),
        "compare": clocks(ours={"total": 3.0}, stock={"total": 7.0}),
        "optimise": clocks(ours={"optimiser": 1.0}, stock={"optimiser": 1.5, "ema": 0.5}),
    }
    monkeypatch.setattr(bench, "_work", lambda task, *_: found[task])
    case = bench.measure("audiolcm", DistillBenchSettings(stock=True, reduced=True), print)
    assert case.iteration.cpu["total"].median == 4.0
    assert case.stock is not None
    assert case.stock.cpu["total"].median == 9.0
    assert case.networks_ratio == pytest.approx(9 / 4)
    assert case.ratio == pytest.approx((9 + 3) / 4)
