"""Experiment files: what they mean, and what a mistake in one gets."""

import re
from pathlib import Path

import pytest
from supclap_platform.experiment.cells import cells_of
from supclap_platform.experiment.claims import Greater, Trend, Within, asked_of, parse_claim
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.shared_profiles import with_profiles

from supclap.document import read_document
from supclap.errors import InputError
from supclap.overrides import parse_changes

SHIPPED = sorted(Path(__file__).parents[2].joinpath("experiments").glob("*.yaml"))
SMALL = """\
experiment: small
base:
  data: soundscenes
  epochs: 3
  loss: {name: infonce, temperature: 0.07}
variants:
  InfoNCE: {}
  bi-DynamicSVR: {loss.svr: {sides: both, radius: dynamic}}
  uni-StaticSVR: {loss.svr: {sides: text, radius: static}}
seeds: 2
baseline: InfoNCE
table:
  columns: [t2a.R@1, val.a2t.mAP10]
claims:
  - bi-DynamicSVR > InfoNCE on t2a.R@1
"""


def load(tmp_path: Path, text: str, profile: str = "laptop", **changes: object) -> Experiment:
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, profile, {k.replace("__", "."): v for k, v in changes.items()})


def mistake(tmp_path: Path, text: str, profile: str = "laptop", **changes: object) -> str:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text, profile, **changes)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_overrides_reach_the_configuration_and_leave_the_rest(tmp_path: Path) -> None:
    dynamic = load(tmp_path, SMALL).variant("bi-DynamicSVR").config
    assert dynamic.loss.svr is not None
    assert (dynamic.loss.svr.sides, dynamic.loss.svr.radius) == ("both", "dynamic")
    assert (dynamic.loss.temperature, dynamic.epochs, dynamic.data.name) == (0.07, 3, "soundscenes")
    assert load(tmp_path, SMALL).variant("InfoNCE").config.loss.svr is None


def test_rows_keep_the_files_order_and_seeds_count_from_zero(tmp_path: Path) -> None:
    experiment = load(tmp_path, SMALL)
    assert [v.name for v in experiment.variants] == ["InfoNCE", "bi-DynamicSVR", "uni-StaticSVR"]
    assert experiment.seeds == (0, 1)
    assert load(tmp_path, SMALL.replace("seeds: 2", "seeds: [3, 9]")).seeds == (3, 9)


def test_layers_base_profile_command_line_row(tmp_path: Path) -> None:
    text = SMALL.replace("InfoNCE: {}", "InfoNCE: {batch_size: 8}") + (
        "profiles: {paper: {base: {epochs: 10, batch_size: 24}, seeds: 5, resources: {gpu: 1}}}\n"
    )
    paper = load(tmp_path, text, "paper")
    assert [v.config.epochs for v in paper.variants] == [10, 10, 10]
    assert [v.config.batch_size for v in paper.variants] == [8, 24, 24]
    assert paper.seeds == (0, 1, 2, 3, 4)
    assert paper.variants[0].resources.gpu == 1
    changed = load(tmp_path, text, "paper", epochs=2, batch_size=32)
    assert [v.config.epochs for v in changed.variants] == [2, 2, 2]
    assert [v.config.batch_size for v in changed.variants] == [8, 32, 32]
    assert [v.config.epochs for v in load(tmp_path, text).variants] == [3, 3, 3]


def test_values_of_the_command_line_are_yaml() -> None:
    changes = parse_changes(["epochs=3", "loss.svr=null", "data.languages=[eng, fra]", "x=a=b"])
    assert changes == {
        "epochs": 3,
        "loss.svr": None,
        "data.languages": ["eng", "fra"],
        "x": "a=b",
    }


