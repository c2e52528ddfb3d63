"""What is refused before training: against really building the parts, and key by key."""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import make_ced, make_sonar

from supclap import registry
from supclap.batches import Batches
from supclap.bounds import CAPTIONS, LEAST_VOCABULARY, split_sizes
from supclap.config import RunConfig, parse_config
from supclap.data.clips import Caption, Clip, write_split
from supclap.errors import InputError, SettingError
from supclap.feasibility import check_data, check_run
from supclap.losses import build_loss
from supclap.model.clap import build_model
from supclap.model.registry import audio_encoder
from supclap.model.tokenizer import CaptionTokenizer

WORDS = ["a dog barks", "rain falls on a roof", "a bell rings twice"]


def really(config: RunConfig, workers: int) -> bool:
    """Whether model, loss and batches of a configuration can be made, by making them."""
    sizes = split_sizes(config.data.clips)
    clips = [
        [Caption("words", language) for language in ("eng", "fra") for _ in range(count)]
        for count in [CAPTIONS[config.data.train]] * sizes[config.data.train]
    ]
    data = config.data
    try:
        build_model(config.model, WORDS, data.seconds or 2.0, seed=0)
        build_loss(config.loss, config.batch_size)
        Batches(
            clips, data.languages, config.batch_size, 0, pairs=data.pairs, limit=data.limit,
            noise=data.noise, multilingual=config.loss.multilingual,
        )  # fmt: skip
    except ValueError:  # of which InputError is one
        return False
    return config.batch_size >= workers


def accepted(config: RunConfig, workers: int) -> bool:
    try:
        check_run(config, workers)
    except SettingError:
        return False
    return True


def drawn(chance: random.Random) -> dict[str, Any]:
    def one(*values: Any) -> Any:
        return chance.choice(values)

    return {
        "data": {
            "clips": one(8, 30), "train": one("train", "train", "val", "pretrain"),
            "pairs": one("one", "all"), "limit": one(None, None, 7, 20),
            "noise": one(0.0, 0.0, 0.05, 0.2), "languages": one(["eng"], ["eng", "fra"]),
        },
        "model": {
            "audio": {"name": one("cnn", "transformer"), "width": one(8, 12, 16, 32, 48),
                      "layers": one(1, 2, 4, 5)},
            "text": {"width": one(16, 32, 40, 64), "layers": 1, "vocabulary": one(257, 258, 300)},
            "dim": 8,
        },
        "loss": {"name": one("infonce", "siglip"), "temperature": one(None, 0.005, 0.07, 11.0),
                 "learn_temperature": one(None, True, False)},
        "batch_size": one(2, 8, 16, 31),
    }  # fmt: skip


@pytest.mark.heavy
def test_it_refuses_what_cannot_be_built_and_nothing_else() -> None:
    chance = random.Random(0)
    count = {True: 0, False: 0}
    for _ in range(250):
        values = drawn(chance)
        if chance.random() < 0.7:  # one draw in three is whole by itself: most are mended first
            values["model"]["audio"]["width"], values["model"]["text"]["width"] = 32, 32
            values["model"]["text"]["vocabulary"] = 300
            values["model"]["audio"]["layers"] = 2
        config, workers = parse_config(values), chance.choice([1, 1, 1, 3])
        found = accepted(config, workers)
        assert found == really(config, workers), (values, workers)
        count[found] += 1
    assert min(count.values()) > 40


def test_a_trained_tokenizer_needs_as_many_tokens_as_are_said() -> None:
    with pytest.raises(SettingError):
        CaptionTokenizer.train(WORDS, LEAST_VOCABULARY - 1)
    assert CaptionTokenizer.train(WORDS, LEAST_VOCABULARY).vocabulary == LEAST_VOCABULARY


