"""The loop: what it reports, what it selects, and what stops it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import everything, make_collection, tiny_config

import supclap
from supclap.batches import Batches
from supclap.config import RunConfig, SelectConfig
from supclap.data.clips import Caption, Collection, write_split
from supclap.errors import InputError
from supclap.evaluation.collection import encode_clips, evaluate_retrieval, evaluate_zero_shot
from supclap.events import EpochEnded, Event, Finished, Started, from_line, to_line
from supclap.inputs import Inputs
from supclap.losses import build_loss
from supclap.measurement import _encode_kept
from supclap.model.clap import CLAP, build_model
from supclap.optimization import learning_rate
from supclap.sets import classifiable
from supclap.storage import Folder
from supclap.training import Progress, TrainingError, fit
from supclap.workers import Value, Workers

pytestmark = pytest.mark.usefixtures("same_code")


def epochs_of(events: Iterable[Event]) -> list[EpochEnded]:
    return [event for event in events if isinstance(event, EpochEnded)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return supclap.load(folder / "model").state_dict()


def test_events_of_another_version_are_read_as_far_as_they_are_known() -> None:
    epoch = EpochEnded(2, 20, 1.5, {"train.loss": float("inf"), "val.t2a.R@1": 2.0})
    assert from_line(to_line(epoch)) == epoch
    later = json.loads(to_line(epoch)) | {"mood": "of a later version"}
    assert from_line(json.dumps(later)) == epoch


@pytest.mark.heavy
def test_a_run_tells_its_story_in_order(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data)
    events = list(fit(config, Folder.at(tmp_path)))
    assert [type(event) for event in events] == [Started, EpochEnded, EpochEnded, Finished]
    started, first, _, finished = events
    assert isinstance(started, Started)
    assert isinstance(first, EpochEnded)
    assert isinstance(finished, Finished)
    assert (started.steps_per_epoch, started.clips, started.step) == (3, 24, 0)
    assert started.made_with["torch"] == torch.__version__
    assert started.made_with["device"].startswith("CPU, ")
    names = {"train.loss", "train.base", "train.svr", "train.constraint", "drift_cosine.text"}
    names |= {
        "drift_cosine.audio",
        "radius.text.mean",
        "radius.audio.std",
        "val.t2a.R@1",
        "val.a2t.mAP10",
    }
    assert names <= first.metrics.keys()
    final = {"test.t2a.R@1", "shifted.a2t.R@10", "zero_shot.accuracy", "chance.t2a.R@1"}
    assert final <= finished.metrics.keys()
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["started", "epoch", "epoch", "finished"]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["metrics"] == finished.metrics
    assert (result["epochs"], result["workers"], result["data"]) == (2, 1, started.data)


@pytest.mark.heavy
def test_equal_seeds_end_equal_and_others_do_not(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(hash(name) % 1000)  # no global state may matter
        list(fit(tiny_config(data, seed=seed), Folder.at(tmp_path / name)))
    found = {name: everything(Folder.at(tmp_path / name)) for name in "abc"}
    assert found["a"] == found["b"]
    assert found["a"]["model/weights.safetensors"] != found["c"]["model/weights.safetensors"]


def test_the_callers_random_numbers_are_left_alone(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(fit(tiny_config(data, epochs=1), Folder.at(tmp_path)))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.heavy
def test_the_loop_takes_the_steps_of_a_bare_one(data: Path, tmp_path: Path) -> None:
    """Written out again with plain PyTorch: AdamW on one learning rate, clipping, whole batches."""
    config = tiny_config(
        data,
        model__dropout=0.0,
        optimizer={"name": "adamw", "lr": 3e-3, "weight_decay": 0.1, "schedule": "constant"},
        optimizer__warmup=0.0,
        select__split="last",
    )
    list(fit(config, Folder.at(tmp_path)))
    train = Collection(data).split("train")
    model, loss = _parts(config, Collection(data))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1] + list(loss.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=3e-3
    )
    batches = Batches(train.captions, ["eng"], 8, seed=0)
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            sounds = np.stack([train.audio(row)[:8000] for row in batch.rows]).astype(np.float32)
            texts = [
                train.captions[row][c].text
                for row, c in zip(batch.rows, batch.captions, strict=True)
            ]
            optimizer.zero_grad()
            loss(
                *model(torch.from_numpy(sounds / 32768), model.text.tokenize(texts))
            ).total.backward()
            torch.nn.utils.clip_grad_norm_([*model.parameters(), *loss.parameters()], 1.0)
            optimizer.step()
    for name, value in weights(tmp_path).items():
        # Six steps move a weight by up to 0.018. The bias of attention's keys has no gradient but
        # rounding, which Adam blows up.
        slack = 5e-4 if value.ndim > 1 else 2e-3
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=slack)


def _parts(config: RunConfig, collection: Collection) -> tuple[CLAP, torch.nn.Module]:
    words = [
        c.text for row in collection.split("train").captions for c in row if c.language == "eng"
    ]
    assert config.data.seconds is not None
    model = build_model(config.model, words, config.data.seconds, config.seed)
    torch.manual_seed(config.seed)
    return model, build_loss(config.loss, config.batch_size)


@pytest.mark.heavy
@pytest.mark.parametrize("radius", ["static", "dynamic"])
def test_chunks_change_memory_and_not_the_result(data: Path, tmp_path: Path, radius: str) -> None:
    base = {"model__dropout": 0.0, "loss": {"svr": {"radius": radius}}, "select__split": "last"}
    whole = epochs_of(fit(tiny_config(data, **base), Folder.at(tmp_path / "whole")))
    parts = epochs_of(fit(tiny_config(data, **base, chunk=3), Folder.at(tmp_path / "parts")))
    for one, other in zip(whole, parts, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-3, abs=1e-4)


@pytest.mark.heavy
def test_the_saved_model_scores_what_the_run_reports(data: Path, tmp_path: Path) -> None:
    *_, finished = fit(tiny_config(data), Folder.at(tmp_path))
    model, collection = supclap.load(tmp_path / "model"), Collection(data)
    test = evaluate_retrieval(model, collection.split("test"), ["eng"])
    for name, value in test.result.metrics.items():
        assert finished.metrics[f"test.{name}"] == pytest.approx(value), name
        assert finished.metrics[f"chance.{name}"] == pytest.approx(test.chance[name])
    classified = evaluate_zero_shot(model, collection.split("events"))
    assert finished.metrics["zero_shot.accuracy"] == classified.result.metrics["zero_shot.accuracy"]
    with np.load(tmp_path / "ranks.npz") as ranks:
        assert np.array_equal(ranks["t2a_ranks"], test.result.by_language["eng"].t2a_ranks)
        assert np.array_equal(ranks["a2t_ranks"], test.result.by_language["eng"].a2t_ranks)


@pytest.mark.heavy
@pytest.mark.parametrize(("split", "metric"), [("val", "a2t.meanR"), ("test", "t2a.meanR")])
def test_the_best_epoch_is_chosen_as_declared(
    data: Path, tmp_path: Path, split: str, metric: str
) -> None:
    config = tiny_config(
        data, epochs=4, optimizer__lr=0.02, select={"split": split, "metric": metric}
    )
    events = list(fit(config, Folder.at(tmp_path)))
    values = [event.metrics[f"{split}.{metric}"] for event in epochs_of(events)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.best_epoch == 1 + int(np.argmin(values))  # ranks: the lower the better
    assert finished.metrics[f"{split}.{metric}"] == min(values)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones whose val split has English and French captions, never both of one clip; the others
    have English and German ones."""
    folder = make_collection(tmp_path_factory.mktemp("uneven") / "data")
    val = Collection(folder).split("val")
    spoken = ("eng", "fra")
    clips = [replace(val[i], captions=(Caption("a tone", spoken[i % 2]),)) for i in range(len(val))]
    write_split(folder, "tones", "val", clips)
    return folder