def test_a_grid_multiplies_the_variants_it_names(tmp_path: Path) -> None:
    grid = "grid:\n  loss.svr.alpha: [0.1, 1.0]\n  batch_size: [24, 48]\n"
    text = SMALL.replace("seeds:", f"{grid}  variants: [bi-DynamicSVR]\nseeds:")
    text = text.replace("- bi-DynamicSVR >", "- bi-DynamicSVR, alpha=0.1, batch_size=24 >")
    experiment = load(tmp_path, text)
    found = {
        v.name: (v.config.loss.svr.alpha, v.config.batch_size)
        for v in experiment.variants
        if v.config.loss.svr is not None
    }
    assert found == {
        "bi-DynamicSVR, alpha=0.1, batch_size=24": (0.1, 24),
        "bi-DynamicSVR, alpha=0.1, batch_size=48": (0.1, 48),
        "bi-DynamicSVR, alpha=1.0, batch_size=24": (1.0, 24),
        "bi-DynamicSVR, alpha=1.0, batch_size=48": (1.0, 48),
        "uni-StaticSVR": (1.0, 128),
    }
    assert experiment.variants[0].name == "InfoNCE"


def test_a_grid_alone_makes_rows_with_the_shortest_clear_names(tmp_path: Path) -> None:
    text = (
        "experiment: g\ngrid:\n  model.audio.width: [8, 16]\n  model.text.width: [32]\n"
        "  loss: [infonce, {name: siglip, bias: -5.0}]\n"
    )
    names = [v.name for v in load(tmp_path, text).variants]
    assert names == [
        "audio.width=8, text.width=32, loss=infonce",
        "audio.width=8, text.width=32, loss=siglip",
        "audio.width=16, text.width=32, loss=infonce",
        "audio.width=16, text.width=32, loss=siglip",
    ]


def test_a_grid_gives_no_variant_a_part_that_it_does_not_have(tmp_path: Path) -> None:
    text = SMALL.replace("seeds:", "grid: {loss.svr.alpha: [0.1, 1.0]}\nseeds:")
    text = text[: text.index("claims:")].replace("baseline: InfoNCE\n", "")
    line = mistake(tmp_path, text)
    assert "e.yaml:10: InfoNCE, alpha=0.1: has no svr for 'loss.svr.alpha' to set" in line


def test_a_grid_may_complete_what_its_rows_begin(tmp_path: Path) -> None:
    text = SMALL.replace("data: soundscenes", "data: {name: collection}")
    text = text[: text.index("baseline")] + "grid: {data.folder: [one, two]}\n"
    experiment = load(tmp_path, text)
    assert [str(v.config.data.folder) for v in experiment.variants] == ["one", "two"] * 3
    assert experiment.variants[0].name == "InfoNCE, folder=one"


def test_ablation_by_name_stands_after_its_full_row(tmp_path: Path) -> None:
    ablate = (
        "ablate:\n  full: bi-DynamicSVR\n  remove:\n"
        "    constraint: {loss.svr.constraint: 0}\n    w/o audio side: {loss.svr.sides: text}\n"
    )
    variants = load(tmp_path, SMALL + ablate).variants
    assert [v.name for v in variants] == [
        "InfoNCE",
        "bi-DynamicSVR",
        "bi-DynamicSVR w/o constraint",
        "bi-DynamicSVR w/o audio side",
        "uni-StaticSVR",
    ]
    svr = variants[2].config.loss.svr
    assert svr is not None
    assert (svr.constraint, svr.sides, svr.radius) == (0.0, "both", "dynamic")
    assert variants[3].config.loss.svr.sides == "text"


def test_ablation_by_key_switches_each_component_off(tmp_path: Path) -> None:
    text = (
        "experiment: a\nbase: {loss: {svr: {constraint: 0.5, detach: true}}, optimizer.warmup: 1,\n"
        "  loss.svr.alpha: {from: 1, to: 0.5}}\n"
        "ablate: {full: {optimizer.weight_decay: 0.1}, remove: [loss.svr, loss.svr.constraint, "
        "loss.svr.detach, loss.svr.alpha, optimizer.weight_decay]}\n"
    )
    rows = {v.name: v.config for v in load(tmp_path, text).variants}
    assert list(rows) == [
        "full",
        "full w/o svr",
        "full w/o constraint",
        "full w/o detach",
        "full w/o alpha",
        "full w/o weight_decay",
    ]
    assert rows["full w/o svr"].loss.svr is None
    assert rows["full w/o constraint"].loss.svr.constraint == 0
    assert rows["full w/o detach"].loss.svr.detach is False
    assert rows["full w/o alpha"].loss.svr.alpha == 0  # which had a schedule
    assert rows["full w/o weight_decay"].optimizer.weight_decay == 0
    assert rows["full w/o weight_decay"].loss.svr.constraint == 0.5


