"""Transcription with speakers on a rented GPU: the image that works."""

import modal

CUDA_IMAGE = "nvidia/cuda:12.4.0-devel-ubuntu22.04"

image = (
    modal.Image.from_registry(CUDA_IMAGE, add_python="3.10")
    .apt_install("git", "ffmpeg")
    .pip_install("numpy<2")
    .pip_install(
        "torch==2.0.0",
        "torchaudio==2.0.0",
        index_url="https://download.pytorch.org/whl/cu118",
    )
    .pip_install(
        "whisperx==3.2.0",
        "ctranslate2==4.4.0",
    )
    .env({"HF_HOME": "/models"})
)

app = modal.App("transcribe", image=image)


@app.function(gpu="A10G", timeout=1800)
def transcribe(audio: bytes) -> dict:
    import whisperx

    model = whisperx.load_model("large-v2", "cuda", compute_type="float16")
    return model.transcribe(audio, batch_size=16)
