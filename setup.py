"""Build the one part that pyproject.toml cannot describe: the C++ kernels for CPU tensors.

They use the LibTorch stable ABI and no Python API, so one build serves every torch >= 2.11 and every Python >= 3.11.
Without a compiler the installation goes on; the operators then run their reference, and `involution info` says so.
"""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from torch.utils.cpp_extension import include_paths, library_paths

CPU = Path("src/involution/ops/cpu")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if "INVOLUTION_SANITIZE" in os.environ else []


class BuildExtension(build_ext):
    """Compile optional extensions and name the reason if that fails."""

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """Export nothing: the library is loaded by torch, not imported by Python."""
        return []

    def get_ext_filename(self, fullname: str) -> str:
        """Leave the Python version out of the file name."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))


setup(
    ext_modules=[
        Extension(
            "involution.ops.cpu._kernels",
            sources=sorted(str(path) for path in CPU.rglob("*.cpp")),
            depends=sorted(str(path) for path in CPU.rglob("*.h")),
            include_dirs=include_paths(),
            library_dirs=library_paths(),
            libraries=["torch_cpu"],
            extra_compile_args=[
                "-std=c++20",
                "-O3",
                "-g0",
                "-fvisibility=hidden",
                "-Wall",
                "-Wextra",
                "-Wno-psabi",
                *SANITIZE,
            ],
            extra_link_args=SANITIZE,
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildExtension},
)
