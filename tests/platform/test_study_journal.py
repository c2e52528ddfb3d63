"""The study of a search on a storage that is no folder of this machine."""

from __future__ import annotations

from pathlib import Path

import pyarrow.fs as pafs
import pytest
from driven_study import content, drive, opened
from supclap_platform.experiment.reader import load_experiment
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.search.study import Book
from supclap_platform.search.study_journal import StudyJournal, StudyTaken
from supclap_platform.search.study_place import StudyPlace
from supclap_platform.search.trials import Trials
from tiny_search import SEARCH

from supclap.errors import InputError
from supclap.storage import Folder

PLACE = "s3://bucket/results?endpoint_override=http://minio:9000"


def objects(path: Path) -> Folder:
    """A folder that is called, and used, as one on an object store is."""
    path.mkdir(parents=True, exist_ok=True)
    return Folder(pafs.SubTreeFileSystem(str(path), pafs.LocalFileSystem()), "", PLACE)


def book_on(folder: Path, text: str = SEARCH) -> Book:
    path = folder / "e.yaml"
    path.write_text(text, encoding="utf-8")
    return Book(Trials(load_experiment(path)), Ledger(objects(folder / "objects")))


@pytest.mark.heavy
def test_killed_at_many_moments_it_ends_as_a_study_in_a_database(tmp_path: Path) -> None:
    (tmp_path / "database").mkdir()
    whole, _ = opened(tmp_path / "database")
    whole.prepare()
    assert drive(whole)
    for death in [("asked", 0), ("suggested", 2), ("reported 1", 5), ("suggested", 9)]:
        killed = book_on(tmp_path)
        with killed.together():
            killed.prepare()
        assert not drive(killed, lambda *moment, death=death: moment == death)
    killed = book_on(tmp_path)
    assert drive(killed)
    assert content(killed) == content(whole)
    before = sorted(tmp_path.rglob("*"))
    again = book_on(tmp_path)
    again.prepare()
    assert content(again) == content(whole)  # as it is read again
    assert sorted(tmp_path.rglob("*")) == before  # which writes nothing
    assert killed.place.shown == (
        "s3://bucket/results/experiments/small/study?endpoint_override=http://minio:9000"
    )


@pytest.mark.heavy
def test_what_a_driver_dies_before_storing_was_never_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = book_on(tmp_path)
    with book.together():
        book.prepare()
    before = content(book_on(tmp_path))

    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    def asked(book: Book) -> None:
        with book.together():
            trial = book.ask()
            assert trial is not None
            book.params(trial)

    assert book.journal is not None
    monkeypatch.setattr(book.journal, "_store", die)
    with pytest.raises(Killed):
        asked(book)
    assert content(book_on(tmp_path)) == before


def test_of_two_drivers_the_later_one_counts_and_the_other_finds_it(tmp_path: Path) -> None:
    folder = objects(tmp_path)
    first = StudyJournal(folder)
    first.append_logs([{"a": 1}])
    second = StudyJournal(folder)  # the first is paused, and taken for dead
    second.append_logs([{"b": 1}])
    with pytest.raises(StudyTaken, match="another process has gone on with the search"):
        first.append_logs([{"a": 2}])
    with pytest.raises(StudyTaken):
        first.append_logs([{"a": 3}])
    second.append_logs([{"b": 2}, {"b": float("nan")}])
    seen = StudyJournal(folder).read_logs(0)
    assert str(seen) == "[{'a': 1}, {'b': 1}, {'b': 2}, {'b': nan}]"
    assert StudyJournal(folder).read_logs(2)[0] == {"b": 2}


def test_what_could_not_be_written_goes_along_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = objects(tmp_path)
    journal = StudyJournal(folder)
    journal.append_logs([{"n": 1}])

    def full(self: Folder, name: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", full)
        with pytest.raises(OSError, match="No space"):
            journal.append_logs([{"n": 2}])
    with journal.together():
        journal.append_logs([{"n": 3}])
        journal.append_logs([{"n": 4}])
        assert [one["n"] for one in journal.read_logs(0)] == [1, 2, 3, 4]
        assert [one["n"] for one in StudyJournal(folder).read_logs(0)] == [1]
    assert [one["n"] for one in StudyJournal(folder).read_logs(0)] == [1, 2, 3, 4]
    (generation,) = folder.names()
    assert len(folder.names(generation)) == 3  # the beginning, and two that were written


def test_old_generations_are_removed_and_a_lost_object_is_noticed(tmp_path: Path) -> None:
    folder = objects(tmp_path)
    for n in range(4):
        StudyJournal(folder).append_logs([{"n": n}])
    left = folder.names()
    assert [name[:6] for name in left] == ["000003", "000004"]
    assert [one["n"] for one in StudyJournal(folder).read_logs(0)] == [0, 1, 2, 3]
    folder.delete(f"{left[-1]}/00000000.json")
    with pytest.raises(InputError, match="a part of it is gone") as caught:
        StudyJournal(folder)
    assert "finished cells are not run again" in str(caught.value)


@pytest.mark.parametrize("local", [True, False])
def test_a_study_that_lies_elsewhere_is_not_begun_anew_unasked(tmp_path: Path, local: bool) -> None:
    ledger = Ledger(Folder.at(tmp_path) if local else objects(tmp_path))
    elsewhere = f"sqlite:///{tmp_path / 'own.db'}"
    StudyPlace.of(ledger, "e", elsewhere).open()
    with pytest.raises(InputError, match=r"own\.db: give that with --study-storage") as caught:
        StudyPlace.of(ledger, "e", None).open()
    assert ledger.experiment_folder("e").uri_of("study.txt") in str(caught.value)
    ledger.experiment_folder("e").delete("study.txt")
    journal, _ = StudyPlace.of(ledger, "e", None).open()
    assert (journal is None) == local
