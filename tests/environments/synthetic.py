"""Writes the golden environments that are made from builders, not recorded on a machine.

Run from the repository: `PYTHONPATH=src:tests python tests/environments/synthetic.py`. It writes only the snapshots of
folders that begin with `synthetic-`, and an `expected.json` only where there is none: what is expected is written by
people.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from environments.expectation import render_expected
from gpudoctor.matrix.load import load_matrix
from gpudoctor.model.fact import Absent, Present
from gpudoctor.model.machine import NvmlError
from gpudoctor.model.snapshot import Snapshot
from gpudoctor.rules.engine import judge
from unit.rules.builders import (
    CUBLAS,
    CUDNN,
    Parts,
    answer,
    build,
    ct2_cublas,
    ct2_cudnn8,
    ct2_cudnn9,
    ctranslate2,
    cublas12,
    cublas13,
    cuda_says,
    cudnn8,
    cudnn9,
    dist,
    driver,
    gpu,
    host,
    installed,
    interpreter,
    machine,
    no_driver,
    onnxruntime_gpu,
    replace,
    search_path,
    shared,
    torch,
    with_,
    without_gpu,
)
from unit.rules.package_cases import old_cxx, old_libc, stack

HERE = Path(__file__).parent


def older_nvjitlink() -> Parts:
    """cuSPARSE that finds a nvJitLink older than itself, before it in LD_LIBRARY_PATH."""
    reason = "/opt/cuda-12.1/lib64/libnvJitLink.so.12: undefined symbol: __nvJitLinkGetErrorLogSize_12_8"
    row = answer(
        "torch",
        "libcusparse.so.12",
        "cusparse",
        link="needed",
        when="at import",
        failure="undefined-symbol",
        culprit="libnvJitLink.so.12",
        reason=reason,
    )
    return Parts(resolutions=(row,))


def environments() -> dict[str, Snapshot]:
    """Return the snapshots by slug; a slug that ends in `-ok` must give no finding."""
    wheels = (cudnn9(), cublas12())
    latest = (ctranslate2("4.8.5"), cublas12(), ct2_cublas(CUBLAS))
    right = with_(machine(), ctranslate2(), *wheels, ct2_cudnn9(CUDNN), ct2_cublas(CUBLAS))
    wrong = with_(machine(), ctranslate2(), *wheels, ct2_cudnn9(None), ct2_cublas(None))
    newer = with_(machine(), ctranslate2(), cudnn9("9.10.2.21"), cublas12(), ct2_cudnn9(CUDNN), ct2_cublas(CUBLAS))
    beside = with_(
        machine(),
        ctranslate2(),
        torch(),
        *wheels,
        ct2_cudnn9(None),
        ct2_cublas(None),
        ct2_cudnn9(None, "after-torch"),
        ct2_cublas(CUBLAS, "after-torch", found_via="already-loaded"),
    )
    both = ("onnxruntime", "onnxruntime-gpu")
    return {
        "synthetic-ct2-460-cudnn9-on-path-ok": search_path(right, f"{CUDNN}:{CUBLAS}"),
        "synthetic-ct2-460-cudnn910-older-dispatcher-ok": search_path(newer, f"{CUDNN}:{CUBLAS}"),
        "synthetic-ct2-485-cublas12-ok": search_path(
            with_(machine(), ctranslate2("4.8.5"), cublas12(), ct2_cublas(CUBLAS)), CUBLAS
        ),
        "synthetic-torch-251-alone-ok": with_(machine(), torch(), *wheels),
        "synthetic-faster-whisper-cpu-onnxruntime-ok": with_(
            right, installed("faster-whisper==1.1.1", "onnxruntime==1.20.1")
        ),
        "synthetic-torch-cu129-driver-570-ok": replace(
            with_(machine(), torch("2.8.0+cu129", "12.9"), *wheels), driver=driver("570.86.10", "12.8")
        ),
        "synthetic-ct2-460-cudnn9-off-path": wrong,
        "synthetic-ct2-460-cudnn8": with_(machine(), ctranslate2(), cudnn8(), ct2_cudnn9(None), ct2_cublas(CUBLAS)),
        "synthetic-ct2-460-nothing-installed": with_(machine(), ctranslate2(), ct2_cudnn9(None), ct2_cublas(None)),
        "synthetic-ct2-440-cudnn9": with_(machine(), ctranslate2("4.4.0"), cudnn9(), ct2_cudnn8(None)),
        "synthetic-ct2-485-cublas13": with_(machine(), ctranslate2("4.8.5"), cublas13(), ct2_cublas(None)),
        "synthetic-ct2-460-beside-torch": beside,
        "synthetic-ort-both-packages": with_(
            machine(), onnxruntime_gpu(), installed("onnxruntime==1.20.1"), shared_files=shared(both, "onnxruntime")
        ),
        "synthetic-openai-whisper-ok": with_(
            machine(ffmpeg=Present("/usr/bin/ffmpeg")), torch(), *wheels, installed("openai-whisper==20250625")
        ),
        "synthetic-openai-whisper-without-ffmpeg": with_(
            machine(ffmpeg=Absent(("/usr/local/bin/ffmpeg", "/usr/bin/ffmpeg"))),
            torch(),
            *wheels,
            installed("openai-whisper==20250625"),
        ),
        "synthetic-torch-222-numpy-2": with_(machine(), torch("2.2.2", "12.1"), *wheels, installed("numpy==2.1.3")),
        "synthetic-pyannote-31-numpy-2": with_(
            machine(), torch("2.8.0", "12.8"), *wheels, installed("pyannote-audio==3.1.1", "numpy==2.1.3")
        ),
        "synthetic-torch-cpu-whisperx": with_(
            machine(ffmpeg=Present("/usr/bin/ffmpeg")),
            Parts(
                distributions=(dist("torch", "2.8.0+cpu"), dist("whisperx", "3.4.2")),
                builds=(build("torch", "2.8.0+cpu", None, gpu=False),),
            ),
        ),
        "synthetic-pyannote-3-lightning-26": with_(
            machine(), torch("2.8.0", "12.8"), *wheels, installed("pyannote-audio==3.1.1", "lightning==2.6.1")
        ),
        "synthetic-ct2-440-glibc-241": with_(
            machine(import_faults=(stack(),)), ctranslate2("4.4.0"), cudnn8(), ct2_cudnn8(CUDNN)
        ),
        "synthetic-ct2-old-libstdcxx": with_(machine(import_faults=(old_cxx(),)), *latest),
        "synthetic-ct2-old-glibc": with_(machine(import_faults=(old_libc(),)), *latest),
        "synthetic-torch-older-nvjitlink": with_(machine(), torch("2.8.0", "12.8"), *wheels, older_nvjitlink()),
        "synthetic-gpu-fallen-off-the-bus": machine(
            gpus=Present((gpu(error=Present(NvmlError(code=15, message="GPU is lost"))),))
        ),
        "synthetic-driver-module-not-loaded": machine(
            driver=driver(kernel_module=Absent(), nvml=Absent(), nvml_error=Absent(), cuda=Absent()), gpus=Absent()
        ),
        "synthetic-uvm-after-suspend": machine(driver=cuda_says(999)),
        "synthetic-python-without-wheels": replace(
            with_(machine(), ctranslate2("4.4.0"), cudnn8(), cublas12(), ct2_cudnn8(CUDNN), ct2_cublas(CUBLAS)),
            interpreter=Present(interpreter(version=Present("3.13.1"))),
        ),
        "synthetic-no-gpu": without_gpu(right),
        "synthetic-driver-missing": machine(driver=no_driver(), gpus=Absent(), host=host(device_nodes=Absent())),
        "synthetic-driver-update-without-reboot": machine(driver=driver(kernel_module=Present("535.183.01"))),
        "synthetic-jetson-orin-ctranslate2": with_(
            machine(
                host=host(
                    machine="aarch64",
                    tegra=Present("36.4.0"),
                    nvidia_pci=Absent(),
                    device_nodes=Present(("/dev/nvgpu", "/dev/nvmap")),
                ),
                driver=no_driver(),
                gpus=Absent(),
            ),
            Parts(
                distributions=(dist("ctranslate2", "4.8.5"),),
                builds=(build("ctranslate2", "4.8.5", None, gpu=False),),
            ),
        ),
        "synthetic-driver-470-cuda-12": replace(right, driver=driver("470.57.02", "11.4")),
        "synthetic-container-without-gpus": machine(
            host=host(container=Present("docker"), device_nodes=Absent()), driver=no_driver(), gpus=Absent()
        ),
    }


def main() -> None:
    """Write the snapshots, and what they give where nothing was expected yet."""
    matrix = load_matrix()
    for slug, snapshot in environments().items():
        folder = HERE / slug
        folder.mkdir(exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(snapshot), indent=1)
        (folder / "snapshot.json").write_bytes(text + b"\n")
        if not (folder / "expected.json").exists():
            (folder / "expected.json").write_text(render_expected(judge(snapshot, matrix)), encoding="utf-8")


if __name__ == "__main__":
    main()
