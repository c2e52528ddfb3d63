"""Metrics of one's own: what a run reports of them, and the built-in example."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tiny_run import make_collection, tiny_config

from supclap import registry
from supclap.config import RunConfig, parse_config
from supclap.divergence import TrainingError
from supclap.errors import InputError
from supclap.evaluation.geometry import BLOCK, Geometry, uniformity
from supclap.events import EpochEnded, Event, Finished
from supclap.metric_names import find
from supclap.parts import Embeddings, Metric, register
from supclap.storage import Folder
from supclap.train_command import Show
from supclap.training import fit

HERE = Path(__file__).name


class Own(Metric):
    """The mean cosine of each pair, how many captions in a language there are, and labels."""

    names = ("pairs.cosine", "spoken", "labels")
    higher = ("pairs.cosine",)
    lower = ("spoken",)
    language: str = "eng"

    def measure(self, embeddings: Embeddings) -> dict[str, Any]:
        audio, text = embeddings.audio, embeddings.text
        assert len(embeddings.clip_ids) == len(embeddings.labels) == len(audio)
        cosine = (audio[embeddings.caption_clips] * text).sum(1).mean()
        audio.zero_()  # no business of anybody else
        return {
            "pairs.cosine": cosine,
            "spoken": np.int64(embeddings.languages.count(self.language)),
            "labels": len({label for labels in embeddings.labels for label in labels}),
        }


@pytest.fixture(autouse=True)
def own_parts() -> Iterator[None]:
    with registry.forgotten():
        register("own")(Own)
        yield


METRICS = {"own": {}, "german": {"name": "own", "language": "deu"}, "geometry": {}}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("data"), captions=2)


def ended(config: RunConfig, folder: Path) -> tuple[list[EpochEnded], Finished]:
    events: list[Event] = list(fit(config, Folder.at(folder)))
    assert isinstance(events[-1], Finished)
    return [event for event in events if isinstance(event, EpochEnded)], events[-1]


@pytest.mark.heavy
def test_a_run_reports_them_as_it_does_retrieval_and_chooses_by_them(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(collection, metrics=METRICS, select__metric="alignment", loss__svr=None)
    epochs, finished = ended(config, tmp_path / "run")
    figures = [epoch.metrics for epoch in epochs]
    for metrics, split in [(one, "val") for one in figures] + [(finished.metrics, "test")]:
        assert metrics[f"{split}.spoken"] == 12 * 2
        assert metrics[f"{split}.german.spoken"] == 0  # its captions are none of the run's
        assert metrics[f"{split}.labels"] == 4
        # Of unit vectors |x - y|^2 = 2 - 2 x.y: two metrics that never saw each other agree.
        cosine = metrics[f"{split}.pairs.cosine"]
        assert metrics[f"{split}.alignment"] == pytest.approx(2 - 2 * cosine, abs=1e-6)
    values = [one["val.alignment"] for one in figures]
    assert finished.best_epoch == 1 + int(np.argmin(values))  # a low one is the good one
    assert finished.metrics["shifted.modality_gap"] > 0
    show = Show(Folder.at(tmp_path / "run"))
    for event in fit(config, Folder.at(tmp_path / "run")):  # a finished run tells its events again
        show(event)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["val", "test", "shifted"] in lines
    alignment = [f"{finished.metrics[f'{s}.alignment']:.4f}" for s in ("val", "test", "shifted")]
    assert ["alignment", *alignment] in lines
    assert ["german.spoken", "0.0000", "0.0000", "0.0000"] in lines
    plain = tiny_config(collection, loss__svr=None)
    without, _ = ended(plain, tmp_path / "plain")
    for one, other in zip(epochs, without, strict=True):  # measuring changes nothing
        assert one.metrics["train.loss"] == other.metrics["train.loss"]
        assert one.metrics["val.t2a.meanR"] == other.metrics["val.t2a.meanR"]


def test_geometry_is_as_published() -> None:
    """Against the functions of Wang and Isola's paper, as it prints them."""
    numbers = np.random.default_rng(0)
    audio, text = (
        torch.nn.functional.normalize(torch.from_numpy(numbers.normal(size=(n, 5))), dim=1)
        for n in (6, 9)
    )
    owner = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 2])
    found = Geometry().measure(Embeddings(audio, text, owner, ("",) * 6, ((),) * 6, ("eng",) * 9))
    x, y = audio[owner], text
    align = (x - y).norm(p=2, dim=1).pow(2).mean()
    uniform = [torch.pdist(side, p=2).pow(2).mul(-2).exp().mean().log() for side in (audio, text)]
    gap = math.dist(audio.mean(0).tolist(), text.mean(0).tolist())
    expected = [gap, float(align), *(float(one) for one in uniform)]
    assert list(found.values()) == pytest.approx(expected, abs=1e-12)
    assert set(found) == set(Geometry.names)
    assert uniformity(audio[:1]) == 0


def test_uniformity_of_many_is_that_of_its_blocks() -> None:
    sides = torch.nn.functional.normalize(torch.randn(BLOCK + 30, 3, dtype=torch.float64), dim=1)
    whole = torch.pdist(sides).pow(2).mul(-2).exp().mean().log()
    assert uniformity(sides) == pytest.approx(float(whole), abs=1e-10)


