"""The model of an experiment's winner as a folder that can be published: with a model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from uuid import uuid4

import click

from supclap.errors import InputError
from supclap.run_files import MODEL, MODEL_INDEX
from supclap.storage import Folder
from supclap.user_code import stored
from supclap.wording import gist
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.results.conclusion import conclude_parts
from supclap_platform.results.model_card import CARD, model_card
from supclap_platform.search.best_cell import winner_of


def export_model(experiment: Experiment, ledger: Ledger, row: str | None, target: Path) -> None:
    """Writes the winner's model, its card, and the user's own code that it needs, all or nothing.

    Raises:
        InputError: there is no winner, or its model is not kept; the target exists, or cannot be
            written.
    """
    if target.exists():
        raise InputError(f"--to {target}: exists already; give another name, or remove it")
    best = winner_of(experiment, ledger, row)
    cell = best.cell
    if cell.method is not SUPCLAP:
        raise InputError(f"{cell.label}: a model of the method {cell.method.name} has its own form")
    kept = ledger.model(cell.signature)
    if kept is None:
        place = ledger.folder(cell.signature).uri_of(MODEL)
        raise InputError(f"{cell.label}: {place} is not there: the run is kept without a model")
    conclusions = conclude_parts(experiment, ledger, mixed=True)
    result = ledger.results([cell.signature])[cell.signature]
    scratch = target.parent / f".{target.name}.{uuid4().hex[:8]}"
    try:
        scratch.mkdir(parents=True)
        kept.copy_to(scratch)
        needed = json.loads((scratch / MODEL_INDEX).read_bytes()).get("user_code", "")
        code = ""
        if needed:
            stored(ledger.storage, needed).write(Folder.at(scratch))
            code = next(scratch.glob(f"*/{needed}")).relative_to(scratch).as_posix()
        card = model_card(cell, result, best.why, conclusions, code)
        (scratch / CARD).write_text(card, encoding="utf-8")
        scratch.rename(target)
    except (OSError, ValueError) as error:
        raise InputError(f"--to {target}: {kept.uri} cannot be copied: {gist(error)}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    click.echo(f"wrote {target}: {cell.label} ({best.why})")
    click.echo(f"look at {target / CARD}, then: hf upload OWNER/NAME {target}")