@pytest.mark.parametrize(
    ("languages", "metric", "message"),
    [
        ("eng deu", "t2a.R@1", "split 'val' has no caption in deu (it has eng)"),
        ("eng deu", "deu.t2a.R@1", "split 'val' has no caption in deu (it has eng)"),
        ("eng deu", "eng.t2a.R@1", "split 'val' has no caption in deu (it has eng)"),
        ("eng deu fra", "MRV", "split 'val' has no caption in deu (it has eng, fra)"),
        ("eng fra", "MRV", "split 'val' has no clip with a caption in each of eng, fra"),
        ("eng fra", "a2t.MRV", "split 'val' has no clip with a caption in each of eng, fra"),
    ],
)
def test_a_metric_that_the_split_cannot_give_is_told_before_training(
    uneven: Path, tmp_path: Path, languages: str, metric: str, message: str
) -> None:
    config = tiny_config(uneven, data__languages=languages.split(), select__metric=metric)
    with pytest.raises(InputError) as error:
        next(fit(config, Folder.at(tmp_path)))
    assert f"select.metric: '{metric}' cannot choose an epoch: {message}" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("languages", "select"),
    [
        ("eng deu fra", {"metric": "fra.t2a.R@1"}),
        ("eng fra", {"metric": "t2a.R@1"}),
        ("eng deu", {"split": "test", "metric": "MRV"}),
        ("eng deu", {"split": "last", "metric": "t2a.R@1"}),
    ],
)
def test_a_metric_that_the_split_can_give_chooses(
    uneven: Path, tmp_path: Path, languages: str, select: dict[str, str]
) -> None:
    config = tiny_config(uneven, epochs=1, data__languages=languages.split(), select=select)
    *_, finished = fit(config, Folder.at(tmp_path))
    assert isinstance(finished, Finished)


