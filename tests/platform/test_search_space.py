"""The space of a search, and what a mistake in a search section gets."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.search import Search
from supclap_platform.experiment.search_section import ParameterSection
from supclap_platform.experiment.search_space import Space, distribution, grid_values
from supclap_platform.search.trials import Trials, variant_of
from tiny_search import SEARCH

from supclap.errors import InputError


def load(tmp_path: Path, text: str = SEARCH, profile: str = "laptop", **changes: Any) -> Experiment:
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, profile, changes)


def search_of(tmp_path: Path, text: str = SEARCH) -> Search:
    search = load(tmp_path, text).search
    assert search is not None
    return search


def parameter(**keys: Any) -> ParameterSection:
    return ParameterSection.model_validate(keys)


def suggested(space: Space, seed: int) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    params = space(trial)
    assert space.free(params) == trial.params
    return params


def test_what_is_suggested_lies_in_its_range_and_where_its_condition_holds(tmp_path: Path) -> None:
    space = search_of(tmp_path).space
    radii = set()
    for seed in range(40):
        params = suggested(space, seed)
        radii.add(params["loss.svr.radius"])
        static = params["loss.svr.radius"] == "static"
        assert ("loss.svr.initial" in params) is static
        assert ("loss.svr.width" in params) is not static
        assert params["loss.svr.sides"] == "both"
        assert 0.1 <= params["loss.svr.alpha"] <= 10
        assert space.setting(params) == params
    assert radii == {"static", "dynamic"}


def test_a_condition_below_a_condition_needs_both() -> None:
    space = Space(
        {
            "c": parameter(integer=[1, 3], when={"b": [True]}),  # before what it depends on
            "b": parameter(choice=[True, False], when={"a": "x"}),
            "a": parameter(choice=["x", "y"]),
        }
    )
    found = {tuple(sorted(p.items())) for p in space.points()}
    wanted: set[Any] = {(("a", "y"),), (("a", "x"), ("b", False))}
    wanted |= {(("a", "x"), ("b", True), ("c", c)) for c in (1, 2, 3)}
    assert found == wanted
    assert list(space.parameters) == ["a", "b", "c"]


def test_a_grid_is_every_combination() -> None:
    space = Space(
        {
            "a": parameter(choice=[1, 2]),
            "b": parameter(log_uniform=[0.01, 1], steps=3),
            "c": parameter(integer=[1, 9], steps=3),
        }
    )
    found = [tuple(p.values()) for p in space.points()]
    wanted = list(product([1, 2], [0.01, 0.1, 1.0], [1, 5, 9]))
    assert found == [pytest.approx(point) for point in wanted]


def test_a_grids_ends_lie_in_their_range() -> None:
    for keys in ({"log_uniform": [0.03, 0.7]}, {"uniform": [0.1, 0.3]}, {"integer": [3, 4]}):
        section = parameter(**keys)
        own = distribution(section)
        assert all(own._contains(own.to_internal_repr(v)) for v in grid_values(section))


def test_probes_show_every_edge_of_every_parameter(tmp_path: Path) -> None:
    space = search_of(tmp_path).space
    shown = {(name, params[name]) for name, params in space.probes()}
    assert shown == {
        ("loss.svr.radius", "static"), ("loss.svr.radius", "dynamic"),
        ("loss.svr.alpha", 0.1), ("loss.svr.alpha", 10),
        ("loss.svr.initial", -1), ("loss.svr.initial", 2),
        ("loss.svr.width", 16), ("loss.svr.width", 256), ("loss.svr.sides", "both"),
    }  # fmt: skip


def test_a_start_point_is_filled_up_with_the_bases_own_values(tmp_path: Path) -> None:
    assert search_of(tmp_path).start == (
        {
            "loss.svr.radius": "dynamic",
            "loss.svr.alpha": 1.0,
            "loss.svr.sides": "both",
            "loss.svr.width": 128,
        },
    )


def mistake(tmp_path: Path, text: str, profile: str = "laptop") -> str:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text, profile)
    line = str(caught.value)
    assert "\n" not in line
    assert "e.yaml:" in line
    return line


def test_trials_are_cells_as_a_grid_would_make_them(tmp_path: Path) -> None:
    text = SEARCH
    experiment = load(tmp_path, text)
    trial = Trials(experiment).of(7, experiment.search.start[0])
    grid = load(
        tmp_path,
        "experiment: other\nbase: {data: soundscenes, epochs: 3}\n"
        "variants: {x: {loss.svr: {radius: dynamic, sides: both}}}\nseeds: [1000]\n",
    )
    from supclap_platform.experiment.cells import cells_of

    assert trial.signatures == tuple(cell.signature for cell in cells_of(grid))
    assert [cell.label for cell in trial.cells] == ["trial 7, seed 1000"]


def test_trials_start_from_the_stage_that_the_rows_start_from(tmp_path: Path) -> None:
    text = SEARCH + "init: {base: {epochs: 1}}\n"
    experiment = load(tmp_path, text)
    trial = Trials(experiment).of(0, experiment.search.start[0])
    from supclap_platform.experiment.cells import cells_of

    stage = next(cell for cell in cells_of(experiment) if cell.variant == "init")
    assert [cell.signature for cell in trial.stages] == [stage.signature]
    assert trial.cells[0].start == stage.signature


def test_a_control_is_the_winner_but_for_what_it_changes(tmp_path: Path) -> None:
    text = SEARCH.replace("  trials: 10", "  trials: 10\n  controls: {plain: {loss.svr: null}}")
    experiment = load(tmp_path, text)
    params = {**experiment.search.start[0], "loss.svr.alpha": 0.5}
    winner = variant_of(experiment, "winner", params)
    control = variant_of(experiment, "plain", params, "plain")
    assert winner.config.loss.svr.alpha == 0.5
    assert control.config == winner.config.model_copy(
        update={"loss": winner.config.loss.model_copy(update={"svr": None})}
    )


MISTAKES = [
    ("loss.svr.alpha:", "loss.svr.alfa:", ":10: ", "did you mean 'alpha'?"),
    ("[0.1, 10]", "[10, 0.1]", ":10: ", "empty range"),
    ("[0.1, 10]", "[0, 10]", ":10: ", "above zero"),
    ("[0.1, 10]", "[-1, 10]", ":10: ", "above zero"),
    ("{log_uniform: [0.1, 10]}", "{uniform: [-1, 10]}", ":10: ", "greater than or equal to 0"),
    ("{log_uniform: [0.1, 10]}", "{uniform: [1, 2], fixed: 3}", ":10: ", "exactly one of"),
    ("{log_uniform: [0.1, 10]}", "{}", ":10: ", "exactly one of"),
    ("[static, dynamic]", "[]", ":9: ", "no values"),
    ("{fixed: both}", "[text, bth]", ":13: ", "got 'bth'"),
    ("when: {loss.svr.radius: static}", "when: {loss.svr.radious: static}", ":11: ",
     "no parameter of the space; did you mean 'loss.svr.radius'?"),
    ("when: {loss.svr.radius: static}", "when: {loss.svr.radius: both}", ":11: ", "never so"),
    ("when: {loss.svr.radius: static}", "when: {loss.svr.initial: 1.0}", ":11: ", "lead back"),
    ("val.t2a.R@1\n", "val.t2a.R@2\n", ":14: ", "did you mean"),
    ("objective: val.t2a.R@1", "objective: t2a.R@1", ":14: ", "give val.t2a.R@1"),
    ("objective: val.t2a.R@1", "objective: zero_shot.accuracy", ":14: ", "would prove nothing"),
    ("objective: val.t2a.R@1", "objective: val.fra.t2a.R@1", ":14: ", "has no fra"),
    ("objective: val.t2a.R@1", "objective: drift.text", ":14: ", "say which way"),
    ("objective: val.t2a.R@1", "objective: {val.t2a.R@1: up}", ":14: ", "'maximize' or 'minimize'"),
    ("objective: val.t2a.R@1", "objective: [val.t2a.R@1, seconds]", ":7: ", "pruner: none"),
    ("objective: val.t2a.R@1", "objective: train.constraint", ":14: ", "radius is static"),
    ("trials: 10", "trials: 0", ":15: ", "greater than"),
    ("trials: 10", "trails: 10", ":15: ", "did you mean 'trials'"),
    ("trials: 10", "trials: 10\n  seeds: [0, 5]", ":16: ", "the seed 0 in common"),
    ("trials: 10", "trials: 10\n  winner: InfoNCE", ":16: ", "two rows"),
    ("trials: 10", "trials: 10\n  sampler: bayes", ":16: ", "'tpe', 'random', 'grid'"),
    ("trials: 10", "trials: 10\n  pruner: {name: asha, factor: 1}", ":16: ", "greater than"),
    ("trials: 10", "trials: 10\n  budget: {hours: 0}", ":16: ", "greater than 0"),
    ("trials: 10", "trials: 10\n  controls: {x: {loss.svrs: null}}", ":16: ", "did you mean 'svr'"),
    ("start: [{}]", "start: [{loss.svr.alpha: 99}]", ":16: ", "outside [0.1, 10]"),
    ("start: [{}]", "start: [{loss.svr.initial: 1}]", ":16: ", "does not apply"),
    ("start: [{}]", "start: [{epochs: 9}]", ":16: ", "no parameter of the space"),
    ("winner > InfoNCE", "best > InfoNCE", ":19: ", "no variant 'best'"),
    ("loss.svr.sides: {fixed: both}", "seed: [1, 2]", ":13: ", "stand elsewhere"),
    ("seeds: 2", "seeds: 2\ngroups: {a: {}}", ":7: ", "no groups"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place", "told"), MISTAKES)
def test_a_mistake_is_one_line_with_its_place(
    tmp_path: Path, old: str, new: str, place: str, told: str
) -> None:
    text = SEARCH
    assert text.count(old) == 1
    line = mistake(tmp_path, text.replace(old, new))
    assert place in line
    assert told in line


def test_a_profile_changes_the_searchs_scale(tmp_path: Path) -> None:
    text = SEARCH
    text += "profiles: {big: {search: {trials: 99, seeds: 3, budget: {hours: 2}}}}\n"
    big = load(tmp_path, text, "big").search
    assert (big.trials, big.seeds, big.budget.hours) == (99, (1000, 1001, 1002), 2)
    assert big.space.described() == search_of(tmp_path, text).space.described()
    assert "trials" in mistake(tmp_path, text.replace("trials: 99", "trials: none"), "big")


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("optimizer.lr: [1e-3, 0.001]", "'choice' names one setting twice: 0.001 and 0.001"),
        ("optimizer.lr: {choice: [1, 0.5, 1.0]}", "'choice' names one setting twice: 1 and 1.0"),
        ("optimizer.lr: [1e-3, '0.001']", "'choice' names one setting twice: 0.001 and '0.001'"),
        ("loss.svr.detach: [true, 'yes']", "'choice' names one setting twice: True and 'yes'"),
        ("epochs: {uniform: [2, 2.0000000001]}", "input should be a valid integer"),
    ],
)
def test_one_setting_written_twice_is_refused(tmp_path: Path, space: str, told: str) -> None:
    path = tmp_path / "e.yaml"
    base = "base: {loss.svr: {radius: static}}\n"
    path.write_text(f"experiment: e\n{base}search:\n  space:\n    {space}\n")
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        load_experiment(path)
    assert f"{path}:5: " in str(caught.value)


def test_a_parameter_that_changes_no_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    encoder = "{name: sonar, folder: /somewhere}"
    path.write_text(
        f"experiment: e\nbase: {{model.text: {encoder}}}\nsearch:\n  space:\n"
        "    model.text.width: {integer: [32, 64]}\n"
    )
    with pytest.raises(InputError, match="its values 32 and 64 are the same run"):
        load_experiment(path)


def test_a_text_is_said_to_be_no_number(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(
        "experiment: e\nsearch:\n  space: {optimizer.lr: {uniform: [1e-4, 1e-2]}}\n"
        "  start: [{optimizer.lr: 'fast'}]\n"
    )
    with pytest.raises(InputError, match=r"is 'fast', no number in \[0\.0001, 0\.01\]"):
        load_experiment(path)
