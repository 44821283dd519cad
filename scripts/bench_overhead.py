"""Print what `gpudoctor bench` adds to a transcription: its steady figure beside that of the same loop written plainly.

Usage: scripts/bench_overhead.py --python ENVIRONMENT [--rounds N]

Both run in one process of the environment, on the CPU, with one model. They take turns, and each round begins with the
other one, so that whatever else the machine does weighs on both alike; the ratio is taken round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from gpudoctor.bench.models import choose_model, locate_model, sample_file
from gpudoctor.bench.progress import Silence
from gpudoctor.bench.request import MAX_NEW_TOKENS, BenchRequest
from gpudoctor.bench.station import set_up, threads_of
from gpudoctor.matrix.load import load_matrix
from gpudoctor.system.children import bench_worker
from gpudoctor.system.real import RealSystem

ROUNDS = 20
MODEL = "synthetic:tiny"
# The program of the environment: the benchmark's own code, loaded by its path, beside what a user would write.
PROGRAM = """
import json, os, sys, time
from importlib.util import module_from_spec, spec_from_file_location

spec = spec_from_file_location("bench_worker", sys.argv[1])
worker = module_from_spec(spec)
spec.loader.exec_module(worker)
import faster_whisper

job, rounds = json.loads(sys.argv[2]), int(sys.argv[3])
audio = faster_whisper.decode_audio(job["audio"], sampling_rate=16000)
model = worker.load(faster_whisper, job)
transcribe, options = worker.prepare(faster_whisper, model, job, len(audio) / 16000)
teller = worker.Teller(os.open(os.devnull, os.O_WRONLY))


def bench():
    return worker.one_run(teller.say, "run", transcribe, audio, options())[0]


def plain():
    first = model.hf_tokenizer.token_to_id("<|endoftext|>")
    special = list(range(first, model.hf_tokenizer.get_vocab_size()))
    begin = time.perf_counter()
    segments, _ = model.transcribe(
        audio, language="en", beam_size=job["beam_size"], temperature=0.0, compression_ratio_threshold=None,
        log_prob_threshold=None, no_speech_threshold=None, condition_on_previous_text=False, without_timestamps=True,
        vad_filter=False, suppress_blank=False, suppress_tokens=special, max_new_tokens=job["max_new_tokens"],
    )
    for segment in segments:
        pass
    return time.perf_counter() - begin


bench(), plain()
for number in range(rounds):
    taken = {which.__name__: which() for which in ((bench, plain) if number % 2 else (plain, bench))}
    print(json.dumps(taken), flush=True)
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of `gpudoctor bench` itself")
    parser.add_argument("--python", required=True, help="an environment with faster-whisper")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    done = subprocess.run(command(arguments.python, arguments.rounds), check=True, capture_output=True, text=True)
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    for name in ("bench", "plain"):
        taken = [r[name] for r in rounds]
        print(f"{name}  median {statistics.median(taken):.4f} s   least {min(taken):.4f} s   {len(taken)} runs")
    ratios = sorted(r["bench"] / r["plain"] for r in rounds)
    print(f"bench / plain: median of {len(ratios)} rounds {statistics.median(ratios):.3f}")
    quarter = len(ratios) // 4
    print(f"               half of the rounds lie from {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}")
    return 0


def command(python: str, rounds: int) -> list[str]:
    """Return the command of the program, after the model and the sample were made."""
    system, matrix = RealSystem(), load_matrix(None)
    station = set_up(system, matrix, BenchRequest(python=python, own_python=sys.executable))
    told = station.shop.do({"job": "describe", "device": "cpu", "wants_format": True}).first("versions")
    model = choose_model(system, matrix, MODEL)
    job = {
        "model": locate_model(system, station.shop, model, told.model_format if told else None, Silence()),
        "device": "cpu",
        "compute_type": "int8",
        "threads": threads_of(BenchRequest(), station.shop.environment, told.usable_cpus if told else None),
        "audio": sample_file(system, 1, Silence()),
        "beam_size": 5,
        "batch_size": None,
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    return [station.python, "-B", "-c", PROGRAM, bench_worker.__file__, json.dumps(job), str(rounds)]


if __name__ == "__main__":
    raise SystemExit(main())
