import gzip
import io
import json
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundleap.data.corpora.archives import (
    read_clonk_group,
    read_members,
    read_sound_catalogue,
)
from soundleap.data.corpora.download import DownloadError, download
from soundleap.data.corpora.facts import ClipFacts, read_facts, write_facts
from soundleap.data.corpora.processing import Cut, cut_clip, read_original, trim
from soundleap.data.corpora.sources import ARCHIVES, Archive
from soundleap.data.fetch import fetch_corpus
from soundleap.data.prepare import prepare_corpus, read_metadata
from soundleap.errors import AudioFileError, InputError

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"


def sound(
    seconds: float = 0.5, rate: int = 44_100, level: float = 0.5, offset: float = 0.0
) -> bytes:
    buffer = io.BytesIO()
    tone = offset + level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(buffer, tone, rate, format="WAV")
    return buffer.getvalue()


def tar_gz(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def debian_package(path: Path, files: dict[str, bytes]) -> Path:
    data = tar_gz(path.with_suffix(".tmp"), {f"./{k}": v for k, v in files.items()}).read_bytes()
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": b"odd", "data.tar.gz": data}
    content = b"!<arch>\n"
    for name, body in parts.items():
        content += f"{name:16}{'0':12}{'0':6}{'0':6}{'644':8}{len(body):<10}`\n".encode()
        content += body + b"\n" * (len(body) % 2)
    path.write_bytes(content)
    return path


def clonk_group(files: dict[str, bytes | dict]) -> bytes:
    header = bytearray(
        struct.pack("<28s3i", b"RedWolf Design GrpFolder", 1, 2, len(files)).ljust(204, b"\0")
    )
    for i in range(0, 202, 3):
        header[i], header[i + 2] = header[i + 2], header[i]
    table, bodies = b"", b""
    for name, content in files.items():
        body = clonk_group(content) if isinstance(content, dict) else content
        is_group = isinstance(content, dict)
        table += struct.pack("<260s5i36x", name.encode(), 0, is_group, len(body), 0, len(bodies))
        bodies += body
    return bytes(byte ^ 237 for byte in header) + table + bodies


def packed_group(files: dict[str, bytes | dict]) -> bytes:
    return b"\x1e\x8c" + gzip.compress(clonk_group(files))[2:]


def catalogue(sounds: list[bytes]) -> bytes:
    table, bodies, start = b"", b"", 8 * len(sounds)
    for content in sounds:
        offset = (start + len(bodies)) | 0x80000000
        table += struct.pack("<2I", offset, len(content))
        bodies += b"\x05title" + content + b"\x04name"
    return table + bodies


def clip(clip_id: str, source: str, path: str, seconds: float = 0.5, **more) -> ClipFacts:
    facts = ClipFacts(
        clip_id,
        source,
        path,
        "stem",
        "words",
        "",
        "Ann",
        "CC0-1.0",
        "CC0",
        "https://x.org",
        seconds,
        None,
    )
    return replace(facts, **more)


def archive_at(path: Path, *sources: str, **more) -> Archive:
    return Archive(path.name, sources, (path.as_uri(),), "CC0-1.0", **more)


def fetch(out: Path, archives: list[Archive], facts: list[ClipFacts], **more):
    return fetch_corpus(out, archives=archives, facts=facts, progress=False, **more)


def test_every_layout_gives_its_clips(tmp_path: Path):
    git = tar_gz(
        tmp_path / "git.tar.gz",
        {"repo-1/berklee/a.wav": sound(), "repo-1/salamander/b.wav": sound(), "repo-1/x.py": b""},
    )
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as wheel:
        wheel.writestr("pack/animals/cat.wav", sound())
    group = packed_group({"Fire.ocg": {"Blast.wav": sound()}, "ding.wav": sound(0.25)})
    clonk = debian_package(tmp_path / "clonk.deb", {"usr/share/Sound.ocg": group})
    cat = debian_package(tmp_path / "cat.deb", {"usr/opensfx.cat": catalogue([b"", sound()])})
    archives = [
        archive_at(git, "berklee", "salamander"),
        archive_at(tmp_path / "w.whl", "ovos", strip=0),
        archive_at(clonk, "openclonk", layout="clonk group", container="/Sound.ocg"),
        archive_at(cat, "opensfx", layout="sound catalogue", container="/opensfx.cat"),
    ]
    facts = [
        clip("berklee-a", "berklee", "berklee/a.wav"),
        clip("salamander-b", "salamander", "salamander/b.wav"),
        clip("ovos-cat", "ovos", "pack/animals/cat.wav"),
        clip("openclonk-blast", "openclonk", "Sound.ocg/Fire.ocg/Blast.wav"),
        clip("openclonk-ding", "openclonk", "Sound.ocg/ding.wav", 0.25),
        clip("opensfx-1", "opensfx", "opensfx.cat#1"),
    ]
    report = fetch(tmp_path / "out", archives, facts)
    assert (report.written, report.left_out, report.failed) == (6, {}, {})
    rows = read_metadata(tmp_path / "out" / "metadata.jsonl")
    for row, fact in zip(rows, facts, strict=True):
        info = soundfile.info(tmp_path / "out" / row["file"])
        assert (info.samplerate, info.channels, info.format) == (16_000, 1, "FLAC")
        assert info.duration == pytest.approx(fact.seconds, abs=0.01)
    again = fetch(tmp_path / "out", archives, facts)
    assert (again.written, again.kept) == (0, 6)


def test_result_can_be_prepared(tmp_path: Path):
    path = tar_gz(tmp_path / "a.tgz", {"r/a.wav": sound()})
    facts = [clip("yard-a", "yard", "a.wav", author="Žofie", title='say "hi"')]
    fetch(tmp_path / "out", [archive_at(path, "yard")], facts)
    (tmp_path / "t.tsv").write_text("source\tstem\tkind\tcaptions\nyard\tstem\tevent\ta tone\n")
    report = prepare_corpus(
        tmp_path / "out", tmp_path / "out", captions=tmp_path / "t.tsv", progress=False
    )
    assert (report.clips, report.skipped) == (1, {})


def test_only_the_chosen_sources(tmp_path: Path):
    git = tar_gz(tmp_path / "git.tgz", {"r/a.wav": sound(), "r/b.wav": sound()})
    facts = [clip("one-a", "one", "a.wav"), clip("two-b", "two", "b.wav")]
    archives = [archive_at(git, "one", "two")]
    assert fetch(tmp_path / "out", archives, facts, sources=["one"]).written == 1
    with pytest.raises(InputError, match="unknown source 'tow'; did you mean 'two'"):
        fetch(tmp_path / "out", archives, facts, sources=["tow"])
    assert fetch(tmp_path / "out", archives, facts).written == 1
    assert len(read_metadata(tmp_path / "out" / "metadata.jsonl")) == 2


def test_clips_that_do_not_agree_are_left_out_by_name(tmp_path: Path):
    path = tar_gz(tmp_path / "a.tgz", {"r/long.wav": sound(2.0), "r/junk.wav": b"junk"})
    facts = [
        clip("y-long", "y", "long.wav", 0.5),
        clip("y-junk", "y", "junk.wav"),
        clip("y-gone", "y", "gone.wav"),
        clip("y-late", "y", "long.wav", 0.5, excerpt_start=30.0),
        clip("y-part", "y", "long.wav", 0.5, excerpt_start=1.0),
    ]
    report = fetch(tmp_path / "out", [archive_at(path, "y")], facts)
    assert report.written == 1
    assert "2.000 s long instead of 0.500 s" in report.left_out["y-long"]
    assert "can't be decoded" in report.left_out["y-junk"]
    assert report.left_out["y-gone"] == "gone.wav is not in a.tgz"
    assert "ends before 30 s" in report.left_out["y-late"]
    assert [p.name for p in (tmp_path / "out" / "audio" / "y").iterdir()] == ["y-part.flac"]


def test_checksums_are_locked_then_compared(tmp_path: Path):
    path = tar_gz(tmp_path / "a.tgz", {"r/a.wav": sound(), "r/b.wav": sound()})
    archive, facts = archive_at(path, "y"), [clip("y-a", "y", "a.wav")]
    out = tmp_path / "out"
    fetch(out, [archive], facts)
    assert list(json.loads((out / "checksums.json").read_text())) == ["a.tgz"]
    tar_gz(out / "downloads" / "a.tgz", {"r/b.wav": sound(0.4)})
    facts.append(clip("y-b", "y", "b.wav"))
    report = fetch(out, [archive], facts)
    assert "delete it to download it again" in report.failed["a.tgz"]
    (out / "downloads" / "a.tgz").unlink()
    assert fetch(out, [archive], facts).written == 1


def test_known_checksum_is_enforced_on_the_first_fetch(tmp_path: Path):
    path = tar_gz(tmp_path / "a.tgz", {"r/a.wav": sound()})
    report = fetch(
        tmp_path / "out", [archive_at(path, "y", sha256="0" * 64)], [clip("y-a", "y", "a.wav")]
    )
    assert "expected 0000" in report.failed["a.tgz"]
    assert not (tmp_path / "out" / "audio").exists()


def test_failed_archives_stop_no_others_and_leave_no_lock(tmp_path: Path):
    good = tar_gz(tmp_path / "good.tgz", {"r/a.wav": sound()})
    (tmp_path / "bad.tgz").write_bytes(good.read_bytes()[:300])
    archives = [
        archive_at(tmp_path / "bad.tgz", "bad"),
        archive_at(tmp_path / "none.tgz", "none"),
        replace(archive_at(good, "good"), urls=((tmp_path / "no").as_uri(), good.as_uri())),
    ]
    facts = [clip(f"{name}-a", name, "a.wav") for name in ("bad", "none", "good")]
    report = fetch(tmp_path / "out", archives, facts)
    assert (report.written, set(report.failed)) == (1, {"bad.tgz", "none.tgz"})
    assert list(json.loads((tmp_path / "out" / "checksums.json").read_text())) == ["good.tgz"]


def test_archives_can_write_nowhere(tmp_path: Path):
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        for name, link in (("r/a.wav", "/etc/passwd"), ("r/b.wav", "../../x")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
        escape = tarfile.TarInfo("../escaped.wav")
        escape.size = 3
        archive.addfile(escape, io.BytesIO(b"abc"))
    before = set(tmp_path.parent.rglob("*"))
    found = list(read_members(tmp_path / "evil.tar", lambda name: True))
    assert found == [("../escaped.wav", b"abc")]
    assert set(tmp_path.parent.rglob("*")) == before


def test_size_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tar_gz(tmp_path / "a.tgz", {"r/a.wav": b"x" * 100})
    with pytest.raises(DownloadError, match="allowed: 10"):
        download(path.as_uri(), tmp_path / "b", max_bytes=10, progress=False)
    assert not (tmp_path / "b").exists()
    monkeypatch.setattr("soundleap.data.corpora.archives.MAX_MEMBER_BYTES", 99)
    with pytest.raises(InputError, match="is 100 bytes; allowed: 99"):
        list(read_members(path, lambda name: True))


@pytest.mark.parametrize("cut", [0, 100, 203, 300, 600, 900])
def test_damaged_containers_are_errors(cut: int):
    content = clonk_group({"a.wav": b"abc" * 100, "b.ocg": {"c.wav": b"x" * 90}})
    with pytest.raises(InputError):
        list(read_clonk_group(content[:cut], "S.ocg"))
    whole = catalogue([b"x" * 50, b"y" * 50])
    with pytest.raises(InputError):
        list(read_sound_catalogue(whole[: min(cut, 75) // 10], "s.cat"))


@pytest.fixture
def server() -> Iterator[tuple[str, dict]]:
    """A server that breaks off each answer after `limit` bytes and understands ranges."""
    state = {"content": bytes(range(256)) * 40, "etag": '"1"', "limit": 4000, "ranges": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content, asked = state["content"], self.headers.get("Range")
            state["ranges"].append(asked)
            same = asked and self.headers["If-Range"] == state["etag"]
            start = int(asked[6:-1]) if same else 0
            self.send_response(206 if same else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", state["etag"])
            self.end_headers()
            self.wfile.write(content[start : start + state["limit"]])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/x", state
        running.shutdown()
        thread.join()


def test_download_resumes(tmp_path: Path, server: tuple[str, dict]):
    url, state = server
    for _ in range(2):
        with pytest.raises(DownloadError, match="10240"):
            download(url, tmp_path / "x", max_bytes=20_000, progress=False)
        assert not (tmp_path / "x").exists()
    download(url, tmp_path / "x", max_bytes=20_000, progress=False)
    assert (tmp_path / "x").read_bytes() == state["content"]
    assert state["ranges"] == [None, "bytes=4000-", "bytes=8000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_download_starts_anew_when_the_file_changed(tmp_path: Path, server: tuple[str, dict]):
    url, state = server
    with pytest.raises(DownloadError):
        download(url, tmp_path / "x", max_bytes=20_000, progress=False)
    state.update(content=b"new", etag='"2"')
    download(url, tmp_path / "x", max_bytes=20_000, progress=False)
    assert (tmp_path / "x").read_bytes() == b"new"


def test_download_refuses_other_schemes_and_names_errors(tmp_path: Path):
    with pytest.raises(InputError, match="https, http, file"):
        download("ftp://example.org/x", tmp_path / "x", max_bytes=9)
    with pytest.raises(DownloadError, match=r"none\.txt"):
        download((tmp_path / "none.txt").as_uri(), tmp_path / "x", max_bytes=9, progress=False)


def test_processing_closed_forms():
    edge = np.zeros(16_000, np.float32)
    edge[8000] = 0.5
    assert len(trim(edge)) == 641
    assert len(trim(edge[7900:8100])) == 200
    with pytest.raises(AudioFileError, match="silent"):
        trim(np.full(100, 9e-4, np.float32))
    centred = read_original(sound(1.0, 16_000, offset=0.1))
    assert abs(centred.mean()) < 1e-4
    loud = np.full(20 * 16_000, 2.0, np.float32)
    assert len(cut_clip(loud, Cut(None, 20.0))) == 12 * 16_000
    assert cut_clip(loud, Cut(None, 1.0)).max() == 1.0
    assert cut_clip(loud / 8, Cut(3.0, 10.0)).max() == 0.25


def test_mp3_with_a_tag_of_wrong_length():
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.5 * np.sin(np.arange(16_000) * 0.2), 16_000, format="MP3")
    broken = b"ID3\x03\0\0\0\0\0\0" + b"\0" * 11 + b"Info" + buffer.getvalue()
    assert len(read_original(broken)) == pytest.approx(16_000, abs=2000)


def test_facts_round_trip_and_sources_cover_them(tmp_path: Path):
    facts = read_facts()
    assert {clip.source for clip in facts} == {name for a in ARCHIVES for name in a.sources}
    assert all(clip.licence_url.startswith("https://creativecommons.org/") for clip in facts)
    write_facts((vars(clip) for clip in facts), tmp_path / "facts")
    assert read_facts(tmp_path / "facts") == facts


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the sound corpus is not beside the checkout")
def test_facts_agree_with_the_corpus():
    rows = {row["id"]: row for row in read_metadata(CORPUS / "metadata.jsonl")}
    facts = read_facts()
    assert [clip.id for clip in facts] == list(rows)
    for fact in facts:
        row = rows[fact.id]
        for key in ("source_path", "author", "licence", "licence_url", "seconds", "excerpt_start"):
            assert getattr(fact, key) == row[key]