@pytest.mark.parametrize(
    ("metrics", "fault"), [({"val.MRV": float("nan")}, "is NaN"), ({}, "is missing")]
)
def test_an_epoch_without_a_value_that_chooses_stops_the_run(
    metrics: dict[str, float], fault: str
) -> None:
    ended = EpochEnded(3, 9, 1.0, {"val.t2a.R@1": 5.0, **metrics})
    with pytest.raises(TrainingError, match=rf"^epoch 3: val\.MRV {fault}, so .*select\.metric$"):
        Progress().end_epoch(ended, SelectConfig(metric="MRV"))


@pytest.mark.heavy
def test_the_last_epoch_can_be_chosen_without_any_held_out_split(
    data: Path, tmp_path: Path
) -> None:
    config = tiny_config(data, data__val=None, data__test=None, select__split="last")
    *_, finished = fit(config, Folder.at(tmp_path))
    assert isinstance(finished, Finished)
    assert finished.best_epoch == 2
    assert not [name for name in finished.metrics if name.startswith(("val.", "test."))]


@pytest.mark.heavy
def test_a_frozen_encoder_stays_as_it_was(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, model__audio__freeze=True, model__text__freeze=True, epochs=1)
    list(fit(config, Folder.at(tmp_path)))
    model, _ = _parts(config, Collection(data))
    for name, value in weights(tmp_path).items():
        same = torch.equal(value, model.state_dict()[name])
        assert same == ("encoder" in name), name


