"""AudioLCM and Make-An-Audio 2, the command line, and what can go wrong while writing."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import published_toys as toy
import pytest
import torch
from torch import Tensor

from soundleap.bundle import Bundle
from soundleap.cli.import_ import TERMINATED, ended_by_sigterm
from soundleap.cli.main import main
from soundleap.errors import BundleError, InputError
from soundleap.importers.archive import check_space
from soundleap.importers.audiolcm import sampling
from soundleap.importers.plan import Options
from soundleap.importers.run import import_model
from soundleap.pipeline import TextToAudio

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that an import may need."""
    folder = tmp_path_factory.mktemp("published")
    torch.save(toy.lightning(toy.audiolcm()[1]), folder / "audiolcm.ckpt")
    torch.save(toy.lightning(toy.maa2()[1]), folder / "maa2.ckpt")
    toy.write_vocoder(folder / "vocoder")
    toy.write_tokenizers(folder)
    return folder


@pytest.fixture
def options(files: Path) -> Callable[..., Options]:
    def make(**values: Any) -> Options:
        given: dict[str, Any] = {
            "tokenizer": str(files), "bert_tokenizer": str(files / "vocab.txt"),
            "vocoder": files / "vocoder",
        }  # fmt: skip
        return Options(**{**given, **values})

    return make


def _same(found: Any, expected: State, dtype: torch.dtype = torch.float32) -> None:
    state = found.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        wanted = value.to(dtype).float() if value.is_floating_point() else value
        assert torch.allclose(state[name], wanted, rtol=2e-7, atol=0), name


def _check(
    bundle: Bundle, parts: dict[str, State], files: Path, dtype: torch.dtype = torch.float32
) -> None:
    codec = bundle.load_codec()
    _same(codec.latent, parts["codec"], dtype)
    assert codec.latent.config.scale_factor == toy.SCALE_1D  # pyright: ignore
    published = torch.load(files / "vocoder" / "best_netG.pt")["generator"]
    weight = codec.vocoder.state_dict()["conv_pre.weight"]  # pyright: ignore
    theirs = published["conv_pre.weight_v"] / 3
    assert torch.allclose(
        weight, theirs.to(dtype).float(), rtol=1e-3 if dtype == torch.float16 else 1e-5
    )
    text = bundle.load_text()
    states = text.encode(["a dog"], ["<a dog& all>"])
    assert states.embeds.shape == (1, 154, 32)
    _same_text(text, parts["text"], dtype)
    bundle.verify()


def _same_text(text: Any, expected: State, dtype: torch.dtype) -> None:
    state = text.network.state_dict()
    for name, value in expected.items():
        assert torch.equal(state[name], value.to(dtype).float()), name


def test_audiolcm(files: Path, tmp_path: Path, options: Callable[..., Options]) -> None:
    parts, _ = toy.audiolcm()
    made = import_model(files / "audiolcm.ckpt", tmp_path / "out", options(with_teacher=True))
    _check(made, parts, files)
    _same(made.load_network("student"), parts["unet"])
    teacher = {name: x for name, x in parts["model"].items() if "proj_w" not in name}
    _same(made.load_network("teacher"), teacher)
    manifest = made.manifest
    assert (manifest.kind, manifest.licence) == ("audiolcm", "MIT AND Apache-2.0")
    assert manifest.sampling == sampling()
    sound = TextToAudio.from_pretrained(made.folder, device="cpu")("a b c", duration_in_s=0.5)
    assert sound.audios[0].shape == (1, 8000)
    assert [x["file"] for x in manifest.provenance["imported"]] == [
        "audiolcm.ckpt", "best_netG.pt", "args.yml"
    ]  # fmt: skip


def test_other_copies_and_half_precision(
    files: Path, tmp_path: Path, options: Callable[..., Options]
) -> None:
    parts, _ = toy.audiolcm()
    source = files / "audiolcm.ckpt"
    made = import_model(source, tmp_path / "out", options(which="target", dtype="float16"))
    _check(made, parts, files, torch.float16)
    _same(made.load_network("student"), parts["target_unet"], torch.float16)
    with pytest.raises(InputError, match="holds no ema network; it holds: student, target"):
        import_model(source, tmp_path / "out2", options(which="ema"))
    with pytest.raises(InputError, match="audiolcm needs no --text-encoder"):
        import_model(source, tmp_path / "out2", options(text_encoder="google/flan-t5-large"))


