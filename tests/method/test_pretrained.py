"""Encoders from a folder: a run with both, their model folder, and folders that cannot be used."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import DAMAGES, in_time
from safetensors.torch import load_file
from tiny_encoders import SENTENCES, make_ced, make_sonar
from tiny_run import make_collection, tiny_config

import supclap
from supclap.config import ModelConfig, parse_config
from supclap.config.pretrained import PRETRAINED
from supclap.errors import InputError
from supclap.events import Finished
from supclap.model.clap import build_model
from supclap.model.registry import AudioEncoder, TextEncoder
from supclap.storage import Folder
from supclap.training import fit


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("pretrained")
    return make_ced(place / "ced"), make_sonar(place / "sonar")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def both(folders: tuple[Path, Path], **more: Any) -> dict[str, Any]:
    ced, sonar = folders
    return {
        "audio": {"name": "ced", "folder": str(ced), **more},
        "text": {"name": "sonar", "folder": str(sonar), **more},
        "dim": 16,
    }


def model_of(folders: tuple[Path, Path], **more: Any) -> Any:  # encoders with their own parts
    return build_model(ModelConfig.model_validate(both(folders, **more)), [], 0.5, seed=0)


def sounds(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (count, 8000)).astype(np.float32)


@pytest.mark.heavy
@pytest.mark.parametrize("side", ["ced", "sonar"])
def test_a_damaged_folder_is_one_line(
    side: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    place = dict(zip(("ced", "sonar"), folders, strict=True))
    whole = place[side]
    names = [name for name in PRETRAINED[side] if (whole / name).is_file()]
    for number, (name, damage) in enumerate((n, d) for n in names for d in DAMAGES):
        place[side] = shutil.copytree(whole, tmp_path / str(number))
        DAMAGES[damage](place[side] / name)
        line = fault_of((place["ced"], place["sonar"]))
        if line is None:  # a weight or a word of somebody else's: no hash tells
            assert damage.startswith("bit"), (name, damage)
            continue
        assert name in line, (damage, line)
        assert str(place[side]) in line
        assert "\n" not in line
        assert len(line) < 900


def fault_of(folders: tuple[Path, Path]) -> str | None:
    try:
        with in_time(60):
            model_of(folders)
    except InputError as error:
        return str(error)
    return None


def test_they_fulfil_the_protocols_and_begin_with_the_folders_weights(
    folders: tuple[Path, Path],
) -> None:
    model = model_of(folders)
    assert isinstance(model.audio.encoder, AudioEncoder)
    assert isinstance(model.text.encoder, TextEncoder)
    theirs = load_file(folders[0] / "model.safetensors")
    encoders: Any = model.audio.encoder, model.text.encoder
    assert encoders[0].time_pos_embed.equal(theirs["encoder.time_pos_embed"])
    theirs = load_file(folders[1] / "model.safetensors")
    assert encoders[1].encoder.embed_tokens.weight.equal(theirs["embed_tokens.weight"])


def test_a_saved_model_opens_without_the_folders_it_began_with(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in folders]
    model = model_of(copies)
    languages = ["eng", "fra", "deu", "jpn", "zho", "eng", "deu", "eng"]
    before = model.encode_audio(sounds()), model.encode_text(SENTENCES, languages)
    model.save(tmp_path / "m")
    for copy in copies:
        shutil.rmtree(copy)
    opened = supclap.load(tmp_path / "m")
    assert (opened.encode_audio(sounds()) == before[0]).all()
    assert (opened.encode_text(SENTENCES, languages) == before[1]).all()
    # Where the folders lay is no part of the model, nor of what another run starts from.
    assert opened.content_hash() == model_of(folders).content_hash()
    again = ModelConfig.model_validate(both(folders) | {"start": str(tmp_path / "m")})
    started = build_model(again, [], 0.5, seed=9)
    assert (started.encode_audio(sounds()) == before[0]).all()


@pytest.mark.heavy
@pytest.mark.parametrize("freeze", [False, True])
def test_a_run_trains_them_or_keeps_their_outputs(
    folders: tuple[Path, Path], tmp_path: Path, cache: Path, freeze: bool
) -> None:
    data = make_collection(tmp_path / "data", clips=16)
    config = tiny_config(
        data,
        model=both(folders, freeze=freeze),
        data__languages=["eng", "deu"],
        epochs=1,  # two steps
    )
    *_, finished = fit(config, Folder.at(tmp_path / "run"))
    assert isinstance(finished, Finished)
    metrics = {name: v for name, v in finished.metrics.items() if "R@" in name}
    assert metrics
    trained = supclap.load(tmp_path / "run" / "model")
    fresh = model_of(folders)
    for side in ("audio", "text"):
        before, after = (getattr(m, side).encoder.state_dict() for m in (fresh, trained))
        same = [before[name].equal(after[name]) for name in before]
        assert all(same) if freeze else not all(same)
    assert any(cache.rglob("outputs.arrow")) == freeze
    again = list(fit(config, Folder.at(tmp_path / "again")))[-1]
    assert metrics == {name: again.metrics[name] for name in metrics}
    one, same = (
        load_file(tmp_path / f / "model" / "weights.safetensors") for f in ("run", "again")
    )
    assert all(one[name].equal(same[name]) for name in one)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"audio": "ced"}, r"model\.audio: ced needs 'folder'"),
        ({"text": {"name": "sonar"}}, r"model\.text: sonar needs 'folder'"),
        (
            {"audio": {"folder": "x"}},
            r"model\.audio: 'folder' goes with .* not with cnn",
        ),
        ({"text": {"folder": "x"}}, r"model\.text: 'folder' goes with .* not with transformer"),
        (
            {"audio": {"name": "ced", "foldre": "x"}},
            r"'model\.audio\.foldre'; did you mean",
        ),
    ],
)
def test_a_folder_goes_with_a_pretrained_encoder_only(model: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_config({"model": model})
    assert "\n" not in str(caught.value)


def test_sizes_of_the_base_are_set_aside_where_a_folder_sets_them() -> None:
    audio, text = {"name": "ced", "folder": "x"}, {"name": "sonar", "folder": "y"}
    sized = {"audio": audio | {"width": 16, "layers": 2}, "text": text | {"vocabulary": 300}}
    assert parse_config({"model": sized}) == parse_config({"model": {"audio": audio, "text": text}})


SIDES = [("audio", 0, "config.json"), ("audio", 0, "model.safetensors")]
SIDES += [("text", 1, name) for name in ("config.json", "model.safetensors", "tokenizer.json")]


@pytest.mark.parametrize(("side", "number", "name"), SIDES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "a pickle instead"])
def test_a_damaged_folder_is_refused_in_one_line(
    folders: tuple[Path, Path], tmp_path: Path, side: str, number: int, name: str, damage: str
) -> None:
    copies = list(folders)
    copies[number] = shutil.copytree(folders[number], tmp_path / "copy")
    path = copies[number] / name
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        if damage == "a pickle instead":
            (copies[number] / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
        model_of(copies)
    assert str(copies[number]) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [0, 1])
def test_a_folder_that_is_not_there(
    folders: tuple[Path, Path], tmp_path: Path, number: int
) -> None:
    copies = list(folders)
    copies[number] = tmp_path / "nowhere"
    key = ("audio", "text")[number]
    with pytest.raises(InputError, match=rf"^model\.{key}\.folder: .*nowhere is not a folder$"):
        model_of(copies)


def test_each_others_folders_are_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="type 'm2m_100', expected 'ced'"):
        model_of(folders[::-1])
