from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from soundleap.errors import InputError
from soundleap.evaluation.protocols import load_protocol
from soundleap.evaluation.protocols.lists import ListRow, read_list
from soundleap.evaluation.protocols.published import NOT_IN_882, PUBLISHED


def tube_id(number: int) -> str:
    return f"Y-_{number:08d}"


def names(count: int) -> list[str]:
    """Ids like those of TANGO's list: the four that tell it apart are among them."""
    return [*NOT_IN_882, *(tube_id(i) for i in range(count - 4))]


def write_tango(path, ids):
    rows = (
        {"dataset": "audiocaps", "location": f"some/where/{name}_30.wav", "captions": f"c {name}"}
        for name in ids
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_formats_give_the_same_rows(tmp_path):
    name = tube_id(1)
    csv = tmp_path / "a.csv"
    csv.write_text(f'audiocap_id,youtube_id,start_time,caption\n7,{name},30,"Rain, then\n wind"\n')
    tsv = tmp_path / "a.tsv"
    tsv.write_text(f"\ufeffid\tcaption\nY{name}\tRain, then wind\n")
    lines = tmp_path / "a.json"
    row = {"location": f"C:\\sounds\\{name}_30.wav", "captions": "Rain, then wind"}
    lines.write_text("\n" + json.dumps(row) + "\n")
    for path in (csv, tsv, lines):
        assert read_list(path) == [ListRow(name, "Rain, then wind")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needed: one of"),
        ("youtube_id,words\nx,y\n", "columns youtube_id, words; needed: one of caption"),
        ("id\tcaption\nshort\tx\n", "row 2: 'short' holds no YouTube id"),
        ("id,caption\nabcdefghijk,\n", "row 2: needed are an id and one sentence"),
        ("id,caption\nabcdefghijk\n", "1 faulty rows"),
        ("id,caption\n", "no rows"),
        ('{"location": "abcdefghijk", "captions": ["x"]}\nnonsense', "2 faulty rows"),
    ],
)
def test_faulty_lists_are_refused(tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_list(path)


def test_882_is_886_less_four(tmp_path):
    tango = write_tango(tmp_path / "tango.json", names(886))
    shorter = write_tango(tmp_path / "ctta.json", names(886)[:3:-1])
    longer = load_protocol("audiocaps-886", list_file=tango)
    one = load_protocol("audiocaps-882", list_file=tango)
    two = load_protocol("audiocaps-882", list_file=shorter)
    assert one.hash == two.hash  # whatever the order of the file
    assert set(longer.ids) - set(one.ids) == set(NOT_IN_882)
    assert (len(longer.ids), len(one.ids)) == (886, 882)
    assert one.captions[tube_id(5)] == f"c {tube_id(5)}"
    assert one.resolve(f"{tube_id(5)}_30") == tube_id(5)
    assert longer.hash != one.hash


def test_lists_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "list.json"
    write_tango(path, names(885))
    with pytest.raises(InputError, match=r"885 clips in 885 rows; needed: 886 .*declare-lab"):
        load_protocol("audiocaps-886", list_file=path)
    write_tango(path, [tube_id(i) for i in range(886)])
    with pytest.raises(InputError, match="lacks '3IScngdQA4I'"):
        load_protocol("audiocaps-886", list_file=path)
    write_tango(path, names(882))
    with pytest.raises(InputError, match="has '3IScngdQA4I', which ConsistencyTTA"):
        load_protocol("audiocaps-882", list_file=path)
    with pytest.raises(InputError, match="give --list"):
        load_protocol("audiocaps-957")
    with pytest.raises(InputError, match="can't read the list"):
        load_protocol("audiocaps-957", list_file=tmp_path / "nowhere")


def test_one_caption_lists(tmp_path):
    path = tmp_path / "list.tsv"
    rows = [f"Y{tube_id(i)}\tsound {i}" for i in range(957)]
    path.write_text("\n".join(["id\tcaption", *rows]) + "\n")
    assert len(load_protocol("audiocaps-957", list_file=path).ids) == 957
    path.write_text("\n".join(["id\tcaption", *rows[:-1], rows[0]]) + "\n")
    with pytest.raises(InputError, match="1 clips have another number of captions"):
        load_protocol("audiocaps-957", list_file=path)


def test_five_captions_share_a_reference(tmp_path):
    path = tmp_path / "test.csv"
    rows = [f"{i}{k},{tube_id(i)},30,sound {i} {k}" for k in range(5) for i in range(975)]
    path.write_text("\n".join(["audiocap_id,youtube_id,start_time,caption", *rows]) + "\n")
    protocol = load_protocol("audiocaps-975x5", list_file=path)
    assert len(protocol.ids) == 4875
    assert len(set(protocol.references.values())) == 975
    assert protocol.captions[f"{tube_id(3)}-c2"] == "sound 3 1"
    path.write_text("\n".join(["audiocap_id,youtube_id,start_time,caption", *rows[:-1]]) + "\n")
    with pytest.raises(InputError, match="first 'Y-_00000974'"):
        load_protocol("audiocaps-975x5", list_file=path)


def test_published_lists_tell_which_file_they_need():
    assert set(PUBLISHED) == {
        *("audiocaps-882", "audiocaps-886", "audiocaps-957", "audiocaps-975x5", "musiccaps")
    }
    assert all(entry.file and entry.clips for entry in PUBLISHED.values())


def write_sounds(folder, *ids):
    for name in ids:
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(8000), 16000)


