"""`seeds.vary`: each seed has its own stage and its own made world."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.commands.now import as_of_now
from supclap_platform.experiment.cells import INIT, Cell, cells_of
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.method import Footprint
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.ledger.forecast import Estimates, forecast
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.plan import make_plan, remember
from supclap_platform.ledger.room import room
from supclap_platform.results.conclusion import conclude
from supclap_platform.results.report import build_report
from supclap_platform.results.scope import scope_of
from supclap_platform.results.verdicts import judge
from supclap_platform.search.winner import search_digest
from supclap_platform.testing import finish

from supclap import user_code
from supclap.data.soundscenes import SYNTHETIC
from supclap.errors import InputError

TEXT = """\
experiment: vary
base: {epochs: 2, data: {seed: 7}, also: {other: {data: {name: soundscenes, seed: 9}}, own: {}}}
init: {base: {data.train: pretrain}}
variants:
  A: {}
  B: {loss.svr: {radius: static}}
seeds: {until: decided, looks: [3, 5], vary: [stage, world]}
claims: [B > A on t2a.R@1]
"""
SEEDS = "seeds: {until: decided, looks: [3, 5], vary: [stage, world]}"
R1 = "test.t2a.R@1"


def load(folder: Path, text: str = TEXT, profile: str = "laptop") -> Experiment:
    path = folder / "vary.yaml"
    path.write_text(text, encoding="utf-8")
    return load_experiment(path, profile)


def mistake(folder: Path, text: str, profile: str = "laptop") -> str:
    with pytest.raises(InputError) as caught:
        load(folder, text, profile)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


def named(cells: list[Cell]) -> dict[tuple[str, int], str]:
    return {(cell.variant, cell.seed): cell.signature for cell in cells}


def test_a_cell_is_the_one_that_a_file_with_that_stage_and_world_asks_for(tmp_path: Path) -> None:
    """Each seed by itself in a file of before, with its world and a stage of its own."""
    varied = named(cells_of(load(tmp_path)))
    assert len({varied[INIT, seed] for seed in range(3)}) == 3
    for seed in range(3):
        text = TEXT.replace(SEEDS, f"seeds: [{seed}]").replace(
            "seed: 7", f"seed: {7 + 1000 * seed}"
        )
        text = text.replace("seed: 9", f"seed: {9 + 1000 * seed}")
        text = text.replace("pretrain}}", "pretrain}, per_seed: true}")
        for key, signature in named(cells_of(load(tmp_path, text))).items():
            assert varied[key] == signature


@pytest.mark.parametrize("variant", ["{base: {epochs: 1}", "{variant: A"])
def test_a_stage_of_each_seed_is_what_per_seed_was(tmp_path: Path, variant: str) -> None:
    text = TEXT.replace("{base: {data.train: pretrain}", variant)
    new = text.replace(", world", "")
    old = text.replace(", vary: [stage, world]", "")
    old = old.replace(f"init: {variant}", f"init: {variant}, per_seed: true")
    assert named(cells_of(load(tmp_path, new))) == named(cells_of(load(tmp_path, old)))
    alone = text.replace("[stage, world]", "world")  # one stage for all, of the world that is given
    cells = cells_of(load(tmp_path, alone))
    starts = {cell.start for cell in cells if cell.start}
    assert len(starts) == 1
    (stage,) = (cell for cell in cells if cell.signature in starts)
    assert stage.config.data.seed == 7
    assert {cell.config.data.seed for cell in cells if cell.variant == "B"} == {7, 1007, 2007}


def test_groups_parts_and_profiles(tmp_path: Path) -> None:
    text = TEXT.replace("variants:", "groups: {x: {}, y: {data.seed: 8}}\nvariants:")
    text = text.replace("on t2a", "on x.t2a")
    text += "profiles: {same: {seeds: {until: decided, vary: []}}, few: {seeds: 2}}\n"
    worlds = {(c.group, c.seed): c.config.data.seed for c in cells_of(load(tmp_path, text))}
    assert [worlds["x", seed] for seed in range(3)] == [7, 1007, 2007]
    assert [worlds["y", seed] for seed in range(3)] == [8, 1008, 2008]
    for profile in ("same", "few"):
        cells = cells_of(load(tmp_path, text, profile))
        assert {cell.config.data.seed for cell in cells if cell.group == "x"} == {7}
        assert len({cell.start for cell in cells if cell.start}) == 1
    (tmp_path / "other.yaml").write_text(TEXT.replace("experiment: vary", "experiment: other"))
    whole = tmp_path / "whole.yaml"
    whole.write_text("experiment: whole\ninclude: [vary.yaml, other.yaml]\n")
    load(tmp_path)
    assert len(cells_of(load_experiment(whole))) == len(cells_of(load(tmp_path))) == 9


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TEXT.replace("world]", "worlds]"), ":7: seeds.vary: the method supclap cannot vary 'worl"),
        (TEXT.replace("stage, world", "world, world"), ":7: seeds.vary: 'world' stands twice"),
        (TEXT.replace("[stage, world]", "3"), "vary: input should be a"),
        (
            TEXT.replace("init: {base: {data.train: pretrain}}\n", ""),
            ":6: seeds.vary: there is no stage that a seed could have of its own",
        ),
        (
            TEXT.replace("pretrain}}", "pretrain}, per_seed: false}"),
            ":3: init: 'per_seed: false' and 'seeds.vary' with 'stage' say the opposite",
        ),
        (
            TEXT.replace("pretrain}}", "pretrain}, per_seed: true}").replace("stage, ", ""),
            ":3: init: 'per_seed: true' and 'seeds.vary' without 'stage' say the opposite",
        ),
        (
            TEXT.replace("B: {", "B: {data: {name: collection, folder: x}, "),
            ":7: seeds.vary: B has no world to vary: its clips are recorded and not made "
            "(data.name: collection); leave 'world' out",
        ),
    ],
)
def test_a_mistake_gets_its_line(tmp_path: Path, text: str, told: str) -> None:
    assert told in mistake(tmp_path, text)


def complete(experiment: Experiment, ledger: Ledger, cells: list[Cell]) -> None:
    """Runs whose data are their world's, with ranks of eight clips or nine."""
    remember(make_plan(experiment, ledger), ledger)
    for cell in cells:
        chance = np.random.default_rng([cell.seed, len(cell.signature)])
        clips = np.arange(8 + cell.seed % 2)
        found = chance.integers(0, 2 if cell.variant == "A" else 1, len(clips))
        ranks = {"t2a_ranks": found, "t2a_clips": clips, "a2t_ranks": found, "a2t_clips": clips}
        value = 100.0 * float(np.mean(found < 1))
        finish(ledger, cell, {R1: value}, ranks=ranks, data=f"world-{cell.config.data.seed}")


