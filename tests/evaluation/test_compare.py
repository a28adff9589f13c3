from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from records import STAMP, make_record

from soundleap.cli.main import main
from soundleap.errors import InputError
from soundleap.evaluation.compare import bootstrap_mean, compare_records
from soundleap.evaluation.compare_checks import check_comparable
from soundleap.evaluation.compare_report import (
    comparison_markdown,
    comparison_page,
    write_comparison,
)
from soundleap.evaluation.record_io import write_record


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare")
    return [
        make_record(root, name, fd=fd, steps=steps)
        for name, fd, steps in (("one", 20.0, 1), ("two", 18.5, 2), ("three", 15.0, 4))
    ]


def rows_of(comparison):
    return {(row.metric, row.embedder): row for row in comparison.rows}


def test_best_is_what_can_not_be_told_apart(systems):
    rows = rows_of(compare_records(systems))
    assert rows["fd", "yamnet"].best == (2,)
    assert rows_of(compare_records(systems[:2]))["fd", "yamnet"].best == (0, 1)  # 19-21, 17.5-19.5
    assert rows["text-score", "ours"].best == (0, 1, 2)  # all equal, no intervals
    assert rows["text-score", "ours"].ours
    assert rows["accuracy-reference", "yamnet"].best == ()


def test_a_number_without_an_interval_stands_for_itself(systems):
    bare = replace(systems[1].metrics[0], low=None, high=None)
    for value, best in ((18.5, (1,)), (19.5, (0, 1))):
        other = replace(systems[1], metrics=(replace(bare, value=value),))
        assert rows_of(compare_records([systems[0], other]))["fd", "yamnet"].best == best


def test_numbers_that_one_system_lacks_are_left_open(systems):
    short = replace(systems[0], metrics=systems[0].metrics[:1])
    row = rows_of(compare_records([short, systems[1]]))["text-score", "ours"]
    assert row.values[0] is None
    assert row.best == ()
    assert "| – | 0.4000 |" in comparison_markdown(compare_records([short, systems[1]]))


def test_other_protocols_are_refused(systems):
    other = replace(systems[1], protocol=replace(STAMP, hash="1" * 64))
    with pytest.raises(InputError, match=r"different protocols \(toy <list>@f42.* and .*@1111"):
        compare_records([systems[0], other])
    with pytest.raises(InputError, match="no protocol"):
        compare_records([systems[0], replace(systems[1], protocol=None)])
    same = replace(systems[1], protocol=replace(STAMP, name="another name"))
    compare_records([systems[0], same])


def test_settings_that_change_numbers_are_refused(systems):
    one, two = systems[:2]
    with pytest.raises(InputError, match="nearest is 5 and 3"):
        check_comparable([one, replace(two, settings={**two.settings, "nearest": 3})])
    check_comparable([one, replace(two, settings={**two.settings, "bootstrap": 7})])
    seeded = replace(two, settings={**two.settings, "seed": 7})
    assert any("Seeds differ" in note for note in compare_records([one, seeded]).notes)


def test_other_weights_and_recordings_are_refused(systems):
    one, two = systems[:2]
    weights = replace(two.embedders[0], weights_sha256="9" * 64)
    with pytest.raises(InputError, match="different weights of yamnet: SHA-256 abab"):
        check_comparable([one, replace(two, embedders=(weights,))])
    clips = tuple(
        replace(c, sha256="0" * 64) if (c.role, c.id) == ("reference", "clip-1") else c
        for c in two.clips
    )
    with pytest.raises(InputError, match=r"1 files differ and 0 were used by one alone.*'clip-1'"):
        check_comparable([one, replace(two, clips=clips)])
    unknown = tuple(replace(c, sha256=None) for c in two.clips)
    notes = compare_records([one, replace(two, clips=unknown)]).notes
    assert any("equal files were not checked" in note for note in notes)


def test_missing_clips_and_warnings_are_told(systems):
    clips = tuple(c for c in systems[1].clips if (c.role, c.id) != ("generated", "clip-0"))
    notes = compare_records([systems[0], replace(systems[1], clips=clips)]).notes
    assert "two has 3 of 4 clips: its numbers cover fewer." in notes
    assert notes.count("all: Fréchet distance, yamnet: few rows") == 1


