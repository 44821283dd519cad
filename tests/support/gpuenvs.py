"""Small environments of C libraries that are named and linked as GPU libraries are, and a matrix that knows them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gpudoctor.matrix.claims import NeedsLibrary, Opening
from gpudoctor.matrix.index import Matrix
from gpudoctor.matrix.types import Consumer, EntryStep, Fact, Family, MatrixData, Provider, Source

# Where the interpreter that runs the tests, and that these environments link to, looks for packages.
LIB = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
SOURCE = (Source(kind="measured", ref="this test"),)
FAMILIES = (
    Family(
        name="cudnn",
        title="cuDNN",
        sonames=("libcudnn(_[a-z]+)?",),
        parts=("libcudnn_ops", "libcudnn_cnn"),
        providers=(Provider(distribution="nvidia-cudnn-cu12", major="9", directory="nvidia/cudnn/lib"),),
    ),
    Family(name="cublas", title="cuBLAS", sonames=("libcublas(Lt)?",), parts=("libcublas", "libcublasLt")),
    Family(name="driver", title="the driver", sonames=("libcuda",), from_driver=True),
)


class GpuEnv:
    """An environment under construction; `matrix` is what it would need.

    Attributes:
        root: Its prefix.
        site: Its site-packages.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.site = folder / LIB / "site-packages"
        self.site.mkdir(parents=True)
        (folder / "bin").mkdir()
        self.python = folder / "bin/python"
        self.python.symlink_to(Path(sys.executable).resolve())
        self._consumers: list[Consumer] = []
        self._facts: list[Fact] = []

    @property
    def matrix(self) -> Matrix:
        return Matrix(
            MatrixData(version="1", families=FAMILIES, consumers=tuple(self._consumers), facts=tuple(self._facts))
        )

    def library(
        self,
        folder: Path | str,
        name: str,
        version: str = "",
        *,
        flags: tuple[str, ...] = (),
        symbol: str | None = None,
        needs: tuple[str, ...] = (),
    ) -> Path:
        """Compile `name` into a folder; with a version, as a link to a file that carries it.

        Args:
            folder: Where, relative to site-packages unless absolute.
            name: SONAME.
            version: Full version in the real file's name: `libcudnn_ops.so.9.1.0`.
            flags: More linker flags, such as a RUNPATH.
            symbol: Symbol version to define `work` under.
            needs: `name:symbol version` of libraries to be linked; empty version for none.
        """
        target = self.site / folder
        target.mkdir(parents=True, exist_ok=True)
        real = target / (name.partition(".so")[0] + f".so.{version}" if version else name)
        compile_library(self.root / "build", real, name, flags=flags, symbol=symbol, needs=needs)
        if real.name != name:
            (target / name).symlink_to(real.name)
        return target / name

    def consumer(
        self,
        name: str,
        opens: tuple[str, ...] = (),
        *,
        flags: tuple[str, ...] = (),
        needs: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
    ) -> None:
        """Add a package whose extension module opens libraries by these names; `a|b` tries a, then b."""
        folder = self.site / name
        folder.mkdir(exist_ok=True)
        compile_library(self.root / "build", folder / "_ext.so", "_ext.so", flags=flags, needs=needs)
        self._consumers.append(
            Consumer(name=name, distributions=(name,), entry=(EntryStep(glob=f"{name}/_ext.so"),), title=name)
        )
        (self.site / f"{name}-1.0.dist-info").mkdir()
        (self.site / f"{name}-1.0.dist-info/METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        for family in FAMILIES:
            known = Matrix(MatrixData(version="1", families=(family,), consumers=(), facts=()))
            names = [o for o in (*opens, *optional) if known.family_of(o.split("|")[0])]
            if names:
                self._facts.append(_fact(name, family.name, tuple(names), optional))


def _fact(name: str, family: str, opens: tuple[str, ...], optional: tuple[str, ...]) -> Fact:
    openings = tuple(
        Opening(role=o.partition(".so")[0].removeprefix("lib"), names=tuple(o.split("|")), optional=o in optional)
        for o in opens
    )
    claim = NeedsLibrary(
        library=family, major="9", requester=f"{name}/_ext.so", opens=openings, when_opened="at the first call"
    )
    return Fact(id=f"{name}-{family}", subject=name, claim=claim, status="verified", sources=SOURCE)


def compile_library(
    build: Path,
    out: Path,
    soname: str,
    *,
    flags: tuple[str, ...] = (),
    symbol: str | None = None,
    needs: tuple[str, ...] = (),
) -> None:
    """Compile one shared library, linked against stubs of what it needs."""
    build.mkdir(exist_ok=True)
    source = build / "library.c"
    calls = [n for n in needs if n.partition(":")[2]]
    source.write_text(
        "int work(void) { return 1; }\n" if not calls else "int work_at(void);\nint use(void) { return work_at(); }\n"
    )
    command = ["gcc", "-shared", "-fPIC", "-o", str(out), str(source), f"-Wl,-soname,{soname}", "-Wl,--no-as-needed"]
    if symbol:
        source.write_text("int work_at(void) { return 1; }\n")
        script = build / "versions.map"
        script.write_text(f"{symbol} {{ work_at; }};\n")
        command.append(f"-Wl,--version-script={script}")
    for need in needs:
        name, _, version = need.partition(":")
        stub = build / f"stub-{version}"
        stub.mkdir(exist_ok=True)
        compile_library(build, stub / name, name, symbol=version or None)
        command.append(str(stub / name))
    if calls and not symbol:
        source.write_text("int work_at(void);\nint use(void) { return work_at(); }\n")
    subprocess.run([*command, *flags], check=True)
