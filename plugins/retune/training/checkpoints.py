"""Which checkpoint a training may resume from.

The Trainer writes a checkpoint file by file and takes the one with the highest number unchecked, so
a crash can leave one that breaks the resume.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

INDEX = "model.safetensors.index.json"
"""Names the files of weights that fill more than one."""
# Several processes: FSDP names the optimizer's file its own way, and each process has a random state.
_PICKLED = (("optimizer.pt", "optimizer.bin"), ("scheduler.pt",), ("rng_state.pth", "rng_state_0.pth"))


def last_whole(folder: Path) -> Path | None:
    """Return the whole checkpoint with the highest step, or None.

    Args:
        folder: The folder that holds `checkpoint-<step>` folders; it may be missing.
    """
    whole = [path for path in _checkpoints(folder) if is_whole(path)]
    return max(whole, key=_step, default=None)


def delete_broken(folder: Path) -> list[str]:
    """Delete the checkpoints that a crash left incomplete, and return their names.

    They would count among those that are kept, and push whole ones out.
    """
    broken = [path for path in _checkpoints(folder) if not is_whole(path)]
    for path in broken:
        shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in broken)


def is_whole(checkpoint: Path) -> bool:
    """Say whether a checkpoint is complete and readable.

    `trainer_state.json` is written last, but a power cut or a full disk can still have cut the
    files before it.
    """
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_bytes())
        if state["global_step"] != _step(checkpoint):
            return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    weights = weight_files(checkpoint)
    # torch writes zip archives, whose directory stands at the end.
    return (
        bool(weights)
        and all(_readable(file) for file in weights)
        and all(any(zipfile.is_zipfile(checkpoint / name) for name in names) for names in _PICKLED)
        and all(zipfile.is_zipfile(file) for file in checkpoint.glob("rng_state*.pth"))
    )


def weight_files(checkpoint: Path) -> list[Path]:
    """Return the files that a checkpoint's weights should be in; none where it has none.

    They are an adapter's one, a model's one, or the shards that an index names.
    """
    if (checkpoint / "adapter_model.safetensors").exists():
        return [checkpoint / "adapter_model.safetensors"]
    if (checkpoint / INDEX).exists():
        try:
            names = json.loads((checkpoint / INDEX).read_bytes())["weight_map"].values()
            return [checkpoint / name for name in sorted(set(names))]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []
    return [checkpoint / "model.safetensors"]


def _readable(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:  # checks the header against the file's length
            return len(list(file.keys())) > 0
    except (OSError, SafetensorError):
        return False


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
