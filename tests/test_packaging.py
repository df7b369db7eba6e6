"""What is imported when, and what a wheel contains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import fasthpo

HEAVY = ["torch", "numba", "scipy.stats", "matplotlib", "tqdm", "cloudpickle", "psutil", "ray", "pandas", "sklearn"]


def run_python(program: str, **environment: str) -> str:
    """Runs a program in a fresh interpreter, with what is installed (-P: not what lies around); what it prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- imports


def test_import_is_lazy() -> None:
    program = f"import json, sys, fasthpo; print(json.dumps([m for m in {[*HEAVY, 'numpy']} if m in sys.modules]))"
    assert json.loads(run_python(program)) == []


def test_every_public_name_without_anything_heavy() -> None:
    program = f"""
import json, sys, fasthpo
names = [getattr(fasthpo, name).__name__ for name in fasthpo.__all__]
print(json.dumps([names, [m for m in {HEAVY} if m in sys.modules]]))
"""
    names, heavy = json.loads(run_python(program))
    assert names == fasthpo.__all__
    assert heavy == []


def test_star_import() -> None:
    assert run_python("from fasthpo import *; print(Study.__name__, FastHPOError.__name__)") == "Study FastHPOError\n"


def test_all_is_complete() -> None:
    """Every public class of the errors, parameters, samplers, pruners and strategies is handed on."""
    from fasthpo import errors, pruners, samplers

    expected = {name for name, value in vars(errors).items() if isinstance(value, type)}
    expected |= {kind.__name__ for kind in [*samplers.builtin().values(), *pruners.builtin().values()]}
    assert expected <= set(fasthpo.__all__)
    assert set(fasthpo.__all__) <= set(dir(fasthpo))


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'fasthpo' has no attribute 'Stduy'"):
        fasthpo.Stduy  # noqa: B018


# --- the wheel


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a source distribution and the wheel built from it."""
    source, out = tmp_path_factory.mktemp("source") / "fasthpo", tmp_path_factory.mktemp("dist")
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("fasthpo", "kernels"):
        shutil.copytree(repository / name, source / name, symlinks=True, ignore=skipped)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source],
        capture_output=True,
        encoding="utf-8",
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_wheel_contents(repository: Path, wheel: Path) -> None:
    """Every module once, the kernels as fasthpo.kernels, the typing markers, the report's parts, and nothing else."""
    link = repository / "fasthpo" / "kernels"
    own = [path for path in (repository / "fasthpo").rglob("*") if link != path and link not in path.parents]
    names = {f"fasthpo/{path.relative_to(repository / 'fasthpo').as_posix()}" for path in own}
    kernels = (repository / "kernels").rglob("*")
    names |= {f"fasthpo/kernels/{path.relative_to(repository / 'kernels').as_posix()}" for path in kernels}
    expected = {name for name in names if name.endswith((".py", "py.typed", ".html", ".css", ".js"))}
    expected = {name.removeprefix("fasthpo/integrations/") if "/hydra_plugins/" in name else name for name in expected}
    with zipfile.ZipFile(wheel) as archive:
        listed = archive.namelist()
    contents = [name for name in listed if ".dist-info/" not in name]
    assert sorted(contents) == sorted(expected)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in listed)
    assert {"fasthpo/py.typed", "fasthpo/kernels/py.typed"} <= expected


def test_wheel_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    """Unpacked away from the repository: the modules imported are the wheel's, and a study runs on its kernels."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = """
import sys, fasthpo, fasthpo.kernels.axes
study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, sampler=fasthpo.TPESampler(n_startup_trials=2, seed=0))
for _ in range(5):
    trial = study.ask()
    study.tell(trial, trial["x"])
print(len(study), *sorted({m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "fasthpo"}), sep="\\n")
assert "kernels" not in sys.modules
"""
    cache = str(tmp_path / "cache")
    count, *files = run_python(program, PYTHONPATH=str(tmp_path / "site"), NUMBA_CACHE_DIR=cache).splitlines()
    assert count == "5"
    assert all(Path(file).is_relative_to(tmp_path / "site") for file in files)
    assert any("kernels" in file for file in files)


def test_source_distribution_has_the_kernels(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    unpacked = path.parent / "unpacked"
    shutil.unpack_archive(path, unpacked, filter="data")
    (root,) = unpacked.iterdir()
    assert (root / "kernels" / "axes.py").is_file() and (root / "kernels" / "tpe" / "parzen.py").is_file()


# --- metadata


def test_every_package_is_listed(repository: Path) -> None:
    settings = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    link = repository / "fasthpo" / "kernels"
    inits = [path.parent for path in (repository / "fasthpo").rglob("__init__.py") if link not in path.parents]
    found = {".".join(path.relative_to(repository).parts) for path in inits}
    kernels = [path.parent.relative_to(repository) for path in (repository / "kernels").rglob("__init__.py")]
    assert set(settings["tool"]["setuptools"]["packages"]) == found | {"hydra_plugins"} | {
        ".".join(("fasthpo", *path.parts)) for path in kernels
    }
    homes = {".".join(("fasthpo", *path.parts)): path.as_posix() for path in kernels}
    assert settings["tool"]["setuptools"]["package-dir"] == {
        "fasthpo": "fasthpo",
        "hydra_plugins": "fasthpo/integrations/hydra_plugins",
        **homes,
    }


def test_the_version_is_stated_once(repository: Path) -> None:
    settings = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["version"] == fasthpo.__version__
    assert f"## {fasthpo.__version__}" in (repository / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_are_exact_and_cover_what_is_asked_for(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 for line in pins)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins}
    assert len(pinned) == len(pins)
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {one.split(">=")[0].split("[")[0].lower() for one in asked} - {"fasthpo"}
    assert names <= pinned
