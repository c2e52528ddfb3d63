"""Encoders that `torch.compile` has translated: the same numbers, in training steps alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from supclap.config import ModelConfig, parse_config
from supclap.errors import InputError
from supclap.later_keys import identity_of
from supclap.losses.accumulation import backward_in_chunks
from supclap.losses.output import LossOutput
from supclap.model.clap import CLAP, build_model

CAPTIONS = ["a dog barks", "rain falls softly", "a bell rings in the rain", "wind"]


def model_of(compiled: bool = False, **audio: Any) -> CLAP:
    values = {
        "audio": {"name": "transformer", "width": 32, "layers": 1} | audio,
        "text": {"width": 32, "layers": 1, "vocabulary": 300},
        "dim": 8,
        "dropout": 0.3,
    }
    model = build_model(ModelConfig.model_validate(values), CAPTIONS, 0.5, 0).train()
    if compiled:
        model.audio.compile_encoder()
        model.text.compile_encoder()
    return model


def step(model: CLAP, chunks: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """A sum of products and its gradients; dropout's masks are those of a seed."""
    waves = torch.randn(4, 8000, generator=torch.Generator().manual_seed(7)) / 10
    tokens = model.text.tokenize(CAPTIONS)

    def products(audio: Tensor, text: Tensor) -> LossOutput:
        return LossOutput((audio @ text.T).square().sum(), {}, {})

    def encode(rows: slice) -> tuple[Tensor, Tensor]:
        torch.manual_seed(rows.start)
        pair: tuple[Tensor, Tensor] = model(waves[rows], tokens[rows])
        return pair

    if chunks:
        value = backward_in_chunks(encode, [slice(0, 2), slice(2, 4)], products).total
    else:
        value = products(*encode(slice(0, 4))).total
        value.backward()
    return value, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def check_equal(model: CLAP, chunks: bool = False) -> None:
    value, gradients = step(model, chunks)
    expected, of_plain = step(model_of(), chunks)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    assert gradients.keys() == of_plain.keys()  # and so are the names that a checkpoint has
    for name, gradient in of_plain.items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5 * largest)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which encoders were called as they are translated; what translates takes no compiler."""
    found: list[str] = []
    plain = torch.compile

    def translating(forward: Any, options: dict[str, bool]) -> Callable[[Any], Any]:
        made = plain(forward, backend="aot_eager")

        def call(given: Any) -> Any:
            found.append(type(forward.__self__).__name__)
            return made(given)

        return call

    monkeypatch.setattr(torch, "compile", translating)
    return found


@pytest.mark.heavy
def test_a_step_has_the_same_gradients_and_a_measurement_is_not_translated(
    calls: list[str],
) -> None:
    model = model_of(compiled=True)
    check_equal(model)
    assert calls == ["AudioTransformer", "TextTransformer"]
    assert (model.encode_text(CAPTIONS) == as_it_is(model)).all()
    assert len(calls) == 2
    check_equal(model_of(compiled=True), chunks=True)
    assert len(calls) == 2 + 2 * 4  # twice for each of two chunks
    frozen = model_of(compiled=True, freeze=True)
    step(frozen)
    assert calls[10:] == ["TextTransformer"]


def as_it_is(model: CLAP) -> Any:
    plain = model_of()
    plain.load_state_dict(model.state_dict())
    return plain.encode_text(CAPTIONS)


@pytest.mark.heavy
@pytest.mark.long
def test_translated_for_this_machine_a_step_has_the_same_gradients() -> None:
    check_equal(model_of(compiled=True))
    check_equal(model_of(compiled=True), chunks=True)


@pytest.mark.heavy
def test_what_cannot_be_translated_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fails(given: Any) -> Tensor:
        raise TorchDynamoException("no compiler\nis here")

    monkeypatch.setattr(torch, "compile", lambda forward, options: fails)
    with pytest.raises(InputError, match=r"^compile: .*no compiler") as error:
        step(model_of(compiled=True))
    assert "\n" not in str(error.value)


def test_it_is_part_of_a_run_and_of_no_earlier_one() -> None:
    assert "compile" not in identity_of(parse_config({}))
    assert identity_of(parse_config({"compile": True}))["compile"] is True