@pytest.mark.parametrize(
    ("values", "key", "told"),
    [
        ({"model": {"audio": {"width": 4}}}, "model.audio.width", "4 is no multiple of 8 (cnn)"),
        ({"model": {"audio": {"layers": 5}}}, "model.audio.layers", "at most 4"),
        ({"model": {"audio": {"name": "transformer", "width": 16}}}, "model.audio.width", "32 (tr"),
        ({"model": {"text": {"width": 16}}}, "model.text.width", "16 is no multiple of 32"),
        ({"model": {"text": {"vocabulary": 200}}}, "model.text.vocabulary", "at least 258"),
        ({"data": {"seconds": 0.5}}, "data.seconds", "0.5 is too short for a scene"),
        ({"data": {"train": "trian"}}, "data.train", "no split 'trian'; did you mean 'train'?"),
        ({"data": {"val": "valid"}}, "data.val", "no split 'valid'; did you mean 'val'?"),
        ({"data": {"test": "events"}}, "data.test", "'events' have no captions"),
        ({"batch_size": 5000}, "batch_size", "5000 is more than data.clips, 4000"),
        ({"data": {"limit": 9}}, "batch_size", "128 is more than data.limit, 9"),
        ({"data": {"train": "val", "clips": 10}}, "batch_size", "the clips of split 'val', 5"),
        ({"data": {"noise": 0.01, "clips": 130}}, "data.noise", "0.01 of 130 clips is 1"),
        ({"data": {"noise": 0.01, "limit": 130}}, "data.noise", "0.01 of 130 clips is 1"),
        (
            {"loss": {"learn_temperature": True, "temperature": 0.005}},
            "loss.temperature",
            "stays within 0.01 and 10",
        ),
        ({"loss": {"name": "siglip", "temperature": 20}}, "loss.temperature", "20 cannot be"),
        ({"also": {"x": {"split": "tset"}}}, "also.x.split", "did you mean 'test'?"),
        (
            {"also": {"x": {"data": {"name": "soundscenes", "seconds": 0.3}}}},
            "also.x.data.seconds",
            "too short for a scene",
        ),
    ],
)
def test_a_mistake_names_its_setting(values: dict[str, Any], key: str, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        check_run(parse_config(values))
    assert caught.value.key == key
    assert told in str(caught.value)


def test_more_workers_than_pairs_are_refused() -> None:
    with pytest.raises(SettingError, match="batch_size: 2 is too few for 3 workers"):
        check_run(RunConfig(batch_size=2), workers=3)


def collection(folder: Path, **splits: list[list[str]]) -> Path:
    """A collection whose splits hold clips with captions in these languages."""
    for split, clips in splits.items():
        rows = [
            Clip(str(i), np.ones(100, np.int16), tuple(Caption(f"{i}", one) for one in spoken))
            for i, spoken in enumerate(clips)
        ]
        write_split(folder, "made", split, rows)
    return folder


@pytest.mark.parametrize(
    ("changes", "key", "told"),
    [
        ({"data.train": "trian"}, "data.train", "no split 'trian'"),
        ({"data.test": "tset"}, "data.test", "no split 'tset'; did you mean 'test'?"),
        ({"data.folder": "/nowhere/at/all"}, "data.folder", "not a prepared collection"),
        ({"batch_size": 9}, "batch_size", "there are only 8 pairs with a caption in eng"),
        ({"data.languages": ["fra"], "batch_size": 4}, "batch_size", "only 3 pairs"),
        ({"data.languages": ["deu"]}, "data.languages", "only 0 pairs"),
        ({"loss.multilingual": "kcl", "data.languages": ["eng", "fra"]}, "batch_size", "only 3"),
        ({"data.val": "spanish"}, "data.languages", "split 'spanish': no clip has a caption in"),
        ({"data.languages": ["eng", "fra"], "select.metric": "fra.t2a.R@1"}, "select.metric", "no"),
        ({"data.noise": 0.1}, "data.noise", "0.1 of 8 clips is 1"),
        ({"also": {"x": {"split": "tset"}}}, "also.x", "no split 'tset'"),
        ({"also": {"x": {"split": "spanish"}}}, "also.x", "nothing to measure on split 'spanish'"),
    ],
)
def test_what_a_collection_does_not_hold_is_refused(
    tmp_path: Path, changes: dict[str, Any], key: str, told: str
) -> None:
    folder = collection(
        tmp_path / "c",
        train=[["eng"]] * 5 + [["eng", "fra"]] * 3,
        val=[["eng"]] * 4,
        test=[["eng", "fra"]] * 4,
        spanish=[["spa"]] * 4,
    )
    from supclap.overrides import override

    base = {"data": {"name": "collection", "folder": str(folder)}, "batch_size": 8}
    check_data(parse_config(base))
    with pytest.raises(SettingError) as caught:
        check_data(parse_config(override(base, changes)))
    assert caught.value.key == key
    assert told in str(caught.value)


@pytest.mark.heavy
@pytest.mark.parametrize("side", ["audio", "text"])
def test_a_pretrained_encoder_is_tried_without_its_numbers(tmp_path: Path, side: str) -> None:
    make, name = {"audio": (make_ced, "ced"), "text": (make_sonar, "sonar")}[side]
    good, other = make(tmp_path / "good"), make(tmp_path / "other")
    described = json.loads((other / "config.json").read_text())
    size = "embed_dim" if side == "audio" else "d_model"
    (other / "config.json").write_text(json.dumps(described | {size: 2 * described[size]}))
    check_data(parse_config({"model": {side: {"name": name, "folder": str(good)}}}))
    with pytest.raises(SettingError, match="is not the model that") as caught:
        check_data(parse_config({"model": {side: {"name": name, "folder": str(other)}}}))
    assert caught.value.key == f"model.{side}.folder"


def test_a_model_to_start_from_has_the_shapes_that_are_asked_for(tmp_path: Path) -> None:
    small = {"audio": {"width": 8, "layers": 1}, "text": {"width": 32, "layers": 1}, "dim": 8}
    model = build_model(parse_config({"model": small}).model, WORDS, 2.0, seed=0)
    model.save(tmp_path / "model")
    start = {"start": str(tmp_path / "model")}
    check_data(parse_config({"model": small | start}))
    with pytest.raises(SettingError, match="has dim 8, the configuration asks for 16") as caught:
        check_data(parse_config({"model": small | start | {"dim": 16}}))
    assert caught.value.key == "model.start"
    with pytest.raises(SettingError, match="not a model folder") as caught:
        check_data(parse_config({"model": small | {"start": str(tmp_path)}}))
    assert caught.value.key == "model.start"


@pytest.fixture
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        yield


def test_an_own_encoder_is_built_once_on_no_device_and_its_word_counts(own_parts: None) -> None:
    built = []

    @audio_encoder("picky")
    class Picky(torch.nn.Module):
        def __init__(self, config: Any, source: Any) -> None:
            super().__init__()
            if config.width % 7:
                raise InputError(f"model.audio.width: {config.width} is no multiple of 7 (picky)")
            self.width = config.width
            self.layer = torch.nn.Linear(10**6, 10**6)  # 4 TB, were it real
            built.append(self.layer.weight.device.type)

    check_run(parse_config({"model": {"audio": {"name": "picky", "width": 14}}}))
    assert built == ["meta"]
    with pytest.raises(InputError, match="15 is no multiple of 7"):
        check_run(parse_config({"model": {"audio": {"name": "picky", "width": 15}}}))


def test_names_of_any_length_and_kind_are_one_line() -> None:
    for name in ("n" * 300, "a/" + "é" * 200, "x\0y", "", " ", "/" * 5000):
        for key in ("data.folder", "model.start", "model.audio.folder", "data.events"):
            section, last = key.rsplit(".", 1)
            values: dict[str, Any] = {last: name}
            for part in reversed(section.split(".")):
                values = {part: values}
            with pytest.raises(InputError) as caught:
                parse_config(values)
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 400


@pytest.mark.heavy
def test_pytorch_is_imported_only_where_it_must() -> None:
    import subprocess

    code = (
        "import sys\nfrom supclap.config import RunConfig\nfrom supclap.feasibility import *\n"
        "check_run(RunConfig()); check_data(RunConfig())\n"
        "print(*sorted({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
