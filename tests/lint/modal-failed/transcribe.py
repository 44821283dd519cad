"""Transcription with speakers on a rented GPU: the image before the one that works."""

import modal

image = (
    modal.Image.from_registry("nvidia/cuda:12.4.0-devel-ubuntu22.04", add_python="3.10")
    .apt_install("git", "ffmpeg")
    .pip_install(
        "torch==2.8.0",
        "torchaudio==2.8.0",
        "whisperx==3.7.4",
        "pyannote.audio==3.4.0",
        "ctranslate2",
    )
)

app = modal.App("transcribe", image=image)


@app.function(gpu="A10G", timeout=1800)
def transcribe(audio: bytes) -> dict:
    import whisperx

    model = whisperx.load_model("large-v2", "cuda", compute_type="float16")
    return model.transcribe(audio, batch_size=16)
