"""Encoders and heads of one's own: their keys, what is saved of them, and what they may not do."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import make_collection, tiny_config
from torch import nn

import supclap
from supclap import registry
from supclap.config import ModelConfig, parse_config
from supclap.divergence import TrainingError
from supclap.errors import InputError
from supclap.feasibility import check_run
from supclap.model.clap import CLAP, build_model
from supclap.model.frozen import frozen_outputs
from supclap.model.head import MLP
from supclap.model.tokens import Tokens
from supclap.parts import AudioEncoder, Head, Source, TextEncoder, register
from supclap.storage import Folder
from supclap.training import fit

WAVES = np.random.default_rng(0).normal(0, 0.1, (3, 8000)).astype(np.float32)


class Loudness(AudioEncoder):
    """How loud each part of a clip is, louder by ``gain``, which no weight holds."""

    pieces: int = 10
    gain: float = 1.0
    width: int = 24  # the section's key, with a default of its own

    def setup(self, source: Source) -> None:
        self.layer = nn.Linear(self.pieces, self.width)

    def features(self, waveforms: torch.Tensor) -> torch.Tensor:
        pieces = (self.gain * waveforms).tensor_split(self.pieces, 1)
        return torch.stack([piece.square().mean(1) for piece in pieces], 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer((features + 1e-6).log())


class Letters(TextEncoder):
    alphabet: str = "abcdefghijklmnopqrstuvwxyz"
    width = 8

    def setup(self, source: Source) -> None:
        self.embedding = nn.Embedding(len(self.alphabet) + 1, self.width)

    def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
        return Tokens.pad([[self.alphabet.find(letter) + 1 for letter in text] for text in texts])

    def forward(self, tokens: Tokens) -> torch.Tensor:
        mask = tokens.mask.unsqueeze(-1)
        return (self.embedding(tokens.ids) * mask).sum(1) / mask.sum(1)


class Narrow(Head):
    rank: int = 4

    def setup(self, width: int, dim: int) -> None:
        self.down, self.up = nn.Linear(width, self.rank), nn.Linear(self.rank, dim)

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        return self.up(self.down(outputs))


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        register("loudness")(Loudness)
        register("letters")(Letters)
        register("narrow")(Narrow)
        yield


def config_of(audio: Any = "loudness", **more: Any) -> ModelConfig:
    values = {"audio": audio, "text": "letters", "dim": 16, **more}
    return parse_config({"model": values}).model


def model_of(audio: Any = "loudness", **more: Any) -> Any:
    return build_model(config_of(audio, **more), ["a dog barks"], 0.5, seed=0)


def test_their_keys_are_saved_with_the_model_and_come_back(tmp_path: Path) -> None:
    head = {"name": "narrow", "rank": 3}
    model = model_of({"name": "loudness", "pieces": 7, "gain": 2.0, "head": head})
    assert model.audio.encoder.layer.weight.shape == (24, 7)
    assert model.audio.head.up.weight.shape == (16, 3)
    model.save(tmp_path / "m")
    opened: Any = supclap.load(tmp_path / "m")
    assert (opened.audio.encoder.pieces, opened.audio.encoder.gain) == (7, 2.0)
    assert (opened.encode_audio(WAVES) == model.encode_audio(WAVES)).all()
    assert (opened.encode_text(["dog"]) == model.encode_text(["dog"])).all()


def test_a_key_of_the_sections_name_is_the_sections_key() -> None:
    """``width`` has the class's default and type; what it does not declare it does not see."""
    assert config_of().audio.width == 24
    assert model_of({"name": "loudness", "width": 5}).audio.encoder.layer.weight.shape == (5, 10)
    section = config_of({"name": "loudness", "width": "7", "layers": 2}).audio
    assert section.own_keys == {"pieces": 10, "gain": 1.0, "width": 7}
    with pytest.raises(InputError, match=r"model\.audio\.width: input should be a valid integer"):
        config_of({"name": "loudness", "width": 2.5})

    @register("frozen")
    class Frozen(AudioEncoder):
        freeze: bool = True  # the section's own business

    with pytest.raises(InputError, match="calls a key of its own 'freeze'"):
        config_of("frozen")


def test_a_key_may_mean_what_it_likes_when_a_saved_model_is_opened(tmp_path: Path) -> None:
    """One layer used many times: more `layers` than a folder's weights have tensors."""

    @register("again")
    class Again(Loudness):
        layers: int = 500

    model_of("again").save(tmp_path / "m")
    assert supclap.load(tmp_path / "m").config.audio.layers == 500


def test_equal_seeds_give_equal_weights_and_the_paper_s_head_is_the_default() -> None:
    state, again = model_of().state_dict(), model_of().state_dict()
    assert all((state[name] == again[name]).all() for name in state)
    heads = [name for name in state if name.startswith("audio.head.")]
    assert heads == [f"audio.head.{at}.{what}" for at in (0, 2) for what in ("weight", "bias")]
    named = model_of({"name": "loudness", "head": "mlp"})
    assert isinstance(named.audio.head, MLP)
    assert named.config == model_of().config  # one meaning, one identity


def outputs_of(model: CLAP) -> np.ndarray:
    waves = torch.from_numpy(WAVES)
    return np.array(frozen_outputs(model.audio, "data", 3, lambda rows: waves[list(rows)]))


