"""torchaudio beside any PyTorch, in every kind of process."""

import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from waiting import PATIENCE

PROBE = """
from supclap.audio_library import torchaudio
import torch, torchaudio.compliance.kaldi
mel = torchaudio.transforms.MelSpectrogram(16000, n_fft=512, hop_length=160, n_mels=64)
assert mel(torch.randn(2, 16000)).shape == (2, 64, 101)
assert torchaudio.compliance.kaldi.fbank(torch.randn(1, 16000), num_mel_bins=64).shape[1] == 64
print(torchaudio.functional.resample(torch.ones(44100), 44100, 16000).shape[0])
"""


@pytest.mark.heavy
def test_a_fresh_process_computes_features() -> None:
    found = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "16000"


def probe(queue: Any) -> None:
    from supclap.audio_library import torchaudio

    queue.put(torchaudio.functional.amplitude_to_DB(torch.tensor([[100.0]]), 10, 1e-10, 0).item())


@pytest.mark.heavy
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_child_processes_have_it(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    child = context.Process(target=probe, args=(queue,))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert queue.get() == pytest.approx(20.0)


@pytest.mark.heavy
def test_a_working_torchaudio_is_left_alone(tmp_path: Path) -> None:
    """The stub is for a failed import alone."""
    package = tmp_path / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("from torchaudio import _extension\n")
    (package / "_extension.py").write_text("REAL = True\n")
    code = "from supclap.audio_library import torchaudio; print(torchaudio._extension.REAL)"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "True", found.stderr