def test_folder_with_text_files(tmp_path):
    write_sounds(tmp_path, "b", "in/a")
    assert load_protocol(tmp_path).captions == {}
    (tmp_path / "b.txt").write_text("a dog\n barks\n")
    with pytest.raises(InputError, match="1 of 2 sounds have no caption"):
        load_protocol(tmp_path)
    (tmp_path / "in" / "a.txt").write_text("rain")
    protocol = load_protocol(str(tmp_path))
    assert protocol.captions == {"b": "a dog barks", "in/a": "rain"}
    assert protocol.seconds_of("b") == 0.5
    (tmp_path / "in" / "a.txt").write_text(" ")
    with pytest.raises(InputError, match=r"a\.txt is empty"):
        load_protocol(tmp_path)


def test_folder_with_manifest_and_with_protocol(tmp_path):
    write_sounds(tmp_path, "x", "y")
    rows = [
        {"file": "x.wav", "captions": ["one", "two"], "label": "dog"},
        {"file": "y.wav", "id": "why", "prompt": "three", "start": 0.1, "seconds": 0.3},
        {"file": "y.wav", "start": 0.25},
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    protocol = load_protocol(tmp_path)
    assert protocol.ids == ("x", "why", "y#0.25")
    assert protocol.captions == {"x": "one", "why": "three"}
    assert protocol.labels == {"x": "dog"}
    assert [clip.seconds for clip in protocol.clips] == [0.5, 0.3, 0.25]
    protocol.with_embedders(["clap"]).save(tmp_path / "protocol.json")
    assert load_protocol(tmp_path).embedders == ("clap",)
    (tmp_path / "protocol.json").unlink()
    manifest.write_text('{"file": "nowhere.wav"}\n[]\n')
    with pytest.raises(InputError, match="2 faults: line 1: can't read"):
        load_protocol(tmp_path)


def test_a_moved_folder_keeps_its_hash(tmp_path):
    for place in ("one", "two"):
        write_sounds(tmp_path / place, "x", "y")
    one, two = (load_protocol(tmp_path / place) for place in ("one", "two"))
    assert one.name != two.name
    assert one.hash == two.hash
    (tmp_path / "three").mkdir()
    with pytest.raises(InputError, match="holds no"):
        load_protocol(tmp_path / "three")
