#!/usr/bin/env bash
# Gives the speech daemon's own ONNX Runtime the CUDA libraries of the Python packages.
set -euo pipefail

PREFIX="${PREFIX:-/opt/speechd}"
PYTHON="${PYTHON:-python3.11}"

"$PYTHON" -m venv "$PREFIX/cuda-venv"
"$PREFIX/cuda-venv/bin/pip" install --upgrade pip
"$PREFIX/cuda-venv/bin/pip" install nvidia-cudnn-cu12 nvidia-cublas-cu12

SITE="$PREFIX/cuda-venv/lib/python3.11/site-packages"
ORT_LIB="$PREFIX/onnxruntime/lib"

mkdir -p "$ORT_LIB"
for lib in "$SITE"/nvidia/cudnn/lib/libcudnn*.so.9; do
    ln -sf "$lib" "$ORT_LIB/"
done
ln -sf "$SITE/nvidia/cublas/lib/libcublas.so.12" "$ORT_LIB/libcublas.so.12"
ln -sf "$SITE/nvidia/cublas/lib/libcublasLt.so.12" "$ORT_LIB/libcublasLt.so.12"

echo "CUDA libraries linked into $ORT_LIB"
systemctl --user restart speechd.service || true
