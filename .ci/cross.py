"""Compile the extension for the other systems, by zig's cross compiler: macOS, Linux on Arm, Windows.

Every source of ours, the bindings and nanobind itself; the kernels, which are slow to compile, once a processor and
without optimisation unless ``--full`` is given. Arguments: some of the targets. Nothing is run: what is compiled here
is otherwise untested. The compiler is the package ``ziglang`` (``pip install ziglang``), or a zig on PATH; without one
this says so and ends.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nanobind

ROOT = Path(__file__).resolve().parent.parent
NANOBIND = Path(nanobind.include_dir()).parent
TARGETS = ("x86_64-macos", "aarch64-macos", "aarch64-linux-gnu", "x86_64-windows-gnu")
CHECKED = ("aarch64-macos", "x86_64-windows-gnu")  # the kernels know their processor, and nothing of the system
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument")
ISAS = {
    "x86_64": {
        "generic": (),
        "avx2": ("-mavx2", "-mfma"),
        "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
    },
    "aarch64": {"generic": (), "neon": ()},
}
KERNELS = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-exceptions", "-fno-rtti")

# In the place of the one that Python has of every system it is built for: no more than its headers ask for.
PYCONFIG = """\
#define SIZEOF_SHORT __SIZEOF_SHORT__
#define SIZEOF_INT __SIZEOF_INT__
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_LONG_LONG __SIZEOF_LONG_LONG__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define SIZEOF_FLOAT __SIZEOF_FLOAT__
#define SIZEOF_DOUBLE __SIZEOF_DOUBLE__
#define SIZEOF_TIME_T 8
#define ALIGNOF_MAX_ALIGN_T 16
#define HAVE_STDDEF_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_STAT_H 1
#define WITH_THREAD 1
#ifdef _WIN32
#define MS_WINDOWS 1
#define MS_WIN64 1
#define HAVE_DECLSPEC_DLL 1
#define NT_THREADS 1
#else
#define HAVE_PTHREAD_H 1
#define HAVE_UNISTD_H 1
#define HAVE_SSIZE_T 1
#define SIZEOF_PTHREAD_T 8
#endif
"""


def zig() -> list[str] | None:
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang"]
    return [found] if (found := shutil.which("zig")) else None


def jobs(target: str, includes: Path, full: bool) -> list[tuple[str, list[str]]]:
    """The arguments for every source of the extension."""
    ours = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-target", target, f"-I{ROOT / 'csrc'}"]
    python = ["-isystem", str(NANOBIND / "include"), "-isystem", str(includes)]
    robin = ["-isystem", str(NANOBIND / "ext/robin_map/include"), "-fno-strict-aliasing", "-w"]
    checked = ["-O3" if full else "-O0", "-c"]
    sources = sorted((ROOT / "csrc").glob("*.cpp"))
    found = [(str(source), [*ours, *WARNINGS, *python, "-O0", "-c"]) for source in sources]
    isas = ISAS[target.partition("-")[0]] if full or target in CHECKED else {}
    for isa, flags in isas.items():
        found.append((str(ROOT / f"csrc/isa/{isa}.cpp"), [*ours, *WARNINGS, *KERNELS, *flags, *checked]))
    found.append((str(NANOBIND / "src/nb_combined.cpp"), [*ours, *python, *robin, "-O0", "-c"]))
    return found


def headers(folder: Path) -> Path:
    """This Python's headers, with a ``pyconfig.h`` for any system."""
    shutil.copytree(sysconfig.get_paths()["include"], folder)
    (folder / "pyconfig.h").write_text(PYCONFIG)
    return folder


def main() -> None:
    compiler = zig()
    if compiler is None:
        print("cross: skipped, no zig (pip install ziglang)", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="grus-cross-") as folder:
        includes = headers(Path(folder, "python"))

        def run(number: int, target: str, source: str, arguments: list[str]) -> bool:
            command = [*compiler, "c++", *arguments, source, "-o", str(Path(folder, f"{number}.o"))]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode:
                print(f"cross: {Path(source).name} for {target}\n{done.stdout}", file=sys.stderr)
            return done.returncode == 0

        chosen = [target for target in TARGETS if target in sys.argv] or TARGETS
        todo = [(target, *job) for target in chosen for job in jobs(target, includes, "--full" in sys.argv)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            good = list(pool.map(lambda job: run(job[0], *job[1]), enumerate(todo)))
    if not all(good):
        sys.exit(f"cross: {good.count(False)} of {len(good)} did not compile")
    print(f"cross: {len(good)} compilations for {', '.join(chosen)}")


if __name__ == "__main__":
    main()
