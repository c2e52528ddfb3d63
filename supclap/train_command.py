"""`supclap train`: one run, watched in the terminal."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from supclap.errors import InputError
from supclap.events import EpochEnded, Event, Finished, Started
from supclap.metric_names import find
from supclap.progress import activity
from supclap.scratch import sweep
from supclap.wording import counted, one_line

if TYPE_CHECKING:  # PyTorch takes seconds to import; `supclap --help` must not wait for it
    from supclap.config import RunConfig
    from supclap.storage import Folder

RUNS = "supclap-runs"
LOCK = ".lock"


@click.command("train")
@click.argument("config", required=False, type=click.Path(path_type=Path), metavar="[CONFIG.yaml]")
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="As loss.svr.radius=dynamic."
)
@click.option("--data", metavar="NAME", help="soundscenes, or the folder of a prepared collection.")
@click.option(
    "--out",
    metavar="DIR",
    help=f"Folder or URI of the run.  [default: {RUNS}/ and a name made from the configuration]",
)
@click.option(
    "--code",
    multiple=True,
    metavar="FILE.py",
    help="Run this file first, whose parts the configuration names. May be repeated.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes."
)
def train_command(
    config: Path | None,
    changes: tuple[str, ...],
    data: str | None,
    out: str | None,
    code: tuple[str, ...],
    workers: int,
) -> None:
    """Train one model and measure it. The same command again goes on where it was, or only shows
    the figures of a run that is finished."""
    with activity("loading PyTorch"):
        from supclap.user_code import load_given

        load_given(code)
        run = _configuration(config, changes, data)
        from supclap.divergence import TrainingError
        from supclap.objects import in_store
        from supclap.storage import Folder

        in_store(out or "")  # a mistyped address would be a folder of that name, here
        folder = Folder.at(out or f"{RUNS}/{_name(run)}")
    show = Show(folder)
    try:
        with alone(folder):
            sweep()  # who was killed here before has left its model
            for event in _events(run, folder, workers):
                show(event)
    except TrainingError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise click.ClickException("stopped; the same command goes on from there") from None


@contextmanager
def alone(folder: Folder) -> Iterator[None]:
    """Keeps two processes of one machine from training into the same folder.

    The lock is the system's: it goes with the process, however that ends. What had to be made for
    it goes too where nothing else has come into the folder: a run that was refused leaves nothing.

    Raises:
        InputError: another process has the lock, or the folder cannot be written to.
    """
    if folder.local is None:
        yield
        return
    from supclap.run_files import writing

    with writing(folder):
        made = _make(folder.local)
        lock = _locked(folder)
    with lock:
        try:
            yield
        finally:
            with suppress(OSError):  # a folder that is not empty, or gone
                if os.listdir(folder.local) == [LOCK]:
                    os.unlink(folder.local / LOCK)
                    for path in reversed(made):
                        path.rmdir()


def _make(folder: Path) -> list[Path]:
    """Makes a folder and those above it; those that were not there, from the top."""
    absent = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
    # Another run has just removed one, maybe between two looks of `mkdir`; `_locked` tries again.
    with suppress(FileNotFoundError, FileExistsError):
        folder.mkdir(parents=True, exist_ok=True)
    return absent


def _locked(folder: Folder) -> IO[str]:
    """The open file that holds the folder's lock."""
    assert folder.local is not None
    path = folder.local / LOCK
    while True:
        try:
            lock = open(path, "w")  # noqa: SIM115
        except FileNotFoundError:  # the holder before has just removed the folder
            _make(folder.local)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                return lock
        except BlockingIOError:
            lock.close()
            raise InputError(f"{folder.uri}: another process is training here") from None
        except FileNotFoundError:  # it has removed the file since
            pass
        lock.close()


def _configuration(config: Path | None, changes: tuple[str, ...], data: str | None) -> RunConfig:
    """The run that the command line asks for. Raises InputError, with the place of a mistake."""
    from pydantic import ValidationError

    from supclap.config import RunConfig
    from supclap.data import kind_of
    from supclap.document import read_document
    from supclap.explaining import explain
    from supclap.overrides import covers, override, parse_changes
    from supclap.secrets import check_no_secret

    document = read_document(config, empty=True) if config else None
    values = document.values if document else {}
    if data is not None:
        check_no_secret(data, "--data")
        chosen = {"name": data}
        if data != "soundscenes":
            chosen = {"name": kind_of(data), "folder": data}
        values = override(values, {"data": chosen})
    given = parse_changes(changes)
    try:
        return RunConfig.model_validate(override(values, given))
    except ValidationError as error:
        dotted = ".".join(str(part) for part in error.errors()[0]["loc"])
        message = explain(error, RunConfig)
        by = next((key for key in given if covers(key, dotted)), None)
        if by is not None:
            place = "" if message.startswith(f"{by}: ") else f"{one_line(by, 100)}: "
            raise InputError(f"--set {place}{message}") from None
        if document is None or not document.names([()], dotted):
            raise InputError(f"configuration: {message}") from None
        raise document.error(document.setting([()], dotted), message) from None


def _name(run: RunConfig) -> str:
    """A folder's name that names the loss and differs wherever the configuration does."""
    svr = run.loss.svr
    loss = run.loss.name if svr is None else f"{run.loss.name}-{svr.sides}-{svr.radius}"
    content = json.dumps(run.model_dump(mode="json"), sort_keys=True)
    return f"{loss}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _events(run: RunConfig, folder: Folder, workers: int) -> Iterator[Event]:
    if workers > 1:
        from supclap.launcher import WorkerLost, launch

        try:
            yield from launch(run, folder.place, workers)
        except WorkerLost as error:
            raise click.ClickException(str(error)) from None
    else:
        with activity("loading PyTorch"):
            from supclap.training import fit

        yield from fit(run, folder)


