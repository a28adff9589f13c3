import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from soundleap.cli.data import app
from soundleap.data.manifest import read_manifest, validate_manifest
from soundleap.data.prepare import prepare_corpus, read_metadata
from soundleap.data.splits import Origin, choose_heldout, group_recordings
from soundleap.errors import InputError

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
TABLE = """source\tstem\tkind\tcaptions
yard\tdog\tvoice\ta dog barks | barking
yard\tbang\tevent\ta bang
yard\thum\tdrop\tunclear
esc10\train\tambience\train
"""


def meta(clip_id: str, source: str, stem: str, **more: Any) -> dict[str, Any]:
    return {
        "id": clip_id,
        "file": f"audio/{source}/{clip_id}.flac",
        "source": source,
        "stem": stem,
        "label_words": "rain" if source == "esc10" else stem,
        "title": None,
        "author": "Ann",
        "licence": "CC0-1.0",
        "licence_url": "https://creativecommons.org/publicdomain/zero/1.0/",
        "source_url": "https://example.org/",
        **more,
    }


def write_corpus(folder: Path, rows: list[dict[str, Any]]) -> Path:
    for number, row in enumerate(rows):
        path = folder / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(np.arange(1600 + 160 * number) * 0.1)
        soundfile.write(path, tone, 16_000)
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "captions.tsv").write_text(TABLE, encoding="utf-8")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [meta(f"yard-dog{n}", "yard", "dog", title="Dog\there") for n in range(3)]
    rows += [meta("yard-bang", "yard", "bang"), meta("yard-hum", "yard", "hum")]
    rows += [meta(f"esc10-{n}-a", "esc10", f"1-{n}") for n in range(8)]
    return write_corpus(tmp_path / "corpus", rows)


def prepare(corpus: Path, out: Path, **options: Any):
    return prepare_corpus(corpus, out, captions=corpus / "captions.tsv", progress=False, **options)


def test_manifest_of_a_small_corpus(corpus: Path, tmp_path: Path):
    report = prepare(corpus, tmp_path / "out")
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "out" / "manifest.jsonl")}
    assert validate_manifest(tmp_path / "out" / "manifest.jsonl", check_audio=True) == []
    assert clips["yard-dog1"].captions == ("a dog barks", "barking")
    assert clips["yard-dog1"].seconds == pytest.approx(0.11)
    assert "yard-hum" not in clips
    assert report.dropped == {"yard/hum": "unclear"}
    assert (report.clips, report.dropped_clips, report.skipped) == (12, 1, {})
    assert report.by_source["esc10"] == {"train": 6, "heldout": 2}
    assert report.placed == {"hardlink": 12}
    saved = json.loads((tmp_path / "out" / "report.json").read_text())
    assert saved["by_source"] == report.by_source


def test_attribution_has_one_clean_line_per_clip(corpus: Path, tmp_path: Path):
    prepare(corpus, tmp_path / "out")
    lines = (tmp_path / "out" / "ATTRIBUTION.tsv").read_text().splitlines()
    assert len(lines) == 13
    assert {line.count("\t") for line in lines} == {6}
    assert lines[1].split("\t")[:4] == ["yard-dog0", "yard", "Dog here", "Ann"]


def test_in_place_adds_only_the_three_files(corpus: Path):
    before = set(corpus.rglob("*"))
    report = prepare(corpus, corpus)
    assert report.placed == {"in place": 12}
    added = {path.name for path in set(corpus.rglob("*")) - before}
    assert added == {"manifest.jsonl", "report.json", "ATTRIBUTION.tsv"}


@pytest.mark.parametrize("link", ["hardlink", "copy", "symlink"])
def test_links_and_repeating(corpus: Path, tmp_path: Path, link: Any):
    out = tmp_path / "out"
    assert prepare(corpus, out, link=link).placed == {link: 12}
    first = (out / "manifest.jsonl").read_bytes()
    prepare(corpus, out, link=link)
    assert (out / "manifest.jsonl").read_bytes() == first
    path = out / "audio" / "yard" / "yard-bang.flac"
    assert path.is_symlink() == (link == "symlink")
    assert path.samefile(corpus / "audio" / "yard" / "yard-bang.flac") == (link != "copy")
    assert not list(out.rglob("*.partial"))


def test_damaged_clips_are_named_and_counted(corpus: Path, tmp_path: Path):
    audio = corpus / "audio" / "yard"
    (audio / "yard-dog0.flac").write_bytes(b"fLaC nonsense")
    (audio / "yard-dog1.flac").unlink()
    soundfile.write(audio / "yard-bang.flac", np.zeros(800), 16_000)
    report = prepare(corpus, tmp_path / "out")
    assert list(report.skipped) == ["yard-dog0", "yard-dog1", "yard-bang"]
    assert "silence" in report.skipped["yard-bang"]
    assert report.clips == 9


