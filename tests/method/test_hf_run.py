"""A run with encoders of transformers on both sides, trained and frozen."""

from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_run import make_collection, tiny_config
from tiny_transformers import make_sound, make_text

from supclap.code import own_code
from supclap.config import parse_config
from supclap.events import Finished
from supclap.storage import Folder
from supclap.training import fit


@pytest.mark.heavy
def test_a_run_trains_one_and_keeps_the_others_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    sound, text = make_sound(tmp_path / "sound", "wav2vec2"), make_text(tmp_path / "text", "bert")
    data = make_collection(tmp_path / "data", clips=16)
    for frozen in ("audio", "text"):
        model = {
            "audio": {"name": "huggingface", "folder": str(sound), "freeze": frozen == "audio"},
            "text": {"name": "huggingface", "folder": str(text), "freeze": frozen == "text"},
            "dim": 16,
        }
        config = tiny_config(data, model=model, epochs=1)
        end = list(fit(config, Folder.at(tmp_path / "runs" / frozen)))[-1]
        assert isinstance(end, Finished)
        one = load_file(tmp_path / "runs" / frozen / "model" / "weights.safetensors")
        begun = {
            "audio": load_file(sound / "model.safetensors"),
            "text": load_file(text / "model.safetensors"),
        }
        places = {
            "audio": ("audio.encoder.encoder.", "encoder.layers.0.final_layer_norm.weight"),
            "text": (
                "text.encoder.states.encoder.",
                "encoder.layer.0.output.LayerNorm.weight",
            ),
        }
        for side, (below, name) in places.items():
            same = one[below + name].equal(begun[side][name])
            assert same == (side == frozen), (frozen, side)


def test_a_run_depends_on_the_code_of_its_own_encoders_alone() -> None:
    def modules(**model: object) -> set[str]:
        below = "supclap.model.hf"
        used = own_code().modules(parse_config({"model": model}))
        return {name for name in used if name.startswith(below)}

    listed = {"name": "huggingface", "folder": "x"}
    assert modules() == set()
    assert "supclap.model.hf.whisper" in modules(audio=listed)
    assert "supclap.model.hf.text" not in modules(audio=listed)
    assert "supclap.model.hf.audio" not in modules(text=listed)
    assert "supclap.model.hf.sentence" not in modules(text=listed)
    sentences = modules(text=listed | {"name": "sentence_transformers"})
    assert {"supclap.model.hf.sentence", "supclap.model.hf.text"} <= sentences