@pytest.mark.heavy
def test_what_is_judged_and_said(tmp_path: Path, ledger: Ledger) -> None:
    """Each seed is compared on its own clips, of which another seed may have others."""
    experiment = load(tmp_path)
    complete(experiment, ledger, cells_of(experiment))
    (verdict,) = judge(as_of_now(experiment, ledger)[0], ledger)
    assert verdict.reasons == ()
    assert verdict.remarks == ()
    assert (verdict.seeds, verdict.queries, verdict.wide) == (3, 8, None)
    said = (
        "Each seed has its own first weights, order of the data, stage and clips, so verdicts "
        "speak of others of their kind too."
    )
    assert verdict.scope == said
    found = conclude(as_of_now(experiment, ledger)[0], ledger)
    files = {name: content.decode() for name, content in found.files.items()}
    for name in ("table.txt", "verdicts.txt", "verdicts.md"):
        assert said in " ".join(files[name].split())
    assert next(csv.DictReader(io.StringIO(files["verdicts.csv"])))["scope"] == said
    page = build_report(as_of_now(experiment, ledger)[0], ledger).decode()
    assert said in page
    assert "each with its own stage and world" in page
    place = [str(tmp_path / "vary.yaml"), "--storage", str(tmp_path / "storage")]
    planned = CliRunner().invoke(main, ["plan", "--no-timing", *place])
    assert planned.exit_code == 0, planned.output
    assert "each seed's own: 5 stages and 5 worlds\n" in planned.output
    assert "each seed's own, at worst: 5 stages and 5 worlds\n" in planned.output


