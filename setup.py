"""Build the one part that pyproject.toml cannot describe: the C++ kernels for CPU tensors.

They use the LibTorch stable ABI and no Python API, so one wheel serves every torch >= 2.11 and every Python >= 3.11 of
a platform. Without a compiler, or with one that fails, the installation goes on: the operators then run their
reference, and the reason is printed and kept in `build_error.txt` beside the sources for `involution info`.
"""

import os
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError
from torch.utils.cpp_extension import include_paths, library_paths

CPU = Path("src/involution/ops/cpu")
SIGNATURES = CPU.with_name("signatures.py")
ERROR = "build_error.txt"
SANITIZED = os.environ.get("INVOLUTION_SANITIZE")  # an instruction set: compiling all with the checks takes minutes
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if SANITIZED else []


def checks(source: str) -> list[str]:
    """Return the compiler's options for a source in a build with sanitizers."""
    if not SANITIZED:
        return []
    return ["-O1", *SANITIZE] if Path(source).stem in (SANITIZED, "binding") else ["-O0"]


def first_error(output: str) -> str:
    """Return the first line of a compiler's output that is an error, or the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[-1] if lines else "no message")


class BuildExtension(build_ext):
    """Compile the extension; if that fails, keep the compiler's first error."""

    def build_extension(self, ext: Extension) -> None:
        """Compile `ext`, or write why it cannot be."""
        error_file = Path(self.build_lib, *ext.name.split(".")[:-1], ERROR)
        error_file.unlink(missing_ok=True)
        self.compiler.spawn = self.compiler.call = self._call  # setuptools calls the one or the other
        compile_all = self.compiler.compile
        try:
            with ThreadPoolExecutor(os.cpu_count()) as threads:  # setuptools compiles one source after the other

                def compile_one(source: str, extra_postargs: list[str], **options: Any) -> list[str]:
                    return compile_all([source], extra_postargs=[*extra_postargs, *checks(source)], **options)

                def compile_in_parallel(sources: list[str], **options: Any) -> list[str]:
                    objects = threads.map(lambda source: compile_one(source, **options), sources)
                    return [path for paths in objects for path in paths]

                self.compiler.compile = compile_in_parallel
                super().build_extension(ext)
        except CompileError as error:
            error_file.parent.mkdir(parents=True, exist_ok=True)
            error_file.write_text(f"{error}\n", encoding="utf-8")
            raise

    def copy_extensions_to_source(self) -> None:
        """Copy the library into the source, as editable installations want it, or the reason why there is none."""
        super().copy_extensions_to_source()
        built, copy = Path(self.build_lib, CPU.relative_to("src"), ERROR), CPU / ERROR
        copy.unlink(missing_ok=True)
        if built.exists():
            self.copy_file(str(built), str(copy))

    def _call(self, command: list[str], **_: Any) -> None:
        """Run a compiler or linker and put its first error into the exception."""
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            )
        except OSError as error:
            raise CompileError(f"{command[0]}: {error.strerror}") from error
        sys.stderr.write(done.stdout)
        if done.returncode:
            raise CompileError(f"{command[0]}: {first_error(done.stdout)}")

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """Export nothing: the library is loaded by torch, not imported by Python."""
        return []

    def get_ext_filename(self, fullname: str) -> str:
        """Leave the Python version out of the file name."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))


class Wheel(bdist_wheel):
    """A wheel for every Python of one platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return py3-none and the platform."""
        return ("py3", "none", super().get_tag()[2])


setup(
    ext_modules=[
        Extension(
            "involution.ops.cpu._kernels",
            sources=sorted(str(path) for path in CPU.rglob("*.cpp")),
            depends=[str(SIGNATURES), *sorted(str(path) for path in CPU.rglob("*.h"))],
            define_macros=[runpy.run_path(str(SIGNATURES))["MACRO"]],
            include_dirs=include_paths(),
            library_dirs=library_paths(),
            libraries=["torch_cpu"],
            extra_compile_args=["-std=c++20", "-O3", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi"],
            extra_link_args=SANITIZE,
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildExtension, "bdist_wheel": Wheel},
)