def test_what_a_full_row_leaves_to_the_defaults_can_be_removed(tmp_path: Path) -> None:
    ablate = "ablate: {full: bi-DynamicSVR, remove: [loss.svr.constraint, loss.svr]}\n"
    text = SMALL.replace("  uni-StaticSVR: {loss.svr: {sides: text, radius: static}}\n", "")
    text = text.replace("  InfoNCE: {}\n", "").replace("baseline: InfoNCE\n", ablate)
    experiment = load(tmp_path, text[: text.index("claims")])
    full, without, plain = experiment.variants
    assert without.name == "bi-DynamicSVR w/o constraint"
    assert without.config.loss.svr is not None
    assert without.config.loss.svr.constraint == 0
    assert plain.config.loss.svr is None
    assert plain.changes == {"loss.svr": None}  # and nothing of what it does not have
    assert full.changes == {"loss.svr.sides": "both", "loss.svr.radius": "dynamic"}


def test_init_is_a_stage_for_all_rows_but_those_that_name_a_start(tmp_path: Path) -> None:
    text = SMALL.replace("uni-StaticSVR: {", "uni-StaticSVR: {model.start: null, ")
    experiment = load(tmp_path, text + "init: {base: {data.train: pretrain, epochs: 9}}\n")
    assert experiment.stage is not None
    assert (experiment.stage.config.data.train, experiment.stage.config.epochs) == ("pretrain", 9)
    assert [v.from_stage for v in experiment.variants] == [True, True, False]
    assert experiment.variants[0].config.data.train == "train"


def test_a_start_from_the_stage_and_a_fresh_one_are_not_the_same_run(tmp_path: Path) -> None:
    text = "experiment: e\nvariants: {pretrained: {}, noise: {model.start: null}}\n"
    experiment = load(tmp_path, text + "init: {base: {epochs: 9}}\n")
    assert [v.from_stage for v in experiment.variants] == [True, False]
    assert "the same run" in mistake(tmp_path, text)


def test_how_often_a_checkpoint_is_written_makes_no_other_run(tmp_path: Path) -> None:
    text = "experiment: e\nvariants: {A: {}, B: {checkpoint_steps: 5}}\n"
    assert ":2: the variants 'A' and 'B' are the same run" in mistake(tmp_path, text)


def test_init_by_a_variant_leaves_that_variant_without_a_start(tmp_path: Path) -> None:
    experiment = load(tmp_path, SMALL + "init: {variant: InfoNCE, per_seed: true}\n")
    assert experiment.stage is not None
    assert experiment.stage.config == experiment.variant("InfoNCE").config
    assert [v.from_stage for v in experiment.variants] == [False, True, True]


def test_a_variable_of_the_environment_is_put_in_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SMALL + 'profiles: {recorded: {base: {data.events: ["${SOUNDS}/esc"]}}}\n'
    monkeypatch.delenv("SOUNDS", raising=False)
    load(tmp_path, text)  # another profile does not need it
    assert "e.yaml:16: data.events: the environment variable SOUNDS is not set" in mistake(
        tmp_path, text, "recorded"
    )
    monkeypatch.setenv("SOUNDS", "/s")
    assert load(tmp_path, text, "recorded").variants[0].config.data.events == ("/s/esc",)


