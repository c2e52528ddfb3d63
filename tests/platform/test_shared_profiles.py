"""Profiles that several experiment files share."""

from pathlib import Path

import pytest
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.history import Histories
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.running.submit import Request, entrypoint, lay_out

from supclap.errors import InputError
from supclap.storage import Folder

FILE = """\
experiment: e
base: {epochs: 2, batch_size: 4, loss.svr: {sides: both, radius: static}}
variants: {A: {}, B: {optimizer.lr: 0.002}}
groups: {one: {}, two: {epochs: 3}, three: {batch_size: 8}}
claims: [A > B on one.t2a.R@1]
profiles_from: shared/scale.yaml
"""
SHARED = """\
paper:
  about: shared
  base:
    epochs: 10
    data: {clips: 100, seconds: 2.0}
    optimizer.lr: 0.01
  groups: {one: {data.clips: 200}, three: null}
  seeds: 5
  resources: {cpu: 8, gpu: 1}
  claims: [A > B on two.t2a.R@1, B > A on two.t2a.R@1]
small: {base: {epochs: 1}}
"""
OWN = """\
profiles:
  paper:
    base: {data.seconds: 4.0, optimizer: {lr: 0.02}}
    groups: {one: {epochs: 7}}
    seeds: [3]
    resources: {gpu: 0.5}
    claims: [B > A on one.t2a.R@1]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "scale.yaml").write_text(SHARED, encoding="utf-8")
    (tmp_path / "e.yaml").write_text(FILE, encoding="utf-8")
    return tmp_path / "e.yaml"


def test_a_file_has_the_profiles_of_the_file_that_it_names(path: Path) -> None:
    paper = load_experiment(path, "paper")
    assert paper.seeds == (0, 1, 2, 3, 4)
    assert paper.groups == ("one", "two")
    config = paper.variant("A @ one").config
    assert (config.epochs, config.data.clips, config.optimizer.lr) == (10, 200, 0.01)
    assert paper.claims[0].text == "A > B on two.t2a.R@1"
    assert load_experiment(path, "small").variant("A @ one").config.epochs == 1
    assert load_experiment(path).variant("A @ one").config.epochs == 2


def test_what_the_file_says_itself_lies_over_it(path: Path) -> None:
    path.write_text(FILE + OWN, encoding="utf-8")
    paper = load_experiment(path, "paper")
    assert paper.seeds == (3,)
    one, two = paper.variant("A @ one"), paper.variant("A @ two")
    assert (one.config.epochs, one.config.data.clips, one.config.data.seconds) == (7, 200, 4.0)
    assert (two.config.epochs, two.config.data.clips, two.config.optimizer.lr) == (3, 100, 0.02)
    assert (one.resources.cpu, one.resources.gpu) == (8.0, 0.5)
    assert [claim.text for claim in paper.claims] == ["B > A on one.t2a.R@1"]


def test_what_matters_in_a_profile_stands_in_the_place_of_the_files(path: Path) -> None:
    own = OWN.replace("B > A on one.t2a.R@1]", "B > A on one.t2a.R@1, A > B on two.t2a.R@1]")
    own += "    matters: {one.t2a.R@1: 0.5}\n"
    path.write_text(FILE + "matters: {t2a.R@1: 2}\n" + own, encoding="utf-8")
    matters = {
        profile: [claim.matters for claim in load_experiment(path, profile).claims]
        for profile in ("laptop", "paper")
    }
    assert matters == {"laptop": [2.0], "paper": [0.5, None]}


def test_the_same_words_in_one_file_or_in_two_are_one_experiment(path: Path) -> None:
    indented = "".join(f"  {line}\n" for line in SHARED.splitlines())
    whole = FILE.replace("profiles_from: shared/scale.yaml\n", f"profiles:\n{indented}")
    path.with_name("whole.yaml").write_text(whole, encoding="utf-8")
    for profile in ("laptop", "paper", "small"):
        one, other = (
            load_experiment(path, profile),
            load_experiment(path.with_name("whole.yaml"), profile),
        )
        assert (one.variants, one.seeds, one.claims) == (other.variants, other.seeds, other.claims)


def test_of_several_files_a_later_one_lies_over_an_earlier_one(path: Path) -> None:
    path.with_name("more.yaml").write_text("paper: {base: {data: {clips: 70}}, seeds: 2}\n")
    path.write_text(FILE.replace("shared/scale.yaml", "[shared/scale.yaml, more.yaml]"))
    paper = load_experiment(path, "paper")
    config = paper.variant("A @ two").config
    assert (config.data.clips, config.data.seconds, len(paper.seeds)) == (70, 2.0, 2)
    assert paper.files == (path, path.parent / "shared" / "scale.yaml", path.parent / "more.yaml")


@pytest.mark.parametrize(
    ("shared", "where", "message"),
    [
        (SHARED.replace("seeds: 5", "sedes: 5"), "shared/scale.yaml:8", "did you mean 'seeds'"),
        (SHARED.replace("epochs: 10", "epochs: -1"), "shared/scale.yaml:4", "epochs"),
        (SHARED.replace("clips: 100", "clips: none"), "shared/scale.yaml:5", "data.clips"),
        (SHARED.replace("B > A on two", "B > C on two"), "shared/scale.yaml:10", "no variant 'C'"),
        (SHARED.replace("three: null", "four: null"), "shared/scale.yaml:7", "no group 'four'"),
        (SHARED.replace("cpu: 8", "cpu: -8"), "shared/scale.yaml:9", "cpu"),
        (SHARED + "paper: {}\n", "shared/scale.yaml:12", "'paper' stands twice"),
        (SHARED + "Other: {}\n", "shared/scale.yaml:12", "lower-case"),
        (SHARED + "other: 3\n", "shared/scale.yaml:12", "a mapping"),
        ("- paper\n", "shared/scale.yaml:1", "expected a mapping"),
    ],
)
def test_a_mistake_is_shown_where_it_stands(
    path: Path, shared: str, where: str, message: str
) -> None:
    (path.parent / "shared" / "scale.yaml").write_text(shared, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_experiment(path, "paper")
    assert str(caught.value).startswith(f"{path.parent}/{where}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("own", "line", "message"),
    [
        (OWN.replace("seconds: 4.0", "seconds: none"), 9, "data.seconds"),
        (OWN.replace("B > A on one", "B > C on one"), 13, "no variant 'C'"),
        (OWN.replace("seeds: [3]", "seeds: [3, 3]"), 11, "the seed 3 stands twice"),
        (OWN.replace("base: {data.seconds: 4.0, ", "base: {data.clips: none, "), 9, "data.clips"),
        ("profiles: {paper: null}\n", 7, "no part in the profile 'paper'"),
        (OWN + "    matters: {t2a.R@2: 1}\n", 14, "no run reports 't2a.R@2'"),
        (OWN + "    matters: {a2t.R@1: 1}\n", 14, "no claim 'A > B on a2t.R@1'"),
        ("profiles: 3\n", 7, "a mapping"),
    ],
)
def test_a_mistake_over_it_is_shown_in_the_experiment_file(
    path: Path, own: str, line: int, message: str
) -> None:
    path.write_text(FILE + own, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_experiment(path, "paper")
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shared/absent.yaml", "profiles_from: no file 'shared/absent.yaml'"),
        ("../scale.yaml", "expected a file in this file's folder or below it"),
        ("shared/../../scale.yaml", "expected a file in this file's folder or below it"),
        ("/etc/hostname", "expected a file in this file's folder or below it"),
        ("[shared/scale.yaml, shared/scale.yaml]", "shared/scale.yaml stands twice"),
        ("{a: b}", "profiles_from"),
        ("[3]", "profiles_from"),
        ("shared", "no file 'shared'"),
    ],
)
def test_a_name_that_leads_nowhere_or_out_of_the_folder_is_refused(
    path: Path, name: str, message: str
) -> None:
    path.write_text(FILE.replace("shared/scale.yaml", name), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    assert str(caught.value).startswith(f"{path}:6: ")
    assert message in str(caught.value)


def test_an_unknown_profile_names_those_of_both_files(path: Path) -> None:
    with pytest.raises(InputError, match=r"e\.yaml:6: no profile 'papr'.*laptop, paper, small"):
        load_experiment(path, "papr")


def test_a_file_that_is_included_brings_its_profiles(path: Path) -> None:
    whole = path.with_name("whole.yaml")
    whole.write_text("experiment: whole\ninclude: [e.yaml]\n", encoding="utf-8")
    found = load_experiment(whole, "paper")
    assert found.parts[0].seeds == (0, 1, 2, 3, 4)
    assert found.files == (whole, path, path.parent / "shared" / "scale.yaml")
    whole.write_text("experiment: w\ninclude: [e.yaml]\nprofiles_from: shared/scale.yaml\n")
    with pytest.raises(InputError, match=r"whole\.yaml:3: 'profiles_from' beside 'include'"):
        load_experiment(whole)


def test_a_job_takes_the_profiles_along(path: Path, tmp_path: Path) -> None:
    request = Request(path, ["--profile", "paper"], others=load_experiment(path).files[1:])
    staged = lay_out(request, tmp_path / "job")
    assert "run experiments/e.yaml" in entrypoint(request)
    there = load_experiment(staged / request.place, "paper")
    assert there.variants == load_experiment(path, "paper").variants


def test_the_experiments_record_keeps_the_profiles(path: Path, tmp_path: Path) -> None:
    parents = Histories(Ledger(Folder.at(tmp_path / "storage")))
    kept = parents.artifacts(parents.begin(load_experiment(path, "paper"), ()))
    assert kept["shared/scale.yaml"] == SHARED.encode()
    assert kept["e.yaml"] == FILE.encode()