def made(**attributes: Any) -> type[Metric]:
    return type("Made", (Metric,), {"names": ("fresh",), **attributes})


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"names": ()}, "names none of the numbers"),
        ({"names": "gap"}, r"Made\.names: expected a tuple of texts"),
        ({"names": ["gap"]}, r"Made\.names: expected a tuple of texts"),
        ({"names": ("a b",)}, "'a b' is not 1 to 60 letters"),
        ({"names": ("t2a.R@2",)}, r"'t2a\.R@2' begins as a metric of SupCLAP's does"),
        ({"names": ("fra.gap",)}, "begins as a metric"),
        ({"names": ("gap", "gap")}, "'gap' stands twice"),
        ({"names": ("alignment",)}, "'alignment' is what the metric 'geometry' gives"),
        ({"names": ("fresh", "labels")}, "'labels' is what the metric 'own' gives"),
        ({"higher": ("gap",)}, "'gap' is none of names"),
        ({"higher": ("fresh",), "lower": ("fresh",)}, "'fresh' is in both"),
    ],
)
def test_a_declaration_that_says_nothing_clear_is_refused(
    attributes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=rf"register\('made'\): .*{said}"):
        register("made")(made(**attributes))
    assert "made" not in registry.names("metric")


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"t2a": {"name": "own"}}, "a metric cannot be called 't2a'"),
        ({"eng": {"name": "own"}}, "a metric cannot be called 'eng'"),
        ({"a.b": {"name": "own"}}, r"metrics: the name 'a\.b' is not 1 to 40 letters"),
        ({"a b": {"name": "own"}}, "metrics: the name 'a b' is not 1 to 40 letters"),
        ({"own": {"names": ["x"]}}, r"unknown key 'metrics\.own\.names'"),
        ({"gap": {}}, "no metric 'gap'"),
    ],
)
def test_a_name_that_could_be_taken_for_another_is_refused(
    metrics: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        parse_config({"metrics": metrics})


def test_a_name_that_makes_another_metrics_number_is_refused() -> None:
    register("inner")(made(names=("fresh",)))
    register("outer")(made(names=("x.fresh",)))
    with pytest.raises(InputError, match=r"called 'x': 'x\.fresh' is what the metric 'outer' g"):
        parse_config({"metrics": {"x": {"name": "inner"}}})


def test_a_number_is_found_by_its_name() -> None:
    for short, label, direction in [
        ("pairs.cosine", "own", "higher"),
        ("german.spoken", "german", "lower"),
        ("labels", "own", None),
    ]:
        found = find(short)
        assert found is not None
        assert (found.short, found.part, found.label) == (short, "own", label)
        assert found.direction == direction
    assert find("t2a.R@1") is find("german.cosine") is None


class Wrong(Metric):
    names = ("one", "other")
    gives: str
    GIVES: ClassVar[dict[str, Any]] = {
        "list": [1, 2],
        "missing": {"one": 1},
        "more": {"one": 1, "other": 2, "third": 3},
        "text": {"one": 1, "other": "2"},
        "flag": {"one": 1, "other": True},
        "vector": {"one": 1, "other": torch.ones(2)},
        "nan": {"one": 1, "other": math.nan},
        "inf": {"one": torch.tensor(math.inf), "other": 0},
    }

    def measure(self, embeddings: Embeddings) -> Any:
        return {} if self.gives == "nothing" else self.GIVES[self.gives]


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        ("list", "measure gave a list, where a number for each name is expected"),
        ("missing", "measure gave no 'other', which its names have"),
        ("more", r"measure gave 'third', which its names do not have \(one, other\)"),
        ("text", "measure gave '2' as 'other', where a number is expected"),
        ("flag", "measure gave True as 'other'"),
        ("vector", r"measure gave tensor\(\[1., 1.\]\) as 'other'"),
        ("what", "KeyError: 'what'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(
    collection: Path, tmp_path: Path, gives: str, said: str
) -> None:
    register("wrong")(Wrong)
    config = tiny_config(collection, metrics={"wrong": {"gives": gives}})
    with pytest.raises(InputError, match=rf"{HERE}:\d+: metric 'wrong': {said}"):
        list(fit(config, Folder.at(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("gives", "said"), [("nan", "val.other is nan"), ("inf", "val.one is in")])
def test_a_number_that_is_not_finite_ends_the_run(
    collection: Path, tmp_path: Path, gives: str, said: str
) -> None:
    register("wrong")(Wrong)
    config = tiny_config(collection, metrics={"wrong": {"gives": gives}}, epochs=1)
    with pytest.raises(TrainingError, match=rf"metric 'wrong': {said}"):
        list(fit(config, Folder.at(tmp_path / "run")))


def test_what_has_no_direction_chooses_no_epoch(collection: Path, tmp_path: Path) -> None:
    config = tiny_config(collection, metrics={"own": {}}, select__metric="labels")
    with pytest.raises(InputError, match="of 'labels' neither a high nor a low number is the good"):
        list(fit(config, Folder.at(tmp_path / "run")))
    config = tiny_config(collection, select__metric="spoken")
    with pytest.raises(InputError, match=r"select\.metric: no metric 'spoken'"):
        list(fit(config, Folder.at(tmp_path / "run")))