def test_kept_outputs_are_those_of_the_keys_and_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))

    def frozen(gain: float, name: str = "loudness") -> CLAP:
        model: CLAP = model_of({"name": name, "gain": gain, "freeze": True})
        return model

    for gain in (1.0, 3.0):  # equal weights, other keys
        model = frozen(gain)
        direct = model.audio.outputs(torch.from_numpy(WAVES)).detach().numpy()
        assert outputs_of(model) == pytest.approx(direct, abs=1e-6)

    source = re.search(r"class Loudness.*?\n\n\n", Path(__file__).read_text(), re.DOTALL)
    assert source is not None
    top = "import torch\nfrom torch import nn\nfrom supclap.parts import AudioEncoder, Source\n"
    for power, factor in (("square()", 1.0), ("abs()", 0.0)):  # equal weights and keys, other code
        file = tmp_path / "mine.py"
        file.write_text(top + source[0].replace("square()", power))
        spec = importlib.util.spec_from_file_location("mine", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(importlib.import_module("sys").modules, "mine", module)
        spec.loader.exec_module(module)
        with registry.forgotten():
            registry.add("audio encoder", f"mine{power}", module.Loudness)
            model = frozen(1.0, f"mine{power}")
            direct = model.audio.outputs(torch.from_numpy(WAVES)).detach().numpy()
            assert outputs_of(model) == pytest.approx(direct, abs=1e-6)
            assert (outputs_of(model) == outputs_of(frozen(1.0))).all() == bool(factor)


class Broken(Loudness):
    how: str

    def setup(self, source: Source) -> None:
        super().setup(source)
        if self.how == "no width":
            self.width = None

    def features(self, waveforms: torch.Tensor) -> torch.Tensor:
        found = super().features(waveforms)
        if self.how == "deaf":
            return found * torch.nan
        return found[1:] if self.how == "rows" else found

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.how == "raises":
            raise KeyError("lost")
        found = super().forward(features)
        other: dict[str, Any] = {
            "list": found.tolist(),
            "nan": found * torch.nan,
            "wide": found[:, 1:],
            "whole": found.long(),
        }
        return other.get(self.how, found)


HERE = re.escape(Path(__file__).name)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("rows", rf"{HERE}:\d+: audio encoder '\w+': features gave a tensor \(2, 10\), where a "),
        ("raises", rf"{HERE}:\d+: audio encoder '\w+': KeyError: 'lost'"),
        ("list", r"forward gave a list, where a tensor \(3, 24\) of floats is expected"),
        ("wide", r"forward gave a tensor \(3, 23\), where a tensor \(3, 24\)"),
        ("whole", r"forward gave a tensor of torch.int64"),
        ("no width", r"setup left self.width at None, where an int is expected"),
    ],
)
def test_a_mistake_is_one_line_of_the_own_file(how: str, said: str) -> None:
    register("broken")(Broken)
    with pytest.raises(InputError, match=said):
        model_of({"name": "broken", "how": how}).encode_audio(WAVES)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([[1]], "tokenize gave a list"),
        (Tokens.pad([[1]]), r"tokenize gave ids \(1, 1\)"),
        (Tokens(torch.ones(2, 1), torch.ones(2, 1).bool()), r"of torch\.float32"),
        (Tokens(torch.ones(2, 1).long(), torch.ones(2, 1)), r"gave a mask \(2, 1\) of torch\.fl"),
        (Tokens(torch.ones(2, 1).long(), torch.zeros(2, 1).bool()), "no token for text 0"),
    ],
)
def test_tokens_are_held_to_their_form(tokens: Any, said: str) -> None:
    @register("other")
    class Other(Letters):
        def tokenize(self, texts: list[str], languages: list[str]) -> Tokens:
            return tokens

    with pytest.raises(InputError, match=rf"{HERE}:\d+: text encoder '\w+': .*{said}"):
        model_of(text="other").encode_text(["a", "b"])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"audio": {"name": "broken", "how": "nan"}}, "likely audio encoder 'broken': gives what"),
        ({"audio": {"name": "broken", "how": "deaf"}}, "audio encoder 'broken': its features of t"),
        ({"text": {"head": "log"}}, "likely head 'log': gives what is not finite, from weights"),
    ],
)
def test_one_that_gives_nan_is_named(tmp_path: Path, model: dict[str, Any], said: str) -> None:
    register("broken")(Broken)

    @register("log")
    class Log(Narrow):
        def forward(self, outputs: torch.Tensor) -> torch.Tensor:
            return super().forward(outputs).clamp(max=-1).log()

    config = tiny_config(
        make_collection(tmp_path / "data"),
        **{f"model__{side}": section for side, section in model.items()},
    )
    with pytest.raises(TrainingError, match=rf"step 1: loss or gradient is not finite; .*{said}"):
        list(fit(config, Folder.at(tmp_path / "run")))


def test_a_head_of_another_width_is_refused_before_anything_starts() -> None:
    @register("short")
    class Short(Narrow):
        def forward(self, outputs: torch.Tensor) -> torch.Tensor:
            return super().forward(outputs)[:, 1:]

    config = parse_config({"model": {"audio": {"head": "short"}, "dim": 32}})
    with pytest.raises(InputError, match=r"head '\w+': forward gave a tensor \(2, 31\), where a "):
        check_run(config)
    with pytest.raises(InputError, match=r"head '\w+': forward gave a tensor \(3, 31\)"):
        build_model(config.model, ["a dog"], 0.5, 0).encode_audio(WAVES)