class Show:
    """Prints events: a head, a line per epoch, and the figures beside chance."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._started: Started | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, EpochEnded):
            self._epoch(event)
        else:
            self._end(event)
        sys.stdout.flush()

    def _start(self, event: Started) -> None:
        self._started = event
        click.echo(f"run      {self._folder.uri}")
        workers = counted(event.workers, "worker")
        some = event.learned not in (0, event.parameters)
        count = f"{event.learned / 1e6:.2f} M of " if some else ""
        click.echo(
            f"training {count}{event.parameters / 1e6:.1f} M parameters on "
            f"{counted(event.clips, 'clip')}, {counted(event.epochs, 'epoch')} of "
            f"{counted(event.steps_per_epoch, 'step')}, {workers}"
        )
        if event.left_out:
            click.echo(
                f"left out {counted(event.left_out, 'clip')} without a caption in the languages"
            )
        if event.noisy:
            click.echo(f"{event.noisy:,} of the clips bear another clip's captions (data.noise)")
        if event.config["data"].get("order"):
            click.echo(
                f"the batch order's first epoch leaves out {counted(event.dropped, 'pair')} and "
                f"takes {event.repeated:,} again"
            )
        elif event.dropped:
            click.echo(
                f"each epoch leaves {counted(event.dropped, 'pair')}, others each time, to fill "
                "batches"
            )
        if event.step:
            click.echo(f"going on from step {event.step}")

    def _epoch(self, event: EpochEnded) -> None:
        assert self._started is not None
        metrics = event.metrics
        pairs = self._started.steps_per_epoch * self._started.config["batch_size"]
        shown = [
            f"epoch {event.epoch:>2}/{self._started.epochs}",
            f"loss {metrics['train.loss']:.3f}",
        ]
        shown += [
            f"{split} R@1 {metrics[f'{split}.t2a.R@1']:.1f} / {metrics[f'{split}.a2t.R@1']:.1f}"
            for split in ("val", "test")
            if f"{split}.t2a.R@1" in metrics
        ]
        shown.append(f"drift cosine {metrics['drift_cosine.text']:.3f}")
        if "radius.text.mean" in metrics:
            spread = metrics["radius.text.std"]
            shown.append(f"radius {metrics['radius.text.mean']:.3f} ± {spread:.3f}")
        shown.append(f"{pairs / event.seconds:,.0f} clips/s")
        waited = event.system.get("waiting_seconds", 0.0)
        if waited > max(1.0, 0.05 * event.seconds):
            shown.append(f"waited {waited:.1f} s for clips")
        if "augmenting_seconds" in event.system:
            shown.append(f"augmenting {event.system['augmenting_seconds']:.1f} s")
        click.echo("   ".join(shown))

    def _end(self, event: Finished) -> None:
        assert self._started is not None
        select = self._started.config["select"]
        chosen = "the last" if select["split"] == "last" else f"best {select['split']}"
        memory = "" if event.peak_MB is None else f", {event.peak_MB:,.0f} MB at most"
        click.echo(f"\nepoch {event.best_epoch} ({chosen}), {event.seconds:.0f} s in all{memory}")
        figures = ("R@1", "R@5", "R@10", "mAP10")
        rows = [["%", *(f"{way} {name}" for way in ("T2A", "A2T") for name in figures)]]
        also = [f"{chance}also.{name}" for name in self._started.also for chance in ("", "chance.")]
        for split in ("test", "shifted", "val", "chance", *also):
            names = [f"{split}.{way}.{name}" for way in ("t2a", "a2t") for name in figures]
            if names[0] in event.metrics and not (split == "val" and len(rows) > 1):
                rows.append([split, *(f"{event.metrics[name]:.1f}" for name in names)])
        _table(rows)
        click.echo()
        for place in ("", *(f"also.{name}." for name in self._started.also)):
            accuracy = f"{place}zero_shot.accuracy"
            if accuracy in event.metrics:
                click.echo(
                    f"zero-shot classification{f' on {place[:-1]}' if place else ''}: "
                    f"{event.metrics[accuracy]:.1f} % "
                    f"(chance {event.metrics[f'chance.{accuracy}']:.1f} %)"
                )
        self._own_metrics(event)
        self._next()

    def _own_metrics(self, event: Finished) -> None:
        """Those that the configuration names: a line for each number, a column for each split."""
        assert self._started is not None
        splits = ["val", "test", "shifted", *(f"also.{name}" for name in self._started.also)]
        numbers: dict[str, dict[str, str]] = {}
        for name, value in event.metrics.items() if self._started.config.get("metrics") else ():
            for split in splits:
                short = name.removeprefix(f"{split}.")
                if short != name and find(short) is not None:
                    numbers.setdefault(short, {})[split] = f"{value:.4f}"
        shown = [split for split in splits if any(split in row for row in numbers.values())]
        if shown:
            click.echo()
            rows = [
                [name, *(row.get(split, "") for split in shown)] for name, row in numbers.items()
            ]
            _table([["", *shown], *rows])

    def _next(self) -> None:
        assert self._started is not None
        model = self._folder.uri_of("model")
        data = self._started.config["data"]
        name = data["folder"] or data["name"]
        click.echo(f"\nmodel    {model}")
        if data["name"] == "soundscenes" or (
            data["name"] in ("collection", "features") and data["folder"]
        ):
            click.echo(f"measure  supclap evaluate {model} --data {name}")
        if data["name"] == "features":
            return  # the model neither hears nor reads
        click.echo(f"search   supclap embed FOLDER --model {model} --out sounds.parquet")
        click.echo(f'         supclap search sounds.parquet "a dog barks" --model {model}')


def _table(rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [
            c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)
        ]
        click.echo("   ".join(cells))