def test_anchors_and_merges_are_yaml_as_usual(tmp_path: Path) -> None:
    text = SMALL.replace(
        "bi-DynamicSVR: {loss.svr: {sides: both, radius: dynamic}}",
        "bi-DynamicSVR: &full {loss.svr: {sides: both, radius: dynamic}}\n"
        "  longer: {<<: *full, epochs: 30}",
    )
    longer = load(tmp_path, text).variant("longer").config
    assert (longer.epochs, longer.loss.svr.radius) == (30, "dynamic")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs: 3", "epoch: 3", ":4: InfoNCE: unknown key 'epoch'; did you mean 'epochs'?"),
        ("epochs: 3", "epochs: many", ":4: InfoNCE: epochs: input should be a valid integer"),
        ("seeds: 2", "seed: 2", ":10: unknown key 'seed'; did you mean 'seeds'?"),
        ("seeds: 2", "seeds: 0", ":10: seeds: expected 1 to 1000 seeds"),
        ("seeds: 2", "seeds: [1, 1]", ":10: seeds: the seed 1 stands twice"),
        ("seeds: 2", "seeds: true", ":10: seeds: expected a number"),
        (
            "epochs: 3",
            "seed: 3",
            ":4: InfoNCE: 'seed' is no setting of a run: write the seeds",
        ),
        ("radius: dynamic", "radius: wobbly", ":8: bi-DynamicSVR: loss.svr.radius: no radius 'wob"),
        ("radius: dynamic", "radios: x", ":8: bi-DynamicSVR: unknown key 'loss.svr.radios'; did"),
        ("temperature: 0.07", "temperature: -1", ":5: InfoNCE: loss.temperature: input should be"),
        ("sides: text, radius: static", "sides: both, radius: dynamic", ":9: the variants 'bi-Dyn"),
        ("baseline: InfoNCE", "baseline: InfoNC", "; did you mean 'InfoNCE'?"),
        ("baseline: InfoNCE", "baseline: InfoNC", ":11: baseline: no variant 'InfoNC'"),
        ("t2a.R@1, val", "t2a.R@2, val", ":13: no run reports 't2a.R@2'; did you mean 't2a.R@"),
        ("val.a2t.mAP10", "test.t2a.R@1", ":13: the column 'test.t2a.R@1' stands twice"),
        ("val.a2t.mAP10", "fra.t2a.R@1", ":13: no variant reports 'fra.t2a.R@1': InfoNCE: data"),
        ("> InfoNCE on", "> InfNCE on", "no variant 'InfNCE'; did you mean 'InfoNCE'?"),
        ("> InfoNCE on t2a.R@1", "> InfoNCE on t2a.R1", ":15: claim 'bi-DynamicSVR > InfoNCE on"),
        ("- bi-DynamicSVR > InfoNCE on t2a.R@1", "- it is better", ":15: claim 'it is better': ex"),
        (
            "- bi-DynamicSVR > InfoNCE on t2a.R@1",
            "- radius.text.mean of InfoNCE falls over epochs",
            "InfoNCE reports no radius.text.mean: it has no loss.svr",
        ),
        ("  InfoNCE: {}", "  InfoNCE: {}\n  InfoNCE: {epochs: 1}", ":8: the key 'InfoNCE' stands"),
        ("  InfoNCE: {}", "  2: {}\n  InfoNCE: {}", ":7: the key 2 is not text; put it in quotes"),
        ("  InfoNCE: {}", "  init: {}\n  InfoNCE: {epochs: 1}", ":7: 'init' names the stage"),
        ("  InfoNCE: {}", "  InfoNCE: {}\n bad", ":8: not valid YAML"),
        (
            "experiment: small",
            "experiment: Small One",
            ":1: experiment: expected a name of lower-case",
        ),
        ("epochs: 3", "select.metric: t2a.R@3", "no run chooses its epoch by 't2a.R@3'; did you"),
        ("InfoNCE: {}", "InfoNCE: {batch_size: 5000}", "more than data.clips, "),
        ("InfoNCE: {}", "InfoNCE: {data.limit: 9}", "is more than data.limit, 9; lower batch_size"),
        ("InfoNCE: {}", "InfoNCE: {batch_size: 2, resources.workers: 3}", "too few for 3 workers"),
        ("InfoNCE: {}", "InfoNCE: {resources.workers: 0}", ":7: InfoNCE: resources: workers: inp"),
        ("seeds: 2", "seeds: 2\nresources: {min_workers: 2}", "'min_workers' is more than 'wor"),
        ("seeds: 2", "seeds: 2\nfigures: [drift, raduis]", ":11: no figure 'raduis'; did you mean"),
        ("seeds: 2", "seeds: 2\ninit: {}", ":11: init: give either 'base'"),
        ("seeds: 2", "seeds: 2\ninit: {variant: X}", ":11: variant: no variant 'X'"),
        ("seeds: 2", "seeds: 2\ngrid: {epochs: []}", ":11: 'epochs' has an empty list"),
        ("seeds: 2", "seeds: 2\nablate: {full: X, remove: [loss]}", ":11: no variant 'X'"),
        (
            "seeds: 2",
            "seeds: 2\nprofiles: {p: {data: x}}",
            "(valid: about, base, claims, groups, init, keep, matters, prices, resources, search, "
            "seeds, table)",
        ),
        ("seeds: 2", "seeds: 2\nprofiles: {P: {}}", ":11: profiles.P.[key]: expected a name of l"),
        ("InfoNCE: {}", "InfoNCE: 3", ":7: variants.InfoNCE: input should be a mapping, got 3"),
    ],
)
def test_a_mistake_gets_file_line_key_and_the_nearest_valid_one(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in SMALL
    line = mistake(tmp_path, SMALL.replace(old, new, 1))
    assert line.startswith(f"{tmp_path}/e.yaml:")
    assert expected in line


def test_an_unknown_profile_gets_the_nearest(tmp_path: Path) -> None:
    text = SMALL + "profiles: {paper: {}}\n"
    assert "no profile 'papper'; did you mean 'paper'? (profiles: laptop, paper)" in mistake(
        tmp_path, text, "papper"
    )


def test_a_mistake_on_the_command_line_names_the_option(tmp_path: Path) -> None:
    assert mistake(tmp_path, SMALL, epoch=3).startswith("--set epoch: InfoNCE: unknown key 'epoch'")
    with pytest.raises(InputError, match="expected KEY=VALUE"):
        parse_changes(["epochs"])


def test_a_mistake_is_told_where_the_last_word_was_said(tmp_path: Path) -> None:
    row = SMALL.replace("  InfoNCE: {}", "  InfoNCE: {loss.temperature: -1}")
    assert "e.yaml:7: InfoNCE: loss.temperature" in mistake(tmp_path, row, loss__temperature=0.1)
    told = mistake(tmp_path, SMALL, **{"resources.workers": 0})
    assert told.startswith("--set resources.workers: InfoNCE: resources: workers")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            "seeds",
            "'seeds' is no setting of a run: write the seeds at the file's top level or in a",
        ),
        ("seed", "'seed' is no setting of a run: write the seeds"),
        ("table.columns", "'table' is no setting of a run: it stands at the file's top level"),
        ("variants", "'variants' is no setting of a run"),
        ("base.epochs", "'base' is where settings stand and none itself: give 'epochs'"),
        ("sead", "unknown key 'sead' (valid: also, batch_size"),
    ],
)
def test_what_the_command_line_cannot_set_is_refused_with_the_place_to_write_it(
    tmp_path: Path, key: str, told: str
) -> None:
    line = mistake(tmp_path, SMALL, **{key: 3})
    assert line.startswith(f"--set {key}: InfoNCE: {told}")
    assert "did you mean 'seed'" not in line


