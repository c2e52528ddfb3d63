"""What imports what: the folder platform/ must not hide Python's own module of that name."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from supclap_platform.cli import COMMANDS

ROOT = Path(__file__).parent.parent


def run(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_platform_is_a_folder_and_no_package() -> None:
    assert (ROOT / "platform" / "supclap_platform" / "__init__.py").is_file()
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_pythons_own_platform_is_imported_under_pytest() -> None:
    assert platform.python_implementation()
    assert "supclap" not in str(platform.__file__)


@pytest.mark.heavy
def test_pythons_own_platform_is_imported_from_the_repository_root() -> None:
    code = "import platform, sys; sys.path.insert(0, ''); print(platform.python_version())"
    assert run(code, ROOT) == platform.python_version()
    done = subprocess.run([sys.executable, "-m", "platform"], capture_output=True, cwd=ROOT)
    assert done.returncode == 0


@pytest.mark.heavy
@pytest.mark.parametrize("module", ["supclap.config", "supclap.storage", "supclap.training"])
def test_the_method_imports_neither_ray_nor_mlflow_nor_optuna(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules} & {'ray', 'mlflow', 'optuna'}))"
    )
    assert run(code, ROOT) == ""


def test_every_module_of_the_method_is_free_of_them() -> None:
    words = ("import ray", "from ray", "import mlflow", "from mlflow", "optuna")
    for path in (ROOT / "supclap").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            code = line.strip()
            if code.startswith(("import ", "from ")):
                assert not any(word in code for word in words), f"{path}: {code}"
                assert "supclap_platform" not in code, f"{path}: {code}"


@pytest.mark.heavy
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_commands_options_are_known_without_torch_or_ray(name: str) -> None:
    """Its help, a mistake in its options and completion must not take seconds."""
    module = COMMANDS[name].place.partition(":")[0]
    heavy = "{'ray', 'mlflow', 'torch', 'optuna', 'matplotlib', 'transformers'}"
    code = (
        f"import sys, {module}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}} & {heavy}))"
    )
    assert run(code, ROOT) == ""


@pytest.mark.heavy
def test_a_plan_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, supclap_platform.ledger.plan, supclap_platform.results.formats\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules} & {'ray', 'mlflow', 'torch'}))"
    )
    assert run(code, ROOT) == ""


@pytest.mark.heavy
def test_the_losses_need_nothing_but_pytorch() -> None:
    """What an installation without extras brings."""
    code = """
import sys
extras = {
    "click", "mlflow", "optuna", "pyarrow", "pydantic", "ray", "rich", "safetensors", "scipy",
    "soundfile", "tokenizers", "torchaudio", "transformers", "yaml",
}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in extras:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import supclap.drift, supclap.losses.accumulation, supclap.losses.distributed
print(supclap.losses.InfoNCE(0.07))
"""
    assert run(code, ROOT) == "InfoNCE(temperature=0.07)"
