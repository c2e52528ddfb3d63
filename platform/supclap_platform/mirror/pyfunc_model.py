"""The MLflow model of a cell: "models from code", which MLflow runs when it loads the model.

It holds no pickled object: the weights lie beside it as `supclap.load` reads them, and the package
supclap must be installed where it is loaded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

TASKS = ("embed", "text_to_audio", "audio_to_text")


class SupCLAPModel(PythonModel):
    """Embeds texts and sounds in one space, or finds the nearest of one kind to the other."""

    def load_context(self, context: Any) -> None:
        config = context.model_config or {}
        # A model that needs a part of somebody's own is loaded with model_config={"code": FILE}.
        code = config.get("code") or ()
        # One that MLflow has no copy of, with model_config={"folder": PLACE} where it has moved.
        place = config.get("folder")
        self._model = _linked(place, code) if place else _load(context.artifacts["model"], code)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row in, one row out (``embed``), or ``k`` rows for each query (the other tasks).

        Args:
            model_input: columns ``text`` and ``audio`` (path of a sound file); each row fills one.
            params: ``task``: "embed" gives the column ``embedding`` (d floats of length 1);
                "text_to_audio" and "audio_to_text" take the rows of the first kind as queries and
                look among those of the second, and give ``query``, ``rank`` (1 the best),
                ``found`` and ``score`` (cosine similarity). ``k``: how many are found for each.
                ``language``: ISO 639-3 code of the texts.

        Raises:
            ValueError: rows with neither or both, an unknown task, no candidates; supclap's
                InputError, which is one, for an unreadable sound.
        """
        given: dict[str, Any] = {"task": "embed", "k": 5, "language": "eng"} | (params or {})
        task = given["task"]
        if task not in TASKS:
            raise ValueError(f"task: expected one of {', '.join(TASKS)}, found '{task}'")
        text, audio = _column(model_input, "text"), _column(model_input, "audio")
        wrong = [
            row for row, (t, a) in enumerate(zip(text, audio, strict=True)) if bool(t) == bool(a)
        ]
        if wrong:
            raise ValueError(f"row {wrong[0]}: expected either 'text' or 'audio' to be filled")
        of_text = [row for row, value in enumerate(text) if value]
        of_audio = [row for row, value in enumerate(audio) if value]
        embeddings = np.zeros((len(text), self._model.config.dim), np.float32)
        if of_text:
            words = [text[row] for row in of_text]
            embeddings[of_text] = self._model.encode_text(words, given["language"])
        if of_audio:
            embeddings[of_audio] = self._model.encode_audio([audio[row] for row in of_audio])
        if task == "embed":
            return pd.DataFrame({"embedding": [row.tolist() for row in embeddings]})
        names = [t or a for t, a in zip(text, audio, strict=True)]
        queries, among = (of_text, of_audio) if task == "text_to_audio" else (of_audio, of_text)
        if not queries or not among:
            raise ValueError(f"{task}: expected rows of both kinds, 'text' and 'audio'")
        return _nearest(embeddings, names, queries, among, int(given["k"]))


def _load(folder: Any, code: Any) -> Any:
    # MLflow runs this file also to log a model: a driver need not import PyTorch for that.
    from supclap.model.clap import load

    return load(folder, code)


def _linked(place: str, code: Any) -> Any:
    """The model of a run in the storage, on this machine or in a bucket."""
    from supclap.run_files import MODEL_INDEX
    from supclap.storage import Folder

    folder = Folder.at(place)
    if not folder.exists(MODEL_INDEX):
        raise ValueError(
            f"{place}: the model's files are not there. MLflow keeps their place and no copy: open "
            'it where the storage is, or give model_config={"folder": PLACE} if it has moved'
        )
    if folder.local is not None:
        return _load(folder.local, code)
    with tempfile.TemporaryDirectory(prefix="supclap-model-") as scratch:
        copy = Path(scratch, "model")
        folder.copy_to(copy)
        return _load(copy, code)


def _nearest(
    embeddings: np.ndarray, names: list[str], queries: list[int], among: list[int], k: int
) -> pd.DataFrame:
    """The ``k`` best of the rows ``among`` for each of the rows ``queries``, best first."""
    if k < 1:
        raise ValueError(f"k: expected at least 1, found {k}")
    scores = embeddings[queries] @ embeddings[among].T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    rows = [
        (names[query], rank, names[among[column]], float(scores[at, column]))
        for at, query in enumerate(queries)
        for rank, column in enumerate(order[at], 1)
    ]
    return pd.DataFrame(rows, columns=["query", "rank", "found", "score"])


def _column(frame: pd.DataFrame, name: str) -> list[str]:
    """The strings of a column; empty where there is none."""
    if name not in frame.columns:
        return [""] * len(frame)
    return [value if isinstance(value, str) else "" for value in frame[name]]


set_model(SupCLAPModel())
