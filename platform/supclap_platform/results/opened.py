"""An experiment's results as pandas frames, models and figures: what `supclap_platform.open` gives.

Nothing is trained, and nothing is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from supclap.errors import InputError, nearest
from supclap.run_files import MODEL
from supclap.scratch import scratch_folder
from supclap.storage import Folder
from supclap.wording import numbers
from supclap_platform.experiment.columns import in_group
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.supclap_method import SUPCLAP
from supclap_platform.ledger.ledger import Ledger
from supclap_platform.ledger.records import State
from supclap_platform.ledger.snapshot import Snapshot
from supclap_platform.results.frame_columns import FRAMES, described
from supclap_platform.results.frame_making import Frame
from supclap_platform.results.frames import (
    Part,
    epochs_frame,
    query_frames,
    runs_frame,
    table_frame,
    trials_frame,
    verdicts_frame,
)
from supclap_platform.results.search_figures import TRIALS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from supclap.model.clap import CLAP


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=3)


class Results:
    """What an experiment's storage holds, as it was when it was opened first for each frame.

    Attributes:
        experiment: as it is by now (`commands.now.as_of_now`).
        ledger: a snapshot: open the experiment again to see what has come since.
        parts: the experiment itself, or those that its file includes.
    """

    def __init__(
        self, experiment: Experiment, ledger: Ledger, say: Callable[[str], None] = _warn
    ) -> None:
        """
        Args:
            say: is given a line for each damaged file that is met; by default a warning.
        """
        self.experiment = experiment
        self.ledger = ledger if isinstance(ledger, Snapshot) else Snapshot(ledger)
        self.parts = tuple(Part(one, self.ledger) for one in experiment.parts or (experiment,))
        self._say = say
        self._said: set[str] = set()
        self._verdicts: Frame | None = None
        self.scratch: Any = None  # what must last as long as the results do

    def __repr__(self) -> str:
        done = sum(len(part.evidence.finished) for part in self.parts)
        of = sum(len({cell.signature for cell in part.evidence.cells}) for part in self.parts)
        return (
            f"<results of {self.experiment.name}, profile {self.experiment.profile}: {done} of "
            f"{of} runs done, in {self.ledger.storage.uri}>"
        )

    def runs(self) -> pd.DataFrame:
        """One row for each run that is declared, with its metrics; whatever its state."""
        return self._pandas(runs_frame(self.parts))

    def epochs(self) -> pd.DataFrame:
        """One row for each epoch of each run, with its metrics; of unfinished runs too."""
        return self._pandas(epochs_frame(self.parts))

    def queries(self) -> pd.DataFrame:
        """One row for each test query of each finished run: its rank, counted from 1."""
        import pyarrow as pa

        frames = list(query_frames(self.parts))
        whole = pa.concat_tables(frame.table for frame in frames).unify_dictionaries()
        return self._pandas(Frame(frames[0].columns, whole))

    def trials(self) -> pd.DataFrame:
        """One row for each trial of the search; none where the file has no search, or, with a word
        on that, where the search has not ended yet."""
        for part in self.parts:
            own = self.ledger.experiment_folder(part.experiment.name)
            if part.experiment.search is not None and not own.exists(TRIALS):
                self._say(
                    f"{part.experiment.name}: its search has not ended yet: no trials are kept"
                )
        return self._pandas(trials_frame(self.parts))

    def verdicts(self) -> pd.DataFrame:
        """One row for each claim, with its verdict."""
        return self._pandas(verdicts_frame(self.parts))

    def table(self) -> pd.DataFrame:
        """One row for each entry of the table: mean, deviation, difference to the baseline."""
        return self._pandas(table_frame(self.parts))

    def frames(self, name: str) -> Iterator[Frame]:
        """A frame by its name as Arrow tables, of the queries one run after another."""
        if name == "queries":
            yield from query_frames(self.parts)
        else:
            yield {
                "runs": runs_frame,
                "epochs": epochs_frame,
                "trials": trials_frame,
                "verdicts": verdicts_frame,
                "table": table_frame,
            }[name](self.parts)
        self._report_damage()

    def columns(self, name: str) -> pd.DataFrame:
        """What the columns of a frame mean: name, type, unit, meaning.

        Raises:
            InputError: there is no such frame.
        """
        import pandas as pd

        if name not in FRAMES:
            raise InputError(f"no frame '{name}'{nearest(name, FRAMES)} ({', '.join(FRAMES)})")
        first = next(self.frames(name))
        return pd.DataFrame(described(first.columns)).set_index("name")

    def part(self, name: str) -> Results:
        """The results of one experiment of a file that includes several.

        Raises:
            InputError: there is none of that name.
        """
        known = {one.experiment.name: one.experiment for one in self.parts}
        if name not in known:
            raise InputError(
                f"{self.experiment.path.name} has no experiment '{name}'{nearest(name, known)} "
                f"(experiments: {', '.join(known)})"
            )
        own = Results(known[name], self.ledger, self._say)
        own.scratch = self.scratch
        return own

    def model(self, row: str, seed: int = 0, group: str | None = None) -> CLAP:
        """The model of a finished run, at its best epoch; on the CPU, in evaluation mode.

        Raises:
            InputError: no such row, seed or group; the run is not finished, or its model is not
                there or not readable.
        """
        import supclap

        part = self._only_part("model")
        experiment = part.experiment
        if group is None and experiment.groups:
            raise InputError(
                f"model('{row}'): name its group: group='{experiment.groups[0]}' "
                f"(groups: {', '.join(experiment.groups)})"
            )
        if row not in experiment.rows:
            raise InputError(
                f"{experiment.path.name} has no row '{row}'{nearest(row, experiment.rows)} "
                f"(rows: {', '.join(experiment.rows)})"
            )
        if group is not None and group not in experiment.groups:
            raise InputError(
                f"{experiment.path.name} has no group '{group}'{nearest(group, experiment.groups)} "
                f"(groups: {', '.join(experiment.groups) or 'none'})"
            )
        runs = {run.seed: run for run in part.evidence.runs(in_group(row, group))}
        if seed not in runs:
            raise InputError(
                f"'{row}' has no seed {seed} (seeds: {numbers(sorted(runs)) or 'none'})"
            )
        run = runs[seed]
        folder = self.ledger.folder(run.signature)
        if run.state is not State.DONE:
            raise InputError(f"'{row}', seed {seed}: no model: the run is {run.state}")
        if experiment.method is not SUPCLAP:
            raise InputError(
                f"'{row}', seed {seed}: a model of the method {experiment.method.name} is for that "
                f"method to open; the run's folder is {folder.uri}"
            )
        at = self.ledger.model(run.signature)
        if at is None:
            raise InputError(f"'{row}', seed {seed}: {folder.uri} is kept without its model")
        if at.local is not None:
            return supclap.load(at.local)
        return _loaded_from_elsewhere(at)

    def figure(self, name: str) -> Figure:
        """A figure of the experiment as matplotlib's, to go on with; one that its file does not
        declare too.

        Raises:
            InputError: no such figure, or no finished run reports anything to draw in it.
        """
        from supclap_platform.results.figures import figure_of

        part = self._only_part("figure")
        valid = part.experiment.method.figures
        if name not in valid:
            raise InputError(
                f"no figure '{name}'{nearest(name, valid)} (valid: {', '.join(valid)})"
            )
        figure, notes = figure_of(name, part.experiment, part.evidence)
        self._report_damage()
        for note in notes:
            self._say(note)
        if figure is None:
            raise InputError(
                f"{name}: nothing to draw yet: no finished run of {part.experiment.name} reports it"
            )
        return figure

    def _only_part(self, what: str) -> Part:
        if len(self.parts) > 1:
            names = ", ".join(part.experiment.name for part in self.parts)
            raise InputError(
                f"{self.experiment.path.name} includes several experiments: choose one, such as "
                f"part('{self.parts[0].experiment.name}').{what}(...) ({names})"
            )
        return self.parts[0]

    def _pandas(self, frame: Frame) -> pd.DataFrame:
        """Arrow to pandas: whole numbers with gaps are pandas' Int64, words its category."""
        import pandas as pd
        import pyarrow as pa

        self._report_damage()
        integers = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
        found = {}
        for column, values in zip(frame.columns, frame.table.itercolumns(), strict=True):
            kinds = integers if column.gaps else {}
            found[column.name] = values.to_pandas(types_mapper=kinds.get)
        return pd.DataFrame(found, copy=False)

    def _report_damage(self) -> None:
        for where, damage in self.ledger.damage.items():
            if where not in self._said:
                self._said.add(where)
                self._say(str(damage))


def _loaded_from_elsewhere(folder: Folder) -> CLAP:
    """The model in a folder that is not on this machine, by way of a copy that goes again."""
    import supclap

    with scratch_folder("model") as scratch:
        copy = scratch / MODEL
        folder.copy_to(copy)
        return supclap.load(copy)
