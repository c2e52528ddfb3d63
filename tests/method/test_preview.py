"""What is known of a run before any step of it, against the run itself and against counting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import make_collection, tiny_config

from supclap import registry
from supclap.config import parse_config
from supclap.data.published import named_in, pairs_of
from supclap.losses import build_loss
from supclap.model.clap import build_model
from supclap.optimization import build_optimizer
from supclap.parts import Optimizer, register
from supclap.preview import preview
from supclap.standing_in import WORDS


@pytest.mark.heavy
def test_sizes_are_those_of_the_model_and_the_optimizer_after_a_step(tmp_path: Path) -> None:
    config = tiny_config(make_collection(tmp_path / "data"), model__text__freeze=True)
    found = preview(config)
    model = build_model(config.model, WORDS, 0.5, 0)
    loss = build_loss(config.loss, config.batch_size)
    optimizer = build_optimizer(config.optimizer, model, loss)
    numbers = [p.numel() for p in model.parameters()]
    learned = [p for part in (model, loss) for p in part.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = sum(v.nbytes for one in optimizer.state.values() for v in one.values())
    buffers = sum(b.nbytes for part in (model, loss) for b in part.buffers())
    weights = sum(p.nbytes for part in (model, loss) for p in part.parameters())
    gradients = sum(p.grad.nbytes for p in learned)
    takes = found.footprint
    assert found.parameters == sum(numbers)
    assert found.learned == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 0 < found.learned < found.parameters
    assert takes.fixed * 1e6 == pytest.approx(weights + buffers + gradients + state)
    assert takes.checkpoint * 1e6 == pytest.approx(gradients + state)
    assert takes.model * 1e6 == pytest.approx(sum(v.nbytes for v in model.state_dict().values()))
    assert takes.memory == 0.0  # of a step, which nobody has made
    # 32 numbers of each caption: 24 pairs, 12 of val and 24 of test and the other recorder.
    assert takes.kept * 1e6 == 4 * 32 * (24 + 12 + 24)
    assert (found.steps, found.assumed, found.unknown) == (24 // config.batch_size, (), ())


# Of CED-Base before its blocks: 64 bands, patches of 16 x 16, positions of 63 columns and 4 rows.
BEFORE = 2 * 64 + 16 * 16 * 768 + 768 + (63 + 4) * 768


def numbers_of_ced_base() -> int:
    """Counted from its description: 12 blocks 768 wide, each with a perceptron four times as wide,
    and a norm."""
    wide, inner = 768, 4 * 768
    block = 2 * 2 * wide + (wide * 3 * wide + 3 * wide) + (wide * wide + wide)
    block += (wide * inner + inner) + (inner * wide + wide)
    return BEFORE + 12 * block + 2 * wide


def numbers_of_sonar() -> int:
    """NLLB's encoder: 256,206 tokens, 24 layers 1,024 wide with a perceptron of 8,192."""
    wide, inner = 1024, 8192
    layer = 4 * (wide * wide + wide) + 2 * 2 * wide
    layer += (wide * inner + inner) + (inner * wide + wide)
    return 256_206 * wide + 24 * layer + 2 * wide


@pytest.mark.heavy  # transformers is imported: five seconds
def test_the_papers_encoders_need_not_be_here_nor_its_data() -> None:
    values: dict[str, Any] = {
        "data": {"name": "collection", "folder": "${SUPCLAP_AUDIOCAPS}"},
        "model": {
            "audio": {"name": "ced", "folder": "/nowhere/ced"},
            "text": {"name": "sonar", "folder": "${SUPCLAP_SONAR}"},
            "dim": 1024,
        },
        "batch_size": 24,
    }
    found = preview(parse_config(values))
    heads = sum(w * 1024 + 1024 + 1024 * 1024 + 1024 for w in (768, 1024))
    assert found.parameters == numbers_of_ced_base() + numbers_of_sonar() + heads
    assert found.steps == 49_838 // 24  # of the paper
    assert found.footprint.fixed == pytest.approx(4 * 4 * found.parameters / 1e6, rel=0.01)
    assert found.unknown == ()
    assert found.assumed == (
        "ced of the size of mispeech/ced-base",
        "sonar of the size of cointegrated/SONAR_200_text_encoder",
        "the 49,838 clips of AudioCaps 1.0",
    )
    values["model"]["audio"]["freeze"] = 6
    frozen = preview(parse_config(values))
    assert frozen.parameters == found.parameters
    # Six of twelve blocks, and what lies before them: all but the last norm and the other six.
    still = (numbers_of_ced_base() - BEFORE - 2 * 768) // 2 + BEFORE
    assert found.learned - frozen.learned == still
    values["model"]["text"]["freeze"] = True
    kept = preview(parse_config(values)).footprint.kept
    # 1,024 numbers of a caption: one of each training clip, five of those of val and test.
    assert kept * 1e6 == 4 * 1024 * (49_838 + 2_475 + 4_875)


@pytest.mark.heavy
def test_what_cannot_be_known_says_why(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "mine")
    found = preview(config)
    assert found.steps is None
    assert found.parameters > 0  # the model is made without data
    (reason,) = found.unknown
    assert reason.startswith("steps of an epoch (")
    assert "mine" in reason
    encoder = {"name": "huggingface", "folder": str(tmp_path / "bert")}
    both = preview(
        config.model_copy(update={"model": parse_config({"model": {"text": encoder}}).model})
    )
    assert (both.parameters, both.footprint.fixed) == (0, 0.0)
    assert [one.split(" (")[0] for one in both.unknown] == [
        "steps of an epoch",
        "sizes of the model",
    ]

    class Looking(Optimizer):
        def build(self, groups: list) -> torch.optim.Optimizer:
            raise RuntimeError("no numbers")

    with registry.forgotten():
        register("looking")(Looking)
        named = tiny_config(make_collection(tmp_path / "data"), optimizer__name="looking")
        odd = preview(named)
    assert odd.unknown == ("the state of the optimizer looking",)
    assert odd.parameters == found.parameters
    assert odd.footprint.fixed == 0.0


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("${SUPCLAP_AUDIOCAPS}", "audiocaps"),
        ("data/clotho", "clotho"),
        ("${SUPCLAP_US8K}", "urbansound8k"),
        ("data/mine", None),
        ("clotho/audiocaps-v2", "audiocaps"),
    ],
)
def test_a_collection_is_known_by_the_name_of_its_place(place: str, name: str | None) -> None:
    assert named_in(place) == name


def test_clips_and_captions_are_the_published_ones() -> None:
    # AudioCaps' README, and Clotho 2.1's: five captions a clip but in AudioCaps' train split.
    assert pairs_of("audiocaps") == (
        "AudioCaps 1.0",
        {"train": (49_838, 49_838), "val": (495, 2_475), "test": (975, 4_875)},
    )
    assert pairs_of("clotho") == (
        "Clotho 2.1",
        {"train": (3_839, 19_195), "val": (1_045, 5_225), "test": (1_045, 5_225)},
    )
    assert pairs_of("esc50") is None