@pytest.mark.heavy
def test_what_frozen_encoders_hear_and_read_is_read_once_and_changes_no_number(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    config = tiny_config(data, model__audio__freeze=True, model__text__freeze=True, epochs=1)
    kept = Folder.at(tmp_path / "kept")
    *_, first = fit(config, Folder.at(tmp_path / "first"))
    # The same of sounds and tokens, as `supclap evaluate` measures it, in the same company.
    model, events = supclap.load(tmp_path / "first" / "model"), Collection(data).split("events")
    rows, _, _ = classifiable(events)
    assert np.array_equal(_encode_kept(model, events, rows), encode_clips(model, events, rows))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("all that a frozen encoder makes of this data is kept")

    for name in (
        "supclap.inputs.read_batch",
        "supclap.measurement.read_batch",
        "supclap.inputs.first_alike_clips",
        "supclap.inputs.first_alike_texts",
    ):
        monkeypatch.setattr(name, never)
    *_, second = fit(config, kept)
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert second.metrics == first.metrics
    one, other = everything(Folder.at(tmp_path / "first")), everything(kept)
    assert one.keys() == other.keys()
    for name in ("ranks.npz", "model/weights.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "kept" / name).read_bytes()


@pytest.mark.heavy
def test_a_run_starts_from_another_runs_model(data: Path, tmp_path: Path) -> None:
    list(fit(tiny_config(data, epochs=1), Folder.at(tmp_path / "first")))
    start = str(tmp_path / "first" / "model")
    slow = tiny_config(data, model__start=start, optimizer__lr=1e-9, epochs=1)
    list(fit(slow, Folder.at(tmp_path / "second")))
    for name, value in weights(tmp_path / "second").items():
        torch.testing.assert_close(value, weights(tmp_path / "first")[name], rtol=0, atol=1e-6)


@pytest.mark.heavy
def test_several_languages_are_trained_and_measured_each(data: Path, tmp_path: Path) -> None:
    *_, finished = fit(tiny_config(data, data__languages=["eng", "deu"]), Folder.at(tmp_path))
    both = [finished.metrics[f"test.{language}.t2a.R@1"] for language in ("eng", "deu")]
    assert finished.metrics["test.t2a.R@1"] == pytest.approx(np.mean(both))
    with np.load(tmp_path / "ranks.npz") as ranks:
        assert len(ranks["t2a_ranks"]) == len(ranks["a2t_ranks"]) == 24


@pytest.mark.heavy
def test_all_pairs_bring_captions_of_one_clip_together(tmp_path: Path) -> None:
    data = make_collection(tmp_path / "data", clips=4, captions=2)
    losses = {}
    for same_clip in ("mask", "target"):
        config = tiny_config(data, data__pairs="all", epochs=1, loss__same_clip=same_clip)
        events = list(fit(config, Folder.at(tmp_path / same_clip)))
        assert isinstance(events[0], Started)
        assert (events[0].steps_per_epoch, events[0].clips) == (1, 4)
        losses[same_clip] = epochs_of(events)[0].metrics["train.loss"]
    assert losses["mask"] != losses["target"]


@pytest.mark.heavy
def test_bf16_trains_to_about_the_same(data: Path, tmp_path: Path) -> None:
    exact = epochs_of(fit(tiny_config(data), Folder.at(tmp_path / "float32")))[0].metrics
    rough = epochs_of(fit(tiny_config(data, precision="bf16"), Folder.at(tmp_path / "bf16")))[0]
    assert rough.metrics["train.loss"] != exact["train.loss"]
    assert rough.metrics["train.loss"] == pytest.approx(exact["train.loss"], rel=0.02)


@pytest.mark.heavy
def test_features_beyond_the_memory_bound_are_computed_again_to_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = epochs_of(fit(tiny_config(data), Folder.at(tmp_path / "kept")))
    monkeypatch.setattr("supclap.inputs.KEPT_BYTES", 0)
    again = epochs_of(fit(tiny_config(data), Folder.at(tmp_path / "again")))
    for one, other in zip(kept, again, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("encoder", ["cnn", "transformer"])
def test_the_shortest_clips_and_the_largest_seed_that_are_allowed_do_train(
    data: Path, tmp_path: Path, encoder: str
) -> None:
    audio = {"name": encoder, "width": 32, "layers": 1}
    config = tiny_config(
        data, epochs=1, data__seconds=0.02, seed=2**63 - 1, model__audio=audio, data__noise=0.2
    )
    *_, finished = fit(config, Folder.at(tmp_path))
    assert isinstance(finished, Finished)


@pytest.mark.heavy
def test_long_clips_are_cut_elsewhere_in_each_epoch_and_alike_after_a_kill(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(data, data__seconds=0.25, checkpoint_steps=1)
    train = Collection(data).split("train")
    inputs = Inputs("train", train, _parts(config, Collection(data))[0], ["eng"], crops=0)
    heard = [inputs.audio(np.arange(24), epoch) for epoch in (0, 1, 1)]
    assert not torch.allclose(heard[0], heard[1])
    assert torch.equal(heard[1], heard[2])
    list(fit(config, Folder.at(tmp_path / "undisturbed")))
    write = Folder.write

    def killed(self: Folder, name: str, content: bytes) -> None:
        write(self, name, content)
        if name == "latest.json" and b"00000002" in content:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            list(fit(config, Folder.at(tmp_path / "run")))
    list(fit(config, Folder.at(tmp_path / "run")))
    assert everything(Folder.at(tmp_path / "run")) == everything(
        Folder.at(tmp_path / "undisturbed")
    )


def test_the_learning_rate_rises_then_falls() -> None:
    config = tiny_config(Path("."), optimizer={"warmup": 1.0, "schedule": "cosine"}).optimizer
    rates = [learning_rate(config, step, steps_per_epoch=4, epochs=3) for step in range(12)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    expected = [0.5 * (1 + np.cos(np.pi * step / 8)) for step in range(8)]
    assert rates[4:] == pytest.approx(expected)
    constant = config.model_copy(update={"schedule": "constant"})
    assert learning_rate(constant, 11, 4, 3) == 1.0


@pytest.mark.heavy
def test_the_losss_own_learning_rate_moves_its_parameters_alone(data: Path, tmp_path: Path) -> None:
    base = {"loss": {"name": "siglip"}, "epochs": 1, "optimizer__clip_norm": None}
    still = tiny_config(data, **base, optimizer__loss_lr=1e-12)
    quick = tiny_config(data, **base, optimizer__loss_lr=0.5)
    found = [
        epochs_of(fit(config, Folder.at(tmp_path / name)))[0].metrics["temperature"]
        for name, config in (("still", still), ("quick", quick))
    ]
    assert found[0] == pytest.approx(0.1)
    assert abs(found[1] - 0.1) > 0.001


def test_a_rate_too_high_stops_with_step_checkpoint_and_cause(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, optimizer={"lr": 1e30, "warmup": 0.0}, checkpoint_steps=1)
    with pytest.raises(TrainingError) as error:
        list(fit(config, Folder.at(tmp_path)))
    message = str(error.value)
    assert message.startswith("step 2: loss or gradient is not finite")
    assert "checkpoint is 00000001.pt" in message
    assert "lower optimizer.lr" in message
    assert "\n" not in message
    assert not (tmp_path / "result.json").exists()


def test_a_clip_whose_input_is_not_finite_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = Inputs._features

    def broken(self: Inputs, rows: np.ndarray, epoch: int = 0) -> torch.Tensor:
        found = features(self, rows, epoch)
        found[[self.clips.clip_ids[row] == "train-7" for row in rows]] = torch.nan
        return found

    monkeypatch.setattr(Inputs, "_features", broken)
    with pytest.raises(TrainingError, match="inputs of train-7 are not finite"):
        list(fit(tiny_config(data), Folder.at(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"select__metric": "t2a.R@2"}, "no metric 't2a.R@2'; did you mean 't2a.R@"),
        ({"data__val": "valid"}, "no split 'valid'; it has"),
        ({"data__test": "tset"}, "no split 'tset'; it has"),
        ({"data__val": None}, "select.split: is 'val', but data.val is null"),
        ({"data__languages": ["fra"]}, "only 0 pairs with a caption in fra"),
        ({"batch_size": 25}, "batch_size is 25, but there are only 24 pairs"),
        ({"data__folder": "/nowhere"}, "/nowhere: not a prepared collection"),
        ({"model__audio__name": "cmm"}, "model.audio.name: no audio encoder 'cmm'"),
        ({"loss": {"temperature": 20, "learn_temperature": True}}, "loss.temperature: 20 cannot"),
        ({"data__limit": 7}, "batch_size: 8 is more than data.limit, 7"),
        ({"data__noise": 0.001}, "data.noise: 0.001 of 24 clips is 0"),
        ({"model__audio__layers": 9}, "model.audio.layers: 9 halvings leave too few"),
        ({"model__start": "/nowhere"}, "/nowhere: not a model folder"),
        ({"model__dim": 10**9}, "model: does not fit into memory (a single tensor of it takes"),
        ({"also": {"more": {"split": "extra"}}}, "also.more: "),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as error:
        next(fit(tiny_config(data, **changes), Folder.at(tmp_path / "run")))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


class AlikeWorkers(Workers):
    """Several workers, of which each finds what the first one finds."""

    def from_first(self, make: Callable[[], Value]) -> Value:
        return make()


def test_too_many_workers_are_refused_before_anything_is_written(
    data: Path, tmp_path: Path
) -> None:
    config = tiny_config(data, batch_size=2)
    with pytest.raises(InputError, match="batch_size: 2 is too few for 3 workers"):
        next(fit(config, Folder.at(tmp_path / "run"), workers=AlikeWorkers(size=3)))
    assert not (tmp_path / "run").exists()


def test_a_missing_split_is_refused_before_a_frozen_encoder_computes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large encoder takes hours for a large train split."""
    computed: list[str] = []

    def noting(*_: object) -> np.ndarray:
        computed.append("outputs")
        return np.zeros((24, 8))

    monkeypatch.setattr("supclap.inputs.frozen_outputs", noting)
    config = tiny_config(data, model__audio__freeze=True, also={"more": {"split": "extra"}})
    with pytest.raises(InputError, match=r"also\.more"):
        next(fit(config, Folder.at(tmp_path / "run")))
    assert computed == []
    next(fit(tiny_config(data, model__audio__freeze=True), Folder.at(tmp_path / "run")))
    assert computed  # with nothing to refuse it does come so far


def test_a_refused_run_does_not_touch_one_that_is_there(data: Path, tmp_path: Path) -> None:
    folder = Folder.at(tmp_path / "run")
    begun = fit(tiny_config(data), folder)
    assert [type(next(begun)).__name__ for _ in range(2)] == ["Started", "EpochEnded"]
    begun.close()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds a run with seed = 0"):
        next(fit(tiny_config(data, seed=1), folder))
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()
    }


@pytest.mark.heavy
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(data)
    list(fit(config, Folder.at(tmp_path / "undisturbed")))
    write = Folder.write

    def full(self: Folder, name: str, content: bytes) -> None:
        if name == "00000006-epoch-2.pt":
            raise OSError(28, "No space left on device")
        write(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", full)
        with pytest.raises(InputError, match="cannot be written: No space left"):
            list(fit(config, Folder.at(tmp_path / "run")))
    list(fit(config, Folder.at(tmp_path / "run")))
    assert everything(Folder.at(tmp_path / "run")) == everything(
        Folder.at(tmp_path / "undisturbed")
    )


def test_a_folder_that_cannot_be_written_is_one_line(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file/run: cannot be written"):
        next(fit(tiny_config(data), Folder.at(tmp_path / "file" / "run")))
