"""Random folders of small shared libraries with everything that decides what the loader finds."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

NAMES = tuple(f"lib{letter}.so.1" for letter in "abcdef")
ALIASES = ("libalias.so.1", "libother.so.1")
FOLDERS = ("d0", "d1", "d2", "d3", "d4")
SUBDIRS = (
    "",
    "",
    "",
    "",
    "",
    "glibc-hwcaps/x86-64-v2",
    "glibc-hwcaps/x86-64-v3",
    "tls",
    "x86_64",
    "tls/x86_64",
    "atomics",
    "aarch64",
)

_LIBRARY_C = """
extern void *dlopen(const char *, int);
int counter = 3;
char zeroed[64];
void *open_from_here(const char *name) { return dlopen(name, 1); }
"""
_PROVIDER_C = "int versioned(void) { return 7; }\n"
_USER_C = "extern int versioned(void);\nint use(void) { return versioned(); }\n"
_PROGRAM_C = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
/* program NUMBER NAME ...: opens NAME on behalf of the result of step NUMBER, -1 for the program itself. */
int main(int argc, char **argv) {
    void *handles[64];
    for (int i = 1; i + 1 < argc; i += 2) {
        int by = atoi(argv[i]);
        void *handle;
        if (by < 0) {
            handle = dlopen(argv[i + 1], RTLD_LAZY);
        } else {
            void *(*open_from_here)(const char *) = dlsym(handles[by], "open_from_here");
            handle = open_from_here(argv[i + 1]);
        }
        struct link_map *map = NULL;
        if (handle) dlinfo(handle, RTLD_DI_LINKMAP, &map);
        handles[i / 2] = handle;
        printf("%s\n", handle ? map->l_name : "-");
        fflush(stdout);
    }
    return 0;
}
"""


@dataclass(frozen=True)
class Toolchain:
    """Programs that make libraries for one architecture."""

    gcc: str = "gcc"
    ld: str = "ld"
    other_machine: int = 183

    def missing(self) -> list[str]:
        return [p for p in (self.gcc, self.ld) if shutil.which(p) is None]


class Workshop:
    """Objects and libraries compiled once, copied into many trees."""

    def __init__(self, folder: Path, tools: Toolchain = Toolchain()) -> None:
        self.folder = folder
        self.tools = tools
        self._made: dict[tuple[object, ...], Path] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in (("library", _LIBRARY_C), ("provider", _PROVIDER_C), ("user", _USER_C)):
            self._compile(name, source, "-c", "-fPIC", "-O1")
        for label, flags in {
            "none": [],
            "rpath": ["-Wl,--disable-new-dtags,-rpath,$ORIGIN/../d3:$ORIGIN/../missing"],
            "runpath": ["-Wl,--enable-new-dtags,-rpath,$ORIGIN/../d3"],
        }.items():
            self._compile(f"program-{label}", _PROGRAM_C, *flags, "-ldl", suffix="")
        for version in ("V1", "V2"):
            (folder / f"{version}.map").write_text(f"{version} {{ versioned; }};\n")

    def _compile(self, name: str, source: str, *flags: str, suffix: str = ".o") -> None:
        (self.folder / f"{name}.c").write_text(source)
        command = [self.tools.gcc, str(self.folder / f"{name}.c"), "-o", str(self.folder / (name + suffix)), *flags]
        subprocess.run(command, check=True, cwd=self.folder)

    def library(
        self,
        *,
        soname: str | None = None,
        needed: tuple[str, ...] = (),
        path: str | None = None,
        runpath: bool = False,
        provides: str | None = None,
        wants: bool = False,
        no_default_dirs: bool = False,
    ) -> Path:
        """Link a library (or return the same one made before)."""
        key = (soname, needed, path, runpath, provides, wants, no_default_dirs)
        if key in self._made:
            return self._made[key]
        stubs = [str(self._stub(name)) for name in needed]
        versioned = str(self._stub("libv.so.1", "V1")) if wants else ""
        out = self.folder / f"made-{len(self._made)}.so"
        command = [self.tools.ld, "-shared", "library.o", "-o", str(out), "--hash-style=gnu", "--no-as-needed"]
        if soname:
            command += ["-soname", soname]
        if path is not None:
            command += ["--enable-new-dtags" if runpath else "--disable-new-dtags", "-rpath", path]
        if provides:
            command += ["provider.o", f"--version-script={provides}.map"]
            (self.folder / f"{provides}.map").write_text(f"{provides} {{ versioned; open_from_here; }};\n")
        if no_default_dirs:
            command += ["-z", "nodefaultlib"]
        if wants:
            command += ["user.o", versioned]
        subprocess.run([*command, *stubs], check=True, cwd=self.folder)
        self._made[key] = out
        return out

    def _stub(self, soname: str, version: str | None = None) -> Path:
        return self.library(soname=soname, provides=version)


@dataclass
class Tree:
    """One generated tree and what will be done in it."""

    root: Path
    program: Path
    environment: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[int, str]] = field(default_factory=list)

    def arguments(self) -> list[str]:
        return [text for by, name in self.steps for text in (str(by), name)]