@pytest.mark.parametrize("name", ["[x]", "{a: 1}", "null", "1", "true", "[[]]"])
@pytest.mark.parametrize("part", ["model.audio", "model.text", "data", "loss", "optimizer"])
def test_a_name_that_is_none_is_one_line(tmp_path: Path, part: str, name: str) -> None:
    changes = parse_changes([f"{part}={{name: {name}}}"])
    assert f"--set {part}: InfoNCE: {part}.name" in mistake(tmp_path, SMALL, **changes)


NUMBERS = """experiment: numbers
base: {data: soundscenes, optimizer: {lr: 1e-3}}
variants:
  a: {}
  b: {optimizer.lr: 2e-3}
  on: {optimizer.lr: 3e-3}
grid: {loss.temperature: [5e-2, 7e-2], variants: [b]}
seeds: [0, 1]
search:
  space: {optimizer.lr: {log_uniform: [1e-4, 1e-2]}, loss.temperature: [5e-2, 7e-2]}
  start: [{optimizer.lr: 1e-3, loss.temperature: 7e-2}]
  trials: 1e1
resources: {memory: 1e3}
profiles: {paper: {base: {optimizer: {weight_decay: 1e-4}}, search: {budget: {hours: 1e-1}}}}
"""


def test_numbers_read_alike_in_every_place_of_a_file(tmp_path: Path) -> None:
    experiment = load(tmp_path, NUMBERS, "paper", **parse_changes(["optimizer.loss_lr=1e-5"]))
    rates = {v.name: v.config.optimizer.lr for v in experiment.variants}
    assert rates == {
        "a": 1e-3,
        "b, temperature=0.05": 2e-3,
        "b, temperature=0.07": 2e-3,
        "on": 3e-3,
    }
    assert experiment.variants[0].config.optimizer.weight_decay == 1e-4
    assert experiment.variants[0].config.optimizer.loss_lr == 1e-5
    assert experiment.variants[0].resources.memory == 1000
    search = experiment.search
    assert search is not None
    assert search.start == ({"optimizer.lr": 1e-3, "loss.temperature": 7e-2},)
    assert (search.trials, search.budget.hours) == (10, 0.1)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("seeds: [0, 1]", "seeds: [010, 011]", 8),
        ("lr: 1e-3}", "lr: 01e-3}", 2),
        ("optimizer.lr: 2e-3", "optimizer.lr: 0_2", 5),
        ("[5e-2, 7e-2], variants", "[5e-2, 00], variants", 7),
        ("[1e-4, 1e-2]", "[1e-4, 01]", 10),
        ("start: [{optimizer.lr: 1e-3", "start: [{optimizer.lr: 0x1", 11),
        ("trials: 1e1", "trials: 1:30", 12),
        ("memory: 1e3", "memory: 0o17", 13),
        ("weight_decay: 1e-4", "weight_decay: 0b1", 14),
        ("seeds: [0, 1]", "seeds: ['010']", 8),
        ("trials: 1e1", "trials: '012'", 12),
        ("memory: 1e3", "memory: '1_000'", 13),
    ],
)
def test_a_number_of_two_readings_is_refused_in_every_place(
    tmp_path: Path, old: str, new: str, line: int
) -> None:
    assert old in NUMBERS
    told = mistake(tmp_path, NUMBERS.replace(old, new))
    assert told.startswith(f"{tmp_path}/e.yaml:{line}: ")
    assert re.search("can be read as .* or as .*; write the decimal number", told)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "value", ["!!timestamp abc", "!!bool abc", "&a [*a]", "[" * 2000, "!!int 1:30", "{a: ["]
)
def test_a_value_of_the_command_line_that_cannot_be_read_is_one_line(value: str) -> None:
    with pytest.raises(InputError, match="--set x") as caught:
        parse_changes([f"x={value}"])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "again",
    [
        "InfoNCE < bi-DynamicSVR on t2a.R@1",
        "bi-DynamicSVR > InfoNCE on test.t2a.R@1",
        "bi-DynamicSVR > InfoNCE on t2a.R@1 by at least 0",
    ],
)
def test_a_claim_in_other_words_is_the_same_claim(tmp_path: Path, again: str) -> None:
    """It would count twice in the correction for several claims."""
    assert f"the claim '{again}' stands twice" in mistake(tmp_path, f"{SMALL}  - {again}\n")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (
            "t2a.R@1 after epoch 1",
            "test.t2a.R@1 is measured at the end alone; each epoch has val",
        ),
        ("zero_shot.accuracy after epoch 1", "zero_shot.accuracy is measured at the end alone"),
        ("seconds after epoch 1", "seconds is of a whole run; no epoch has it"),
        ("val.t2a.R@1 after epoch 99", "its runs end after epoch "),
    ],
)
def test_a_number_that_no_epoch_has_is_no_claim_on_one(
    tmp_path: Path, asked: str, why: str
) -> None:
    claim = f"bi-DynamicSVR > InfoNCE on {asked}"
    assert f"claim '{claim}': {why}" in mistake(tmp_path, f"{SMALL}  - {claim}\n")


