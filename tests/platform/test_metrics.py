"""The catalogue of metrics against what a run really reports."""

from pathlib import Path

import pytest
from supclap_platform.experiment.metrics import (
    CATALOGUE,
    full_name,
    has_a_best,
    lower_is_better,
    why_not_reported,
)
from tiny_run import make_collection, tiny_config

from supclap.config import RunConfig, parse_config
from supclap.errors import InputError
from supclap.events import EpochEnded, Finished
from supclap.parts import LossTerm, register
from supclap.registry import forgotten
from supclap.storage import Folder
from supclap.training import fit

DYNAMIC = {"sides": "both", "radius": "dynamic"}
TEXT_ONLY = {"sides": "text", "radius": "static"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("svr", "languages"), [(DYNAMIC, ["eng", "deu"]), (TEXT_ONLY, ["eng"]), (None, ["eng"])]
)
def test_a_run_reports_what_the_catalogue_promises_and_nothing_else(
    tmp_path: Path, svr: dict[str, str] | None, languages: list[str]
) -> None:
    folder = make_collection(tmp_path / "data")
    config = tiny_config(folder, epochs=1, loss__svr=svr, data__languages=languages)
    events = list(fit(config, Folder.at(tmp_path / "run")))
    ended = next(event for event in events if isinstance(event, EpochEnded))
    finished = events[-1]
    assert isinstance(finished, Finished)
    reported = set(ended.metrics) | set(finished.metrics)
    assert reported <= set(CATALOGUE)
    whole = {"seconds", "seconds_per_epoch", "peak_MB", "best_epoch", "steps"}
    promised = {
        full_name(name) for name in CATALOGUE if why_not_reported(name, config) is None
    } - whole
    assert promised - reported == set()


def test_full_names_name_themselves() -> None:
    for name in CATALOGUE:
        assert full_name(full_name(name)) == full_name(name)
    assert full_name("t2a.R@1") == "test.t2a.R@1"
    assert full_name("val.fra.t2a.R@1") == "val.fra.t2a.R@1"


def test_which_way_is_better() -> None:
    lower = {"test.t2a.medR", "val.a2t.meanR", "test.MRV", "seconds", "train.loss"}
    assert all(lower_is_better(name) for name in lower)
    assert not any(lower_is_better(name) for name in ("test.t2a.R@1", "zero_shot.accuracy"))
    neither = ("radius.text.mean", "similarity.positive", "temperature", "chance.t2a.R@1", "steps")
    assert not any(has_a_best(name) for name in neither)
    assert all(has_a_best(name) for name in ("test.t2a.R@1", "drift.text", "seconds", "peak_MB"))


def test_a_further_test_set_is_asked_for_by_its_name() -> None:
    config = RunConfig.model_validate({"also": {"esc50": {"split": "test"}}})
    for metric in ("t2a.R@1", "a2t.mAP10", "zero_shot.accuracy"):
        assert full_name(f"also.esc50.{metric}") == f"also.esc50.{metric}"
        assert why_not_reported(f"also.esc50.{metric}", config) is None
    assert "no test set 'esc5'; did you mean 'esc50'?" in str(
        why_not_reported("also.esc5.t2a.R@1", config)
    )
    for wrong in ("also.esc50", "also.esc50.seconds", "also.esc50.val.t2a.R@1", "also.t2a.R@1"):
        with pytest.raises(InputError, match="no run reports 'also"):
            full_name(wrong)


@pytest.mark.heavy
def test_a_run_reports_of_further_test_sets_what_the_catalogue_promises(tmp_path: Path) -> None:
    also = {"shift": {"split": "shifted"}, "eng": {"split": "events"}}
    config = tiny_config(
        make_collection(tmp_path / "data"), epochs=1, also=also, data__languages=["eng", "deu"]
    )
    *_, finished = fit(config, Folder.at(tmp_path / "run"))
    reported = {name for name in finished.metrics if "also." in name}
    assert len(reported) == 66
    for name in reported:
        assert full_name(name) == name
        assert why_not_reported(name, config) is None, name
    assert lower_is_better("also.shift.t2a.medR")
    assert lower_is_better("chance.also.shift.a2t.meanR")
    assert "has no fra" in why_not_reported("also.shift.fra.t2a.R@1", config)
    assert why_not_reported("also.eng.zero_shot.accuracy", tiny_config(tmp_path, also=also)) is None
    assert "only one" in why_not_reported("also.shift.MRV", tiny_config(tmp_path, also=also))
    assert "did you mean 'shift'" in why_not_reported("chance.also.shfit.t2a.R@1", config)
    with pytest.raises(InputError, match=r"did you mean 't2a\.R@1'.*chance\.also\.NAME"):
        full_name("chance.also.shift.t2a.R@1x")


def test_what_a_loss_of_ones_own_logs_is_a_column_where_the_loss_logs_it() -> None:
    class Term(LossTerm):
        margin: float = 0.2

    fading = {"from": 1, "to": 0}
    with forgotten():
        register("angle")(Term)
        own = parse_config(
            {
                "loss": {
                    "temperature": fading | {"to": 0.5},
                    "svr": {"alpha": fading},
                    "terms": {"angle": {"margin": fading}},
                }
            }
        )
    plain = parse_config({"loss": {"svr": {}}})
    for name, why in {
        "train.angle": "it has no loss.terms.angle",
        "train.angle.hard": "it has no loss.terms.angle",
        "train.angle.margin": "it has no loss.terms.angle",
        "train.svr.alpha": "its loss.svr.alpha has no schedule",
        "train.temperature": "its loss.temperature has no schedule",
    }.items():
        assert full_name(name) == name
        assert why_not_reported(name, own) is None
        assert str(why_not_reported(name, plain)).startswith(why)
    assert why_not_reported("train.los", own) == (
        "it has no loss.terms.los; did you mean 'train.loss'?"
    )
    assert why_not_reported("train.svr.constraint", own) is not None
    assert (has_a_best("train.angle"), lower_is_better("train.angle")) == (True, True)
    assert not any(has_a_best(n) for n in ("train.angle.hard", "train.svr.alpha"))
    for name in ("train.", "train.a.b.c", "train.a b"):
        with pytest.raises(InputError, match="no run reports"):
            full_name(name)
