"""A side of a comparison that is a trained model: measured on a test set, or as its run left it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from supclap.errors import InputError
from supclap.local_files import is_folder
from supclap.objects import in_store, talk
from supclap.run_files import MODEL, MODEL_INDEX, RESULT
from supclap.storage import Folder
from supclap.use_commands import open_clips, open_model
from supclap_platform.ledger.results import read_ranks, read_result
from supclap_platform.ledger.terms import is_term
from supclap_platform.results.model_comparison import Scored


def model_folder(text: str) -> Folder | None:
    """The model's folder that a text names, itself or by the folder of its run or of its cell,
    here or in a store; None: none of them. Raises InputError: a store that cannot be read."""
    if not in_store(text) and not is_folder(Path(text)):
        return None
    place = Folder.at(text)

    def found(one: Folder) -> bool:
        return bool(talk(one, partial(one.exists, MODEL_INDEX)))

    of_a_run = next(filter(found, (place, place.below(MODEL))), None)
    if of_a_run is not None:
        return of_a_run
    terms = (place.below(name) for name in talk(place, place.names) if is_term(name))
    return next(filter(found, (term.below(MODEL) for term in terms)), None)


def measured(text: str, folder: Folder, data: str, split: str, code: tuple[str, ...]) -> Scored:
    """The model on a split of a test set. Raises InputError."""
    from supclap.queries import answers

    model = open_model(folder.place, code)
    clips = open_clips(data, split)
    found = answers(model, clips)
    return Scored(text, found.metrics, found.ranks, clips.content_hash, model.content_hash())


def kept(text: str, folder: Folder) -> Scored:
    """What the model's run reports and keeps of its own test split.

    Raises InputError: it lies beside no finished run.
    """
    run = folder.above()
    result = talk(run, lambda: read_result(run, run.base.rpartition("/")[2]))
    if result is None:
        raise InputError(
            f"{text}: no finished run lies beside the model ({run.uri_of(RESULT)}); --data FOLDER "
            "measures both models on one test set"
        )
    return Scored(text, result.metrics, read_ranks(run, result), result.data)