def test_chance_is_reported_with_the_test_split_alone(tmp_path: Path) -> None:
    text = SMALL.replace("data: soundscenes", "data: {test: null}").replace("t2a.R@1, val", "val")
    text = text[: text.index("claims")].replace("[val.a2t.mAP10]", "[chance.t2a.R@1]")
    assert "data.test is null" in mistake(tmp_path, text)


def test_a_row_that_changes_the_model_cannot_start_from_the_stage(tmp_path: Path) -> None:
    text = SMALL.replace("InfoNCE: {}", "InfoNCE: {model.audio.width: 8}")
    line = mistake(tmp_path, text + "init: {base: {epochs: 9}}\n")
    assert ":7: InfoNCE: its model.audio.width differs from the init stage's" in line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1, 2]",
        b"\xff\xfe\x00",
        b"a: \x00",
        b"a: !!python/object:os.system {}",
        b"? [a]\n: 1",
    ],
)
def test_what_is_no_experiment_file_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "e.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path / "none.yaml", "cannot be read"),
        (tmp_path, "not a regular file"),
    ):
        with pytest.raises(InputError, match=told):
            load_experiment(path)


@pytest.mark.heavy
def test_aliases_that_expand_without_bound_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 10):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    assert "aliases expand to more than" in mistake(tmp_path, "\n".join(lines))
    assert "an anchor that contains itself" in mistake(tmp_path, "a: &a [*a]")
    assert "nested deeper" in mistake(tmp_path, "a: " + "[" * 5000 + "]" * 5000)