def make_tree(workshop: Workshop, root: Path, seed: int) -> Tree:
    """Generate the tree of a seed."""
    dice = random.Random(seed)
    program = root / "bin" / "program"
    program.parent.mkdir(parents=True)
    kind = dice.choice(("none", "none", "rpath", "runpath"))
    shutil.copy2(workshop.folder / f"program-{kind}", program)
    for folder in FOLDERS[: dice.randint(3, 5)]:
        (root / folder).mkdir()
    places: list[Path] = []
    for _ in range(dice.randint(8, 22)):
        _place(workshop, root, dice, places)
    tree = Tree(root, program, _environment(root, dice))
    _plan(tree, dice, places)
    return tree


def _place(workshop: Workshop, root: Path, dice: random.Random, places: list[Path]) -> None:
    folder = root / dice.choice(FOLDERS[:3]) / dice.choice(SUBDIRS)
    if dice.random() < 0.06:
        folder = root  # the working directory
    name = dice.choice((*NAMES, *NAMES, "libv.so.1"))
    target = folder / name
    if os.path.lexists(target):
        return
    folder.mkdir(parents=True, exist_ok=True)
    real = [p for p in places if p.is_file()]
    kind = dice.choices(
        (
            "library",
            "symlink",
            "hardlink",
            "machine",
            "class",
            "text",
            "empty",
            "folder",
            "broken",
            "loop",
            "cut",
            "pie",
        ),
        (60, 6, 6, 5, 4, 2, 1, 2, 3, 2, 1, 1),
    )[0]
    if kind in ("symlink", "hardlink") and not real:
        kind = "library"
    if kind == "library":
        shutil.copyfile(_random_library(workshop, root, dice, name), target)
        places.append(target)
    elif kind == "symlink":
        target.symlink_to(os.path.relpath(dice.choice(real), folder))
        places.append(target)
    elif kind == "hardlink":
        os.link(dice.choice(real), target)
        places.append(target)
    else:
        _place_broken(workshop, kind, target, dice)


def _place_broken(workshop: Workshop, kind: str, target: Path, dice: random.Random) -> None:
    whole = workshop.library(soname=target.name).read_bytes()
    if kind == "machine":
        number = dice.choice((workshop.tools.other_machine, 3, 40))
        target.write_bytes(whole[:18] + number.to_bytes(2, "little") + whole[20:])
    elif kind == "class":
        target.write_bytes(whole[:4] + b"\x01" + whole[5:])
    elif kind == "text":
        target.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n")
    elif kind == "empty":
        target.write_bytes(b"")
    elif kind == "folder":
        target.mkdir()
    elif kind == "broken":
        target.symlink_to("nowhere/at-all.so")
    elif kind == "loop":
        target.symlink_to(target.name)
    elif kind == "cut":
        target.write_bytes(whole[: 4096 + 200])
    elif kind == "pie":
        shutil.copyfile(workshop.folder / "program-none", target)


def _random_library(workshop: Workshop, root: Path, dice: random.Random, name: str) -> Path:
    if name == "libv.so.1":
        return workshop.library(soname=dice.choice((name, name, None)), provides=dice.choice(("V1", "V2", None)))
    needed = tuple(dice.sample((*NAMES, *ALIASES), dice.choice((0, 0, 1, 1, 2, 3))))
    tag = dice.choice((None, None, "rpath", "rpath", "runpath", "runpath"))
    return workshop.library(
        soname=dice.choice((name, name, name, None, ALIASES[0], dice.choice(NAMES))),
        needed=needed,
        path=_path(root, dice, ":") if tag else None,
        runpath=tag == "runpath",
        wants=dice.random() < 0.2,
        no_default_dirs=dice.random() < 0.1,
    )


def _element(root: Path, dice: random.Random) -> str:
    folder = dice.choice((*FOLDERS, "missing"))
    return dice.choice(
        (
            f"{root}/{folder}",
            f"{root}/{folder}",
            f"{root}/{folder}//",
            f"$ORIGIN/../{folder}",
            f"${{ORIGIN}}/../{folder}/",
            "$ORIGIN",
            "$ORIGINAL/x",
            "$ORIGIN/../$PLATFORM",
            f"{root}/$LIB/{folder}",
            folder,
            f"./{folder}",
            "",
            f"~/{folder}",
            f'"{root}/{folder}"',
            f"{root}/bin/program",
            "/",
        )
    )


def _path(root: Path, dice: random.Random, separators: str) -> str:
    text = _element(root, dice)
    for _ in range(dice.choice((0, 0, 1, 2, 3))):
        text += dice.choice(separators) + _element(root, dice)
    return text


def _environment(root: Path, dice: random.Random) -> dict[str, str]:
    environment: dict[str, str] = {}
    if dice.random() < 0.75:
        environment["LD_LIBRARY_PATH"] = _path(root, dice, "::;")
    if dice.random() < 0.2:
        environment["LD_PRELOAD"] = dice.choice((" ", ":")).join(
            dice.choice((f"{root}/d0/{NAMES[0]}", NAMES[1], "libnothere.so", f"{root}/d1/{NAMES[2]}"))
            for _ in range(dice.randint(1, 2))
        )
    return environment


def _plan(tree: Tree, dice: random.Random, places: list[Path]) -> None:
    for number in range(dice.randint(3, 7)):
        by = dice.randint(-1, number - 1) if dice.random() < 0.5 else -1
        what = dice.random()
        if what < 0.7 or not places:
            name = dice.choice((*NAMES, *ALIASES))
        elif what < 0.85:
            name = str(dice.choice(places))
        else:
            name = "./" + str(dice.choice(places).relative_to(tree.root))
        tree.steps.append((by, name))