@pytest.mark.heavy
def test_the_clips_of_each_world_count_on_the_disk(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two collections a seed, its own and that of `also.other`: of 1,000 clips, 1,000 for
    pretraining, 500, 1,000 and 1,000 to measure on, and 20 of each kind of event."""
    monkeypatch.setenv("SUPCLAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**11))
    text = TEXT.replace("data: {seed: 7}", "data: {seed: 7, clips: 1000}")
    text = text.replace("seed: 9}", "seed: 9, clips: 1000}")
    clips = 1000 + 1000 + 500 + 1000 + 1000 + 20 * len(SYNTHETIC)
    one = clips * 2 * 16_000 * 2  # two seconds of 16-bit samples
    load(tmp_path, text)
    place = [str(tmp_path / "vary.yaml"), "--storage", str(tmp_path / "storage")]

    def taken(name: str) -> tuple[float, int]:
        """Of the made clips in a line of the plan: bytes, and collections."""
        planned = CliRunner().invoke(main, ["plan", "--no-timing", *place])
        assert planned.exit_code == 0, planned.output
        line = rf"^{name}: (\S+) GB \(made clips of (\d+) collections\)"
        found = re.search(line, planned.output, re.MULTILINE)
        assert found is not None, planned.output
        return float(found[1]) * 1e9, int(found[2])

    assert taken("disk") == (pytest.approx(6 * one, rel=0.05), 6)
    assert taken("disk at worst") == (pytest.approx(10 * one, rel=0.05), 10)
    # What is there already is not free any more.
    next(iter(SUPCLAP.made(cells_of(load(tmp_path, text))[0].config))).mkdir(parents=True)
    assert taken("disk")[1] == 5
    # Outputs of frozen encoders are another for each world too.
    plan = make_plan(load(tmp_path, text), ledger)
    forms = {cell.shape for cell in plan.cells}
    size = Footprint(kept=50.0)
    first = Estimates({}, 1, of=dict.fromkeys(forms, "data"), footprints=dict.fromkeys(forms, size))
    found = room(plan, 2, first)
    assert found is not None
    assert found.kept == 3 * 50.0


def test_what_stays_the_same_is_named(tmp_path: Path, ledger: Ledger) -> None:
    def said(text: str) -> str:
        (verdict,) = judge(load(tmp_path, text), ledger)
        return verdict.scope

    assert said(TEXT.replace(", vary: [stage, world]", "")).endswith(
        "order of the data. Verdicts speak of this pretrained start and these clips only."
    )
    assert said(TEXT.replace("stage, ", "")).endswith("speak of this pretrained start only.")
    assert said(TEXT.replace(", world", "")).endswith("Verdicts speak of these clips only.")
    fixed = TEXT.replace("{until: decided, looks: [3, 5], vary: [stage, world]}", "2")
    assert said(fixed).endswith("this pretrained start and these clips only.")
    also = TEXT.replace("own: {}", "own: {data: {name: collection, folder: x}}")
    also = also.replace("stage, ", "").replace("init:", "# init:")
    assert scope_of(load(tmp_path, also)).endswith(
        "Verdicts speak of these clips of also.own only."
    )
    (tmp_path / "x").mkdir()
    events = TEXT.replace("data: {seed: 7}", f"data: {{seed: 7, events: {tmp_path / 'x'}}}")
    assert said(events).endswith("speak of these recordings that the scenes are mixed from only.")


def test_worlds_are_one_shape_and_each_is_made(tmp_path: Path, ledger: Ledger) -> None:
    experiment = load(tmp_path, TEXT.replace("stage, ", "").replace("init:", "# init:"))
    plan = make_plan(experiment, ledger)
    (form,) = {cell.shape for cell in plan.cells}
    first = Estimates({form: 20.0}, 3, {form: 5.0}, {form: "world 7"})
    assert forecast(plan, ledger, 2, first).wall_seconds == 3 * 5.0 + 3 * 20.0
    shared = load(tmp_path, TEXT.replace("stage, world", "").replace("init:", "# init:"))
    plan = make_plan(shared, ledger)
    assert {cell.shape for cell in plan.cells} == {form}
    assert forecast(plan, ledger, 2, first).wall_seconds == 5.0 + 3 * 20.0


def test_a_search_with_worlds_of_their_own_is_another_search(tmp_path: Path) -> None:
    text = TEXT.replace("B > A", "winner > A")
    text += "search: {trials: 2, space: {optimizer.lr: {log_uniform: [1.0e-4, 1.0e-2]}}}\n"
    same = text.replace(", vary: [stage, world]", "")
    assert search_digest(load(tmp_path, text)) != search_digest(load(tmp_path, same))


LOOP = """\
from pydantic import BaseModel


class Mine:
    class Config(BaseModel):
        epochs: int = 1
        room: int = 5
        size: float = 1.0

    reports = {"test.score": "high"}
    vary = {"room": "room"}

    def fit(self, config, run):
        run.report(1, {"test.score": float(config.room)})
"""
OWN = """\
experiment: own
method: my_loop.py:Mine
variants: {A: {}, B: {size: 2.0}}
table: {columns: [test.score]}
seeds: {until: decided, looks: [3, 5], vary: room}
claims: [B > A on test.score]
"""


def test_a_method_of_ones_own_says_what_can_vary(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "my_loop.py").write_text(LOOP)
    with user_code.forgotten():
        experiment = load(tmp_path, OWN)
        cells = cells_of(experiment)
        assert [c.config.room for c in cells if c.variant == "A"] == [5, 1005, 2005]
        assert len({cell.shape for cell in cells}) == 2
        (verdict,) = judge(experiment, ledger)
        assert "its own first weights, order of the data and room" in verdict.scope
        assert "cannot vary 'world' (valid: room)" in mistake(
            tmp_path, OWN.replace(": room", ": world")
        )
        assert "cannot vary 'stage'" in mistake(tmp_path, OWN.replace(": room", ": stage"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('["room"]', "vary: expected a mapping"),
        ('{"room": "rooms"}', "'rooms' is no key of its Config"),
        ('{"room": "size"}', "the key 'size' is no int"),
        ('{"room": "seed"}', "'seed' is no key of its Config"),
        ('{"stage": "room"}', "vary: 'stage' is the platform's word"),
        ('{"two words": "room"}', "expected a word of lower-case letters"),
    ],
)
def test_a_method_that_offers_what_it_has_not(tmp_path: Path, said: str, told: str) -> None:
    (tmp_path / "my_loop.py").write_text(LOOP.replace('{"room": "room"}', said))
    with user_code.forgotten():
        assert told in mistake(tmp_path, OWN)