def test_make_an_audio_2_with_an_autoencoder_of_its_own(
    files: Path, tmp_path: Path, options: Callable[..., Options]
) -> None:
    parts, checkpoint = toy.maa2()
    without = {k: x for k, x in checkpoint.items() if not k.startswith("first_stage_model.")}
    torch.save(toy.lightning(without), tmp_path / "maa2.ckpt")
    vae = {
        **parts["codec"],
        "loss.logvar": torch.zeros(()),
        "loss.discriminator.main.0.weight": torch.ones(3),
    }
    torch.save(toy.lightning(vae), tmp_path / "epoch=000032.ckpt")
    with pytest.raises(BundleError, match="holds no autoencoder; give its file with --vae"):
        import_model(tmp_path / "maa2.ckpt", tmp_path / "out", options())
    given = options(vae=tmp_path / "epoch=000032.ckpt")
    made = import_model(tmp_path / "maa2.ckpt", tmp_path / "out", given)
    _check(made, parts, files)
    _same(made.load_network("teacher"), parts["model"])
    assert made.manifest.sampling.length_rule == "make_an_audio_2"
    assert made.manifest.networks == ("teacher",)


def test_what_a_checkpoint_lacks(
    tmp_path: Path, files: Path, options: Callable[..., Options]
) -> None:
    _, checkpoint = toy.maa2()
    path = tmp_path / "maa2.ckpt"
    for change, message in (
        ({"scale_factor": None}, "holds no scale_factor"),
        ({"scale_factor": torch.tensor(-1.0)}, "scale_factor -1, which can't be right"),
        ({"new.tensor": torch.ones(1)}, r"unexpected tensors: new\.tensor"),
        ({"model.diffusion_model.proj_in.bias": torch.ones(3)}, r"mis-shaped proj_in\.bias \(3,\)"),
    ):
        state = {k: x for k, x in {**checkpoint, **change}.items() if x is not None}
        torch.save(toy.lightning(state), path)
        with pytest.raises(BundleError, match=message):
            import_model(path, tmp_path / "out", options())
    with pytest.raises(BundleError, match="holds no vocoder; give the folder of BigVGAN"):
        import_model(files / "maa2.ckpt", tmp_path / "out", options(vocoder=None))
    (tmp_path / "args.yml").write_text("resblock: '2'")
    shutil.copy(files / "vocoder" / "best_netG.pt", tmp_path)
    with pytest.raises(BundleError, match="resblock"):
        import_model(files / "maa2.ckpt", tmp_path / "out", options(vocoder=tmp_path))
    assert not (tmp_path / "out").exists()


def test_nan_is_refused(tmp_path: Path, options: Callable[..., Options]) -> None:
    _, checkpoint = toy.maa2()
    checkpoint["model.diffusion_model.proj_in.bias"][3] = float("nan")
    torch.save(toy.lightning(checkpoint), tmp_path / "maa2.ckpt")
    with pytest.raises(BundleError, match=r"tensor proj_in\.bias holds NaN or infinity"):
        import_model(tmp_path / "maa2.ckpt", tmp_path / "out", options())
    assert [x.name for x in tmp_path.iterdir()] == ["maa2.ckpt"]


def test_the_target_must_be_free(
    files: Path, tmp_path: Path, options: Callable[..., Options]
) -> None:
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="exists and is not an empty folder"):
            import_model(files / "maa2.ckpt", target, options())
    with pytest.raises(InputError, match="does not exist; give a file, a folder or a hub id"):
        import_model(tmp_path / "none.ckpt", tmp_path / "out", options())


