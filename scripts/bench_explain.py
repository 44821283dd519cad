"""Compare the speed of `gpudoctor explain` with a bare line loop over the same log, side by side.

Usage: scripts/bench_explain.py [--megabytes N] [FILE…]   (without FILE: generated logs)
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOOP = "import sys\nfor line in open(sys.argv[1], 'rb'):\n    pass\n"
TEXTS = (
    "INFO faster_whisper: processing segment at {}:{}.000 with temperature 0.0",
    "DEBUG app.main - POST /v1/audio/transcriptions 200 in {} ms, user {}",
    "INFO worker decoded 30.0 s of audio, language en, probability 0.{} beam {}",
    "step {} loss 0.{} learning rate 3e-5, 123.4 samples/s",
)
GPU_TEXT = "INFO asr: loading model large-v3 on cuda:0, GPU memory {} MiB of 24268, batch {}, torch 2.5.1+cu124"
LAST = "RuntimeError: Library libcublas.so.12 is not found or cannot be loaded\n"


def write_log(path: Path, size: int, texts: tuple[str, ...]) -> None:
    chance = random.Random(7)  # noqa: S311 - a sample text, no secret
    with path.open("wb") as file:
        while file.tell() < size:
            lines = (
                f"2026-11-20T12:{chance.randrange(60):02}:{chance.randrange(60):02}Z "
                f"{chance.choice(texts).format(chance.randrange(60), chance.randrange(1000))}\n"
                for _ in range(2000)
            )
            file.write("".join(lines).encode())
        file.write(LAST.encode())


def seconds(command: list[str]) -> tuple[float, float]:
    """Return the best wall-clock time of three runs, and the best CPU time, which a busy machine does not falsify."""
    walls, cpus = [], []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        walls.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(walls), min(cpus)


def compare(name: str, path: Path) -> None:
    loop, loop_cpu = seconds([sys.executable, "-c", LOOP, str(path)])
    ours, ours_cpu = seconds([str(Path(sys.executable).with_name("gpudoctor")), "explain", str(path)])
    megabytes = path.stat().st_size / 1e6
    print(
        f"{name:<16} {megabytes:6.0f} MB  loop {loop:6.2f} s  explain {ours:6.2f} s  speed {loop / ours:5.2f} of it, "
        f"{loop_cpu / ours_cpu:5.2f} by CPU time"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    arguments = parser.parse_args()
    for path in arguments.files:
        compare(path.name, path)
    if not arguments.files:
        with tempfile.TemporaryDirectory() as folder:
            kinds = (("a service's log", TEXTS), ("half on the GPU", (*TEXTS, *(GPU_TEXT,) * 4)))
            for number, (name, texts) in enumerate(kinds):
                path = Path(folder, f"{number}.log")
                write_log(path, arguments.megabytes * 1_000_000, texts)
                compare(name, path)
                path.unlink()
    print(f"peak memory of the children: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10} MiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
