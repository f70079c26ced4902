#!/usr/bin/env bash
# Writes the lock files: pinned names and hashes only, so that they work against any package index.
# Versions that are already locked stay, unless you delete the file first.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.retune/tools/bin/uv
compile=("$uv" pip compile --universal --python-version 3.11 --generate-hashes --no-header
  --no-emit-index-url --no-emit-find-links --quiet)
cpu=(--torch-backend=cpu)
if [[ -n "${PIP_FIND_LINKS:-}" ]]; then cpu=(--find-links "$PIP_FIND_LINKS"); fi

set -x
"${compile[@]}" requirements/bootstrap.in -o requirements/bootstrap.lock
"${compile[@]}" pyproject.toml --extra all --extra dev "${cpu[@]}" -o requirements/retune-cpu.lock
"${compile[@]}" pyproject.toml --extra all --extra dev -o requirements/retune-gpu.lock
"${compile[@]}" requirements/trainer.in "${cpu[@]}" -o requirements/trainer-cpu.lock
"${compile[@]}" requirements/vllm-cpu.in --override requirements/overrides.txt "${cpu[@]}" -o requirements/vllm-cpu.lock
"${compile[@]}" requirements/vllm-gpu.in -o requirements/vllm-gpu.lock