def test_speeds_of_other_machines_are_told(systems):
    def on(record, cpu, load):
        machine = {"cpu": cpu, "device": "cpu", "threads": 2, "load_before": load}
        return replace(record, system={**record.system, "machine": machine})

    same = compare_records([on(systems[0], "x", 0.1), on(systems[1], "x", 0.2)])
    assert not any("machines" in note or "load" in note for note in same.notes)
    notes = compare_records([on(systems[0], "x", 0.1), on(systems[1], "y", 3.0)]).notes
    assert any("different machines" in note for note in notes)
    assert any(note.startswith("two: its speed was measured beside other work") for note in notes)


def test_differences_are_paired(systems):
    clips = tuple(
        replace(c, scores={k: v + 0.5 for k, v in c.scores.items()}) for c in systems[1].clips
    )
    found = compare_records([systems[0], replace(systems[1], clips=clips)]).differences
    by_key = {d.key: d for d in found}
    gain = by_key["text-score ours"]
    assert (gain.clips, gain.system, gain.better) == (4, 1, "higher")
    assert gain.mean == pytest.approx(0.5)
    assert (gain.low, gain.high) == pytest.approx((0.5, 0.5))  # the same gain for every clip
    text = comparison_markdown(compare_records([systems[0], replace(systems[1], clips=clips)]))
    assert "| two | text-score ours | 4 | +0.5 | +0.5 to +0.5 | better |" in text
    assert "| two | kl yamnet | 4 | +0.5 | +0.5 to +0.5 | worse |" in text


def test_bootstrap_agrees_with_the_normal_interval():
    numbers = np.random.default_rng(0).normal(2.0, 3.0, size=400)
    low, high = bootstrap_mean(numbers)
    half = 1.96 * numbers.std() / 20
    assert low == pytest.approx(numbers.mean() - half, abs=0.06)
    assert high == pytest.approx(numbers.mean() + half, abs=0.06)
    assert bootstrap_mean(numbers) == (low, high)


def test_equal_names_are_told_apart(systems):
    assert compare_records([systems[0]] * 3).names == ("one", "one (2)", "one (3)")
    second = replace(systems[0], system={**systems[0].system, "name": "one (2)"})
    names = compare_records([systems[0], systems[0], second]).names
    assert len(set(names)) == 3


def test_one_system_alone_is_refused(systems):
    with pytest.raises(InputError, match="at least 2"):
        compare_records(systems[:1])


def test_written_files(systems, tmp_path):
    comparison = compare_records(systems)
    paths = write_comparison(comparison, tmp_path / "out", shown=2)
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    page = paths[0].read_text()
    assert page.count("<audio") == 2 * 4
    assert page.count("<svg") == 4
    assert "toy &lt;list&gt;@f4285c07246f" in page
    assert '<td class="best n">15.00 [14.00 to 16.00]</td>' in page
    data = json.loads(paths[2].read_text())
    assert data["names"] == ["one", "two", "three"]
    assert data["rows"][0]["values"][2]["value"] == 15.0
    assert "**15.00 [14.00 to 16.00]**" in paths[1].read_text()
    assert comparison_page(comparison, audio_megabytes=24, shown=2) == page
    with pytest.raises(InputError, match="shown is -1"):
        write_comparison(comparison, tmp_path, shown=-1)


def test_command_line(systems, tmp_path, capsys):
    folders = [str(tmp_path / record.system["name"]) for record in systems[:2]]
    for record, folder in zip(systems, folders, strict=False):
        write_record(record, folder)
    out = tmp_path / "out"
    assert main(["evaluate", "compare", *folders, "-o", str(out), "--shown", "1"]) == 0
    assert f"wrote {out / 'comparison.html'}" in capsys.readouterr().out
    assert main(["evaluate", "compare", folders[0]]) == 2
    write_record(replace(systems[1], protocol=None), folders[1])
    assert main(["evaluate", "compare", *folders]) == 2
    assert "different protocols" in capsys.readouterr().err