def test_a_stem_without_captions_is_an_error_before_any_work(corpus: Path, tmp_path: Path):
    (corpus / "captions.tsv").write_text(TABLE.replace("bang\tevent", "thud\tevent"))
    with pytest.raises(InputError, match="1 stems have no row in the captions table: yard bang"):
        prepare(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_options(corpus: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"heldout_share is 0\.9; allowed: 0 to 0\.5"):
        prepare(corpus, tmp_path, heldout_share=0.9)
    with pytest.raises(InputError, match="did you mean 'hardlink'"):
        prepare(corpus, tmp_path, link="hardlnk")
    with pytest.raises(InputError, match="must hold metadata"):
        prepare_corpus(tmp_path, tmp_path)


def test_metadata_faults_are_listed(tmp_path: Path):
    good, path = meta("a", "yard", "dog"), tmp_path / "metadata.jsonl"
    bad = [{**good, "id": "b", "file": "../x"}, good, {**good, "author": None}, [1]]
    path.write_text("\n".join(map(json.dumps, [good, *bad])) + "\n?")
    with pytest.raises(InputError, match="has 5 faults") as error:
        read_metadata(path)
    for words in ("line 2: '../x' leads out", "line 3: id 'a' twice", "line 4: no author"):
        assert words in str(error.value)


def origins(source: str, count: int, takes: int = 2) -> list[Origin]:
    return [
        Origin(f"{source}-{n}-{take}", source, f"{source}{n}", "x", "https://example.org/")
        for n in range(count)
        for take in range(takes)
    ]


def test_split_is_by_recording_and_near_its_share():
    clips = origins("yard", 1000)
    heldout = choose_heldout(clips, heldout_share=0.1, seed=0)
    assert 150 < len(heldout) < 250
    assert all((f"yard-{n}-0" in heldout) == (f"yard-{n}-1" in heldout) for n in range(1000))
    assert heldout != choose_heldout(clips, heldout_share=0.1, seed=1)
    assert choose_heldout(clips, heldout_share=0.0, seed=0) == set()


def test_adding_a_source_moves_no_clip():
    few, more = origins("yard", 300), origins("attic", 300)
    alone = choose_heldout(few, heldout_share=0.1, seed=0)
    together = choose_heldout(more + few, heldout_share=0.1, seed=0)
    assert {clip for clip in together if clip.startswith("yard")} == alone


def test_one_upload_is_one_recording_across_sources():
    page = "https://freesound.org/people/ann/sounds/77/"
    clips = [
        Origin("a", "esc10", "1-77", "rain", ""),
        Origin("b", "yard", "rain", "rain", page),
        Origin("c", "yard", "rain", "rain", "https://example.org/"),
        Origin("d", "attic", "drip", "drip", "http://www.freesound.org/s/77/"),
        Origin("e", "attic", "drop", "drop", "http://www.freesound.org/s/78/"),
    ]
    groups = {name: [clip.id for clip in found] for name, found in group_recordings(clips).items()}
    assert groups == {"attic/drip": ["a", "b", "c", "d"], "attic/drop": ["e"]}


def test_a_quarter_of_each_esc10_class():
    clips = [
        Origin(
            f"{label}-{n}-{take}",
            "esc10",
            f"1-{label}{n}",
            label,
            f"http://freesound.org/s/{k}{n}/",
        )
        for k, label in enumerate(("rain", "dog"), start=1)
        for n in range(16)
        for take in range(2)
    ]
    heldout = choose_heldout(clips, heldout_share=0.01, seed=3)
    for label in ("rain", "dog"):
        assert sum(clip_id.startswith(label) for clip_id in heldout) == 8


def test_command_line(corpus: Path, tmp_path: Path):
    arguments = ["prepare", str(corpus), str(tmp_path / "out"), "--captions"]
    result = CliRunner().invoke(app, [*arguments, str(corpus / "captions.tsv")])
    assert result.exit_code == 0
    assert "12 clips" in result.output
    manifest = tmp_path / "out" / "manifest.jsonl"
    assert CliRunner().invoke(app, ["validate", str(manifest), "--audio"]).exit_code == 0
    manifest.write_text("?\n")
    result = CliRunner().invoke(app, ["validate", str(manifest)])
    assert (result.exit_code, "line 1: not JSON" in result.output) == (1, True)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the sound corpus is not beside the checkout")
def test_real_corpus(tmp_path: Path):
    rows = [row for row in read_metadata(CORPUS / "metadata.jsonl") if row["source"] == "ovos"]
    part = tmp_path / "part"
    for row in rows:
        (part / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        (part / row["file"]).symlink_to(CORPUS / row["file"])
    (part / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = prepare_corpus(part, tmp_path / "out", link="copy", progress=False)
    assert (report.clips, report.skipped) == (9, {})
    clips = {clip.id: clip for clip in read_manifest(tmp_path / "out" / "manifest.jsonl")}
    for row in rows:
        assert clips[row["id"]].seconds == pytest.approx(row["seconds"], abs=0.001)
    assert validate_manifest(tmp_path / "out" / "manifest.jsonl", check_audio=True) == []