def test_claims_become_typed_objects() -> None:
    variants = ["A", "A on B", "B > C", "C"]
    assert parse_claim("A > C on t2a.R@1", variants) == Greater(
        "A > C on t2a.R@1", "A", "C", "test.t2a.R@1"
    )
    assert parse_claim("A > B > C on a2t.medR by  at least .5", variants) == Greater(
        "A > B > C on a2t.medR by at least .5", "A", "B > C", "test.a2t.medR", 0.5
    )
    lower = parse_claim("A < A on B on a2t.medR", variants)
    assert isinstance(lower, Greater)
    assert (lower.greater, lower.lesser) == ("A on B", "A")
    assert parse_claim("drift.text of A on B rises over epochs", variants) == Trend(
        "drift_cosine.text of A on B rises over epochs", "A on B", "drift_cosine.text", "rises"
    )
    assert parse_claim("A within 2.5 % of C on seconds", variants) == Within(
        "A within 2.5 % of C on seconds", "A", "C", "seconds", 2.5
    )
    early = parse_claim("A < C on val.t2a.R@1 after  epoch 2 by at least 1", variants)
    assert early == Greater("", "C", "A", "val.t2a.R@1", 1.0, epoch=2)
    assert early != parse_claim("C > A on val.t2a.R@1 by at least 1", variants)
    assert asked_of(early) == "val.t2a.R@1 after epoch 2"
    for wrong in (
        "A > A on t2a.R@1",
        "A > C on val.t2a.R@1 after epoch 0",
        "A > C",
        "A on t2a.R@1",
        "A within x % of C on seconds",
        "",
    ):
        with pytest.raises(InputError):
            parse_claim(wrong, variants)


@pytest.mark.heavy
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_valid_and_its_head_says_how_to_run_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_what_it_reads(text: str) -> None:
        for name in re.findall(r"\$\{(\w+)\}", text):
            monkeypatch.setenv(name, name.lower())

    text = path.read_text(encoding="utf-8")
    set_what_it_reads(text)
    experiment = load_experiment(path)
    for file in experiment.files:
        set_what_it_reads(file.read_text(encoding="utf-8"))
    assert experiment.variants or experiment.parts
    head = text[: text.index("experiment:")]
    assert f"supclap run experiments/{path.name}" in head
    assert "# Time:" in head
    assert "# Expected:" in head
    profiles = with_profiles(read_document(path))[0].values.get("profiles", {})
    for profile in (name for name in profiles if profiles[name] is not None):
        assert load_experiment(path, profile).variants


def test_the_example_in_the_documentation_is_a_valid_file(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2].joinpath("docs", "experiments.md").read_text("utf-8")
    blocks = [part.split("```")[0] for part in guide.split("```yaml\n")[1:]]
    whole, grid, ablate, init, scale = blocks[:5]
    assert len(load(tmp_path, whole).variants) == 2
    experiment = load(tmp_path, whole + ablate + init + scale.replace("${SUPCLAP_AUDIOCAPS}", "x"))
    assert len(experiment.variants) == 4
    claimed = whole.replace("[bi-DynamicSVR >", '["bi-DynamicSVR, alpha=0.1 >').replace(
        "on t2a.R@1]", 'on t2a.R@1"]'
    )
    assert len(load(tmp_path, claimed + grid).variants) == 4


