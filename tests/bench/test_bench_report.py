"""Statistics, table and JSON of a report."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundleap.bench.report import STAGES, BenchReport, Case, ColdStart, Machine, Spread
from soundleap.errors import InputError


def make_report(cold: bool = True) -> BenchReport:
    spread = Spread.of([1.0, 2.0, 3.0])
    case = Case(
        network="student",
        num_inference_steps=2,
        batch_size=4,
        duration_in_s=10.0,
        seconds=dict.fromkeys(STAGES, spread),
        cpu_seconds=spread,
        real_time_factor=spread,
        peak_rss_in_bytes=123_000_000,
        peak_rss_scope="case",
        peak_cuda_in_bytes=None,
    )
    start = ColdStart(
        network="student",
        num_inference_steps=2,
        duration_in_s=10.0,
        command_in_s=spread,
        import_in_s=spread,
    )
    machine = Machine(
        cpu="A Processor",
        cores=8,
        usable_cores=2,
        memory_in_bytes=None,
        load_before=0.5,
        platform="Linux x86_64",
        python="3.11",
        torch="2.13",
        threads=2,
        device="cpu",
        device_name=None,
    )
    return BenchReport(
        soundleap_version="0.1.0",
        model="m",
        model_version="1",
        model_fingerprint="ab",
        runs=3,
        machine=machine,
        cases=[case],
        cold_start=start if cold else None,
    )


def test_spread_of_known_values() -> None:
    spread = Spread.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert spread == Spread(
        median=3, min=1, lower_quartile=2, upper_quartile=4, max=5, runs=5
    )  # 1..5 cut at their own points
    even = Spread.of([0.0, 10.0])
    assert (even.lower_quartile, even.median, even.upper_quartile) == (2.5, 5.0, 7.5)


def test_spread_of_one_value() -> None:
    spread = Spread.of([0.25])
    assert set(spread.model_dump(exclude={"runs"}).values()) == {0.25}
    assert spread.runs == 1


def test_spread_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no measurements"):
        Spread.of([])


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=30), st.randoms())
def test_spread_is_ordered_and_ignores_order(values: list[float], random: object) -> None:
    spread = Spread.of(values)
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert Spread.of(shuffled) == spread
    tiny = 1e-9
    points = [spread.min, spread.lower_quartile, spread.median, spread.upper_quartile, spread.max]
    assert all(a <= b + tiny for a, b in itertools.pairwise(points))


def test_json_reads_back_and_holds_the_promised_keys(tmp_path) -> None:
    report = make_report()
    path = tmp_path / "new" / "bench.json"
    report.write(path)
    text = path.read_text(encoding="utf-8")
    assert BenchReport.model_validate_json(text) == report
    values = json.loads(text)
    assert values["format_version"] == 1
    assert set(values["cases"][0]["seconds"]) == set(STAGES)
    assert set(values["cases"][0]["seconds"]["total"]) == {
        *("median", "min", "lower_quartile", "upper_quartile", "max", "runs")
    }
    assert [file.name for file in path.parent.iterdir()] == ["bench.json"]


def test_table_holds_every_figure_and_fits_a_terminal() -> None:
    table = make_report().to_table()
    assert "student, steps 2, 4 x 10 s" in table
    assert "123" in table
    assert "A Processor, 2 of 8 cores" in table
    assert all(f"{stage}, s" in table for stage in STAGES)
    assert "`soundleap generate` in a new process" in table
    assert max(map(len, table.splitlines())) <= 80
    assert "new process" not in make_report(cold=False).to_table()
