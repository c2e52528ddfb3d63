"""`supclap doctor`: whether this machine can do what SupCLAP asks of it, one line for each part."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from supclap.errors import InputError
from supclap.scratch import scratch_folder
from supclap.wording import gist, one_line
from supclap_platform.commands.doctor_file import OK, WRONG, findings, read
from supclap_platform.commands.options import Asked, file_options, storage_option
from supclap_platform.commands.plan_missing import cells_by_needs
from supclap_platform.experiment.experiment import Experiment
from supclap_platform.experiment.profile import DEFAULT_PROFILE
from supclap_platform.running.listening import Listener, advice, listening

LEAST_FREE = 5  # GB
PACKAGES = ("torch", "ray", "mlflow", "pyarrow", "transformers", "optuna")


@click.command()
@partial(file_options, required=False)
@storage_option
@click.option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="An MLflow server to try.")
@click.option("--address", help="A Ray cluster to try; default: an own Ray.")
def doctor(
    file: Path | None,
    profile: str,
    changes: tuple[str, ...],
    no_code: bool,
    storage: str,
    tracking_uri: str | None,
    address: str | None,
) -> None:
    """Check this machine: one line for each part, and what to do where one is wrong.

    With FILE also all that its runs need: what is here, what a run would fetch and how much that
    is, and what is missing, with the command that gets it. Nothing is fetched.
    """
    if file is None and (changes or profile != DEFAULT_PROFILE or no_code):
        raise InputError("--profile, --set and --no-code are of a FILE: supclap doctor FILE")
    asked = None if file is None else Asked(file, profile, changes, storage, no_code)
    of_file = None if asked is None else read(asked)  # a mistake in it is said at once
    reached: list[Listener] = []
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("packages", _packages),
        ("cores", _cores),
        ("gpu", _gpu),
        ("audio", _audio),
        ("sound files", _sound_files),
        ("standard library", _standard_platform),
        ("storage", lambda: _storage(storage)),
        ("made data", _cache),
        ("mlflow", lambda: _mlflow(tracking_uri)),
        ("ray", lambda: _ray(address, reached)),
        ("network", lambda: advice(reached)),
    ]
    wrong = 0
    for name, check in checks:
        try:
            sign, found = "ok", check()
        except Exception as error:  # whatever it is, the next part is still worth a look
            sign, found = "WRONG", gist(error, None)
            wrong += 1
        click.echo(f"{sign:<6}{name:<18}{found}")
    if address is not None:
        for sign, found in _nodes(address, storage, None if of_file is None else of_file[0]):
            click.echo(f"{sign:<6}{'nodes':<18}{found}")
            wrong += sign == WRONG
    if asked is not None and of_file is not None:
        click.echo(f"{asked.file}, profile {asked.profile}")
        for one in findings(*of_file, asked, here=address is None):
            click.echo(f"{one.sign:<6}{one.name:<18}{one.text}")
            if one.command:
                click.echo(f"{'':<24}{one.command}")
            wrong += one.sign == WRONG
    if wrong:
        raise SystemExit(1)


def _python() -> str:
    return f"{sys.version.split()[0]} at {sys.executable}"


def _packages() -> str:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        raise RuntimeError(
            f"not installed: {', '.join(missing)}; in the clone: pip install '.[platform]'"
        )
    return ", ".join(found)


def _cores() -> str:
    import psutil

    from supclap_platform.running.machine import cores

    memory = psutil.virtual_memory()
    return (
        f"{cores()}, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB memory free"
    )


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none: everything runs on the CPU"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(names)


def _audio() -> str:
    import torch

    from supclap.audio_library import torchaudio

    spectra = torchaudio.transforms.MelSpectrogram(16000, n_fft=400, n_mels=64)
    bands = len(spectra(torch.zeros(1600)))
    extension = importlib.import_module("torchaudio._extension")
    whole = getattr(extension, "_IS_TORCHAUDIO_EXT_AVAILABLE", False)
    note = "" if whole else " (without its compiled extension, which is not needed)"
    return f"torchaudio {torchaudio.__version__} computes {bands} mel bands{note}"


def _sound_files() -> str:
    import soundfile

    known = soundfile.available_formats()
    formats = [name.lower() for name in ("WAV", "FLAC", "OGG", "MP3") if name in known]
    return f"libsndfile {soundfile.__libsndfile_version__} reads {', '.join(formats)}"


def _standard_platform() -> str:
    import platform

    if not hasattr(platform, "machine"):
        raise RuntimeError(
            f"a folder or file shadows Python's own 'platform': {platform.__file__}; "
            "remove __init__.py from it"
        )
    return f"its 'platform' module is its own ({platform.system()} {platform.machine()})"


def _storage(place: str) -> str:
    from supclap_platform.ledger.ledger import open_ledger

    ledger = open_ledger(place, writing=True)
    return f"{ledger.storage.uri} can be written{_free(ledger.storage.local)}"


def _cache() -> str:
    from supclap.data.cache import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: cannot be written; set SUPCLAP_CACHE to another folder")
    return f"{folder} can be written{_free(folder)}"


def _free(folder: Path | None) -> str:
    while folder is not None and not folder.exists():
        folder = folder.parent
    if folder is None:
        return ""
    free = shutil.disk_usage(folder).free / 2**30
    if free < LEAST_FREE:
        raise RuntimeError(f"{folder}: {free:.1f} GiB free; have {LEAST_FREE} at least")
    return f", {free:.0f} GiB free"


def _mlflow(uri: str | None) -> str:
    from supclap.storage import Folder
    from supclap_platform.mirror.store import choose_store

    with scratch_folder("doctor") as scratch:
        store = choose_store(uri, Folder.at(scratch))
        assert store is not None  # a folder of this machine can always hold one
        count = len(store.connect().search_experiments())
    return f"{store.shown} answers: {count} experiments" if uri else "an SQLite store can be made"


def _ray(address: str | None, reached: list[Listener]) -> str:
    """``reached``: is given what listens beyond loopback while Ray is there."""
    import ray

    from supclap_platform.running.cluster import connected
    from supclap_platform.running.executor import imported_on_a_worker

    with connected(address) as cluster:
        total = cluster.resources()
        reached += listening()
        worker = ray.get(ray.remote(num_cpus=0)(imported_on_a_worker).remote(), timeout=120)
    shown = ", ".join(f"{total[name]:g} {name}" for name in ("CPU", "GPU") if total.get(name))
    return f"starts with {shown}; its workers {worker}"


def _nodes(address: str, storage: str, experiment: Experiment | None) -> Iterator[tuple[str, str]]:
    """What the nodes of a cluster have, in a line, and what each other lacks: storage, code,
    devices, and what an experiment needs."""
    from supclap_platform.ledger.ledger import open_ledger
    from supclap_platform.running.cluster import connected
    from supclap_platform.running.fleet import examined

    try:
        cells = [] if experiment is None else cells_by_needs(experiment)
        with connected(address):
            ledger = open_ledger(storage, writing=True)
            found = examined(ledger, cells, experiment.name if experiment else "")
    except Exception as error:  # as of any other part
        yield WRONG, gist(error, None)
        return
    whole = [node for node, lacks in found.items() if not lacks]
    if whole:
        more = f", what {experiment.path.name} needs" if experiment and cells else ""
        have = f"the storage, this code{more}, and devices that compute"
        yield OK, f"{len(whole)} of {len(found)} have {have}: {one_line(', '.join(whole))}"
    for node, lacks in found.items():
        if lacks:
            yield WRONG, f"{node}: {lacks}"