@pytest.mark.parametrize("part", ["vocoder", "text"])
def test_a_full_disk_leaves_nothing(
    files: Path, tmp_path: Path, options: Callable[..., Options], part: str
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    small = 300_000 if part == "vocoder" else 10_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (small, before[1]))
    try:
        with pytest.raises(BundleError, match=os.strerror(errno.EFBIG)):
            import_model(files / "maa2.ckpt", tmp_path / "out", options())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any(tmp_path.iterdir())


def test_too_little_space_is_told_beforehand(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"the bundle needs 1000000000\.00 GB at .* are free"):
        check_space(tmp_path, 10**18, "the bundle")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing(
    files: Path, tmp_path: Path, options: Callable[..., Options], number: int
) -> None:
    @contextmanager
    def watch(word: str, size: int) -> Generator[Callable[[int], None]]:
        counts: list[int] = []

        def advance(count: int) -> None:
            counts.append(count)
            if word == "writing" and sum(counts) > size // 2:
                os.kill(os.getpid(), number)

        yield advance

    ending = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(ending) as caught, ended_by_sigterm():
        import_model(files / "maa2.ckpt", tmp_path / "out", options(), watch=watch)
    assert number == signal.SIGINT or caught.value.code == TERMINATED  # pyright: ignore
    assert not any(tmp_path.iterdir())


def test_the_command(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    command = ["import", str(files / "maa2.ckpt"), out, "--tokenizer", str(files)]
    command += ["--bert-tokenizer", str(files / "vocab.txt"), "--vocoder", str(files / "vocoder")]
    assert main([*command, "--dtype", "fp16", "--name", "mine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Make-An-Audio 2: MIT")
    assert lines[-1].startswith(f"{out}: mine (version 1), teacher, ")
    assert Bundle(out).manifest.name == "mine"
    for extra, message in (
        (["--family", "tangoo"], "unknown family 'tangoo'; did you mean 'tango'?"),
        (["--family", "audioldm"], "give its checkpoint with --vae"),
        (["--dtype", "fp8"], "unknown dtype 'fp8'"),
        (["--which", "best"], "unknown which 'best'"),
        ([], "exists and is not an empty folder"),
    ):
        assert main([*command, *extra]) == 2
        assert message in capsys.readouterr().err


def test_the_licence_comes_before_any_work(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["import", str(files / "maa2.ckpt"), str(tmp_path / "out")]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "by converting you accept them" in captured.out
    assert "holds no vocoder" in captured.err
    assert not any(tmp_path.iterdir())


def _cached(cache: Path, repo: str) -> Path:
    """Make a repository's folder as the hub's cache lays it out."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "snapshots" / revision).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    return folder / "snapshots" / revision


def test_from_the_hubs_cache(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cache, out = tmp_path / "cache", str(tmp_path / "out")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repo = _cached(cache, "someone/AudioLCM")
    (repo / "useful_ckpt" / "LCM_audio").mkdir(parents=True)
    (repo / "audiolcm.ckpt").symlink_to(files / "audiolcm.ckpt")
    (repo / "useful_ckpt" / "LCM_audio" / "maa2.ckpt").symlink_to(files / "maa2.ckpt")
    shutil.copytree(files / "vocoder", repo / "useful_ckpt" / "vocoder")
    shutil.copy(files / "tokenizer.json", _cached(cache, "google/flan-t5-large"))
    assert main(["import", "someone/AudioLCM", out]) == 1
    failed = capsys.readouterr()
    assert "holds no tokenizer, and can't fetch bert-base-uncased from the hub" in failed.err
    assert "give tokenizer.json or vocab.txt with --bert-tokenizer" in failed.err
    assert "AudioLCM: MIT" in failed.out
    shutil.copy(files / "vocab.txt", _cached(cache, "bert-base-uncased"))
    assert main(["import", "someone/AudioLCM", out]) == 0
    manifest = Bundle(out).manifest
    assert (manifest.kind, manifest.name) == ("audiolcm", "audiolcm")
    assert manifest.provenance["hub"] == {"repository": "someone/AudioLCM", "revision": repo.name}
    assert main(["import", "someone/Nothing", str(tmp_path / "none")]) == 1
    assert "can't fetch someone/Nothing from the hub" in capsys.readouterr().err
