"""Optimizers and schedules of one's own."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import everything, make_collection, tiny_config
from torch import nn

from supclap import registry
from supclap.config import ModelConfig, OptimizerConfig, parse_config
from supclap.errors import InputError
from supclap.feasibility import check_run
from supclap.model.clap import build_model
from supclap.optimization import build_optimizer, learning_rate, set_learning_rate, state_of
from supclap.parts import Optimizer, Schedule, register
from supclap.storage import Folder
from supclap.training import fit

HERE = Path(__file__).name


class SignMomentum(torch.optim.Optimizer):
    """Lion (Chen et al. 2023, algorithm 2)."""

    def __init__(self, groups: Any, mix: float) -> None:
        super().__init__(groups, {"mix": mix})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                update = momentum.lerp(weight.grad, 1 - group["mix"]).sign_()
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(update, alpha=group["lr"])
                momentum.lerp_(weight.grad, 1 - group["betas"][1])


class Lion(Optimizer):
    mix: float = 0.9

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return SignMomentum(groups, self.mix)


class Root(Schedule):
    power: float = 0.5

    def share(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return float(max(1, step - self.warmup) ** -self.power)


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        register("lion")(Lion)
        register("root")(Root)
        yield


def config_of(**keys: Any) -> OptimizerConfig:
    return parse_config({"optimizer": keys}).optimizer


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_it_gets_the_groups_with_what_the_section_says_of_each() -> None:
    config = config_of(name="lion", lr=0.5, weight_decay=0.1, loss_lr=0.25, betas=[0.8, 0.9])
    weights, loss = model(), nn.ParameterList([nn.Parameter(torch.tensor(1.0))])
    groups = build_optimizer(config, weights, loss).param_groups
    assert [(g["lr"], g["weight_decay"], g["mix"]) for g in groups] == [
        (0.5, 0.1, 0.9),
        (0.5, 0.0, 0.9),
        (0.25, 0.0, 0.9),
    ]
    assert all(tuple(group["betas"]) == (0.8, 0.9) for group in groups)
    assert [[id(p) for p in group["params"]] for group in groups] == [
        [id(weights.weight)],
        [id(weights.bias)],
        [id(loss[0])],
    ]


def test_a_setting_that_it_declares_has_its_default() -> None:
    @register("warm")
    class Warm(Lion):
        lr: float = 3e-4
        betas: tuple[float, float] = (0.95, 0.98)

    config = config_of(name="warm", lr=0.2)
    assert config.own_keys == {"mix": 0.9, "lr": 0.2, "betas": (0.95, 0.98)}
    group = build_optimizer(config, model(), nn.Module()).param_groups[0]
    assert (group["lr"], group["betas"]) == (0.2, (0.95, 0.98))
    assert config_of(name="warm").lr == 3e-4
    with pytest.raises(InputError, match=r"optimizer\.lr: input should be greater than 0"):
        config_of(name="warm", lr=-1)


def test_parts_of_the_model_learn_at_shares_of_the_rate() -> None:
    values = {"audio": {"width": 8, "layers": 2}, "text": {"width": 32, "layers": 1}, "dim": 16}
    model = build_model(ModelConfig.model_validate(values), ["a dog barks"], 0.5, 0)
    config = OptimizerConfig(lr=0.1, weight_decay=0.3, lr_scale={"audio": 0.5, "head": 10})
    optimizer = build_optimizer(config, model, nn.Linear(2, 2))
    set_learning_rate(optimizer, config, step=10**6 - 1, steps_per_epoch=10**6, epochs=1)
    share = learning_rate(config, 10**6 - 1, 10**6, 1)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        side, place = name.split(".")[:2]
        expected = 1.0 if place == "head" else {"audio": 0.05, "text": 0.1}[side]
        assert of[id(parameter)]["lr"] == pytest.approx(expected * share)
        assert of[id(parameter)]["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)
    assert of[id(next(p for p in model.parameters()))]["betas"] == (0.9, 0.999)
    assert len(of) == len(list(model.parameters())) + 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"optimizer": {"lr_scale": {"audio": 0}}},
            r"optimizer\.lr_scale\.audio: .* greater than 0",
        ),
        ({"optimizer": {"lr_scale": {"heads": 1}}}, r"optimizer\.lr_scale\.heads"),
        (
            {"model": {"text": {"freeze": True}}, "optimizer": {"lr_scale": {"text": 0.1}}},
            r"optimizer\.lr_scale: has a share for text, whose encoder is frozen",
        ),
    ],
)
def test_a_share_that_nothing_can_learn_at_is_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        parse_config(values)
    assert "\n" not in str(error.value)
    parse_config({"model": {"text": {"freeze": 1}}, "optimizer": {"lr_scale": {"text": 0.1}}})


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_built_in_ones_step_as_pytorchs_do(name: str) -> None:
    config = config_of(name=name, lr=0.1, weight_decay=0.3, betas=[0.5, 0.7])
    ours, theirs = model(), model()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    expected = kind(
        [
            {"params": [theirs.weight], "weight_decay": 0.3},
            {"params": [theirs.bias], "weight_decay": 0.0},
        ],
        lr=0.1,
        betas=(0.5, 0.7),
        fused=True,
    )
    optimizer = build_optimizer(config, ours, nn.Module())
    for _ in range(3):
        for one, by in ((ours, optimizer), (theirs, expected)):
            by.zero_grad()
            one(torch.arange(6.0).view(2, 3)).square().sum().backward()
            by.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


@pytest.mark.heavy
def test_a_run_that_was_killed_goes_on_with_it_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_collection(tmp_path / "data")
    lion = {"name": "lion", "lr": 1e-3, "schedule": {"name": "root", "power": 0.3}, "mix": 0.7}
    config = tiny_config(data, optimizer=lion, checkpoint_steps=1)
    list(fit(config, Folder.at(tmp_path / "undisturbed")))
    write = Folder.write

    def killed(self: Folder, name: str, content: bytes) -> None:
        write(self, name, content)
        if name == "latest.json" and b"00000004" in content:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            list(fit(config, Folder.at(tmp_path / "run")))
    list(fit(config, Folder.at(tmp_path / "run")))
    ended = everything(Folder.at(tmp_path / "run"))
    assert ended == everything(Folder.at(tmp_path / "undisturbed"))
    adam = tiny_config(data)
    list(fit(adam, Folder.at(tmp_path / "adam")))
    assert ended["model/weights.safetensors"] != (
        Folder.at(tmp_path / "adam").read("model/weights.safetensors")
    )


def test_a_schedule_follows_the_warm_up() -> None:
    config = config_of(warmup=0.5, schedule={"name": "root", "power": 1})
    rates = [learning_rate(config, step, steps_per_epoch=4, epochs=2) for step in range(8)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert config.schedule == config_of(warmup=0.5, schedule={"name": "root", "power": 1}).schedule
    for name in ("constant", "cosine"):  # one meaning, one identity
        assert config_of(schedule={"name": name}) == config_of(schedule=name)


def given(value: Any) -> Callable[..., Any]:
    return lambda *_: value


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (given(math.nan), "share gave nan at step 5 of 10, where a finite number of 0 or more"),
        (given(-0.1), r"share gave -0\.1"),
        (given(math.inf), "share gave inf"),
        (given(None), "share gave None"),
        (given(True), "share gave True"),
        (given("1"), "share gave '1'"),
        (lambda part, step, *_: 1 / (step - 4), r"ZeroDivisionError: "),
    ],
)
def test_a_share_that_is_none_is_refused(share: Callable[..., Any], said: str) -> None:
    Root.share = share
    with pytest.raises(InputError, match=rf"{HERE}:\d+: schedule 'root': {said}"):
        learning_rate(config_of(schedule="root", warmup=0), 4, 5, 2)


@pytest.fixture(autouse=True)
def as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Root, "share", Root.share)
    monkeypatch.setattr(Lion, "build", Lion.build)


class Remembering(SignMomentum):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "history": [np.float32(1.0)]}


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (given(3), r"build gave a int, where a torch\.optim\.Optimizer is expected"),
        (
            lambda part, groups: SignMomentum(groups[:1], 0.9),
            "build gave an optimizer of 1 parameters, where the groups that it is given have 2",
        ),
        (lambda part, groups: torch.optim.SGD(groups, lr=groups["lr"]), "TypeError: list indices"),
    ],
)
def test_what_is_no_optimizer_is_refused_before_anything_starts(
    build: Callable[..., Any], said: str
) -> None:
    Lion.build = build
    with pytest.raises(InputError, match=rf"{HERE}:\d+: optimizer 'lion': {said}"):
        check_run(parse_config({"optimizer": "lion"}))


def test_a_state_that_no_checkpoint_can_hold_is_refused() -> None:
    optimizer = build_optimizer(config_of(name="lion"), model(), nn.Module())
    assert state_of(config_of(name="lion"), optimizer) == optimizer.state_dict()
    remembering = Remembering(optimizer.param_groups, 0.9)
    with pytest.raises(InputError, match=r"state_dict\(\) holds a float32 \(history\.0\), where"):
        state_of(config_of(name="lion"), remembering)