def test_table_3_has_the_papers_seven_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    path = next(path for path in SHIPPED if path.stem == "table3_ablation")
    experiment = load_experiment(path)
    assert len(experiment.variants) == 7
    assert len(experiment.seeds) >= 3


def test_rows_may_have_baselines_of_their_own(tmp_path: Path) -> None:
    mapping = "baseline: {InfoNCE: [bi-DynamicSVR]}"
    found = load(tmp_path, SMALL.replace("baseline: InfoNCE", mapping))
    assert found.baselines == {"bi-DynamicSVR": "InfoNCE"}
    every = load(tmp_path, SMALL)
    assert every.baselines == {row: "InfoNCE" for row in every.rows if row != "InfoNCE"}
    for wrong, told in (
        ("{InfoNC: [bi-DynamicSVR]}", "baseline: no variant 'InfoNC'; did you mean 'InfoNCE'?"),
        ("{InfoNCE: [bi-Dynamic]}", "baseline: no variant 'bi-Dynamic'"),
        ("{InfoNCE: [InfoNCE]}", "baseline: 'InfoNCE' is compared with itself"),
        ("{InfoNCE: [bi-DynamicSVR, bi-DynamicSVR]}", "baseline: 'bi-DynamicSVR' has two"),
        ("{InfoNCE: []}", "names no row"),
    ):
        with pytest.raises(InputError, match=":11: .*" + re.escape(told)):
            load(tmp_path, SMALL.replace("baseline: InfoNCE", f"baseline: {wrong}"))


@pytest.mark.heavy
def test_the_papers_files_share_their_cells() -> None:
    """What two tables show of the same training is trained once: their bases must stay equal."""
    paper = load_experiment(next(path for path in SHIPPED if path.stem == "paper"))
    of = {part.name: {cell.signature for cell in cells_of(part)} for part in paper.parts}
    for part, whole in (
        ("table2-zero-shot", "table3-ablation"),
        ("table6-shift", "table1-retrieval"),
        ("table14-overhead", "table1-retrieval"),
        ("radius-init", "figures"),
    ):
        assert of[part] <= of[whole], part
    assert len(of["table3-ablation"] & of["alpha"]) == 3 * 3 + 1
    assert len(of["table3-ablation"] & of["batch-size"]) == 3 * 3 + 1
    assert len(of["table3-ablation"] & of["figures"]) == 3 * 3 + 1
    assert len(cells_of(paper)) == len(set().union(*of.values()))


GRID = SMALL.replace("claims:\n  - bi-DynamicSVR > InfoNCE on t2a.R@1\n", "")


def test_a_grid_over_all_rows_compares_each_with_the_baseline_of_its_settings(
    tmp_path: Path,
) -> None:
    experiment = load(tmp_path, GRID + "grid: {optimizer.lr: [1e-3, 1e-4], epochs: [2, 3]}\n")
    assert len(experiment.rows) == 12
    assert experiment.baselines == {
        f"{row}, lr={rate}, epochs={epochs}": f"InfoNCE, lr={rate}, epochs={epochs}"
        for row in ("bi-DynamicSVR", "uni-StaticSVR")
        for rate in ("0.001", "0.0001")
        for epochs in (2, 3)
    }


def test_a_grid_over_some_rows_keeps_the_baseline_or_says_why_it_cannot(tmp_path: Path) -> None:
    text = GRID + "grid: {loss.svr.alpha: [0.5, 2], variants: [bi-DynamicSVR]}\n"
    assert load(tmp_path, text).baselines == {
        "bi-DynamicSVR, alpha=0.5": "InfoNCE",
        "bi-DynamicSVR, alpha=2": "InfoNCE",
        "uni-StaticSVR": "InfoNCE",
    }
    text = GRID + "grid: {epochs: [5, 6], variants: [InfoNCE]}\n"
    told = mistake(tmp_path, text)
    assert ":11: baseline: the grid multiplies 'InfoNCE' and not 'bi-DynamicSVR'" in told
    assert "{'InfoNCE, epochs=5': [bi-DynamicSVR]}" in told
    each = text.replace("baseline: InfoNCE", "baseline: {InfoNCE: [bi-DynamicSVR]}")
    told = mistake(tmp_path, each)
    assert "name one of 'InfoNCE, epochs=5', 'InfoNCE, epochs=6'" in told
