"""Runs in the Job's pod: makes the job directory on the volume, trains in it, stores the model.

`python -m retune.backends.kubernetes_pod --artifacts URL --folder DIR --order JSON`. Its log is what the
backend reads: lines that start with `{"retune": ` say how it goes, all others start with `| `. It ends
with 0 where the job has ended, be it in failure: the cluster starts it again otherwise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from retune.artifacts import Artifacts
from retune.backends import job_folders, remote_folders
from retune.backends.base import Installation, Order
from retune.backends.kubernetes_manifest import read_order
from retune.errors import RetuneError
from retune.settings import EnvironmentConnections, Settings
from retune.training.job import JobFolder
from retune.training.lease import HELD, STALE_S

MARK = '{"retune": '
_LOOK_EVERY_S = 0.5
_printing = threading.Lock()


def say(topic: str, **what: Any) -> None:
    """Print one line for the backend."""
    _print(json.dumps({"retune": topic, **what}))


def heard(log: str) -> Iterator[dict[str, Any]]:
    """Return what was said in a log, in its order; a torn line is skipped."""
    for line in log.splitlines():
        if line.startswith(MARK):
            try:
                yield json.loads(line)
            except ValueError:
                continue


class Progress:
    """Says what a progress file gets, line by line.

    Args:
        folder: The job directory; an earlier pod may have written its part.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._file = folder.progress_file
        self._told = 0

    def tell(self) -> None:
        """Say the whole lines that came since the last call."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._told)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._told += len(whole)
        for line in whole.splitlines():
            try:
                say("progress", entry=json.loads(line))
            except ValueError:  # as a crash leaves it
                continue


def run(order: Order, artifacts: Artifacts, root: Path) -> int:
    """Train an order, or say again how it has ended; return the exit code.

    Args:
        order: The job.
        artifacts: Where its rows are, and its model goes.
        root: The folder of the job directories.

    Raises:
        RetuneError: The directory cannot be made, or the model not be stored.
    """
    settings = Settings.load({"project": str(root / "no-project"), "home": str(root)}.get)
    installation = Installation(settings, artifacts, EnvironmentConnections())
    folder = JobFolder(root / order.key)
    if not folder.path.exists():
        _make(order, folder, installation)
    progress = Progress(folder)
    code = 0 if folder.read_done() else _train(folder, progress)
    progress.tell()
    done = folder.read_done()
    if done is None:
        return code or 1
    model = None
    if done.status == "succeeded":
        trained = job_folders.fetch(folder, installation)
        model = {"kind": trained.kind, "digest": trained.digest, "uri": trained.uri}
    for name in ("data", "start", "tokens", "checkpoints"):
        shutil.rmtree(folder.path / name, ignore_errors=True)
    say("done", done=vars(done), model=model)
    return 0


def _make(order: Order, folder: JobFolder, installation: Installation) -> None:
    root, recipe = folder.path.parent, order.recipe
    partial = JobFolder(root / f".{order.key}.{uuid.uuid4().hex}")
    try:
        base = ""
        if recipe.base_digest.startswith("sha256:"):
            bases = root / "bases"
            bases.mkdir(parents=True, exist_ok=True)
            name = recipe.base_digest.removeprefix("sha256:")
            base = str(installation.artifacts.get_tree(recipe.base_digest, bases / name))
        partial.path.mkdir(parents=True)
        job_folders.write(partial, order, installation)
        remote_folders.move_job(partial, str(folder.path), base)
        partial.path.rename(folder.path)
    finally:
        shutil.rmtree(partial.path, ignore_errors=True)


def _train(folder: JobFolder, progress: Progress) -> int:
    """Run the trainer, passing on what it prints; a pod that died a moment ago still holds the lease."""
    deadline = time.monotonic() + 4 * STALE_S
    while True:
        code = _once(folder, progress)
        if code != HELD or time.monotonic() > deadline:
            return code
        time.sleep(_LOOK_EVERY_S)


def _once(folder: JobFolder, progress: Progress) -> int:
    child = subprocess.Popen(
        [sys.executable, "-m", "retune.training", str(folder.path)],
        cwd=folder.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    # The first process of a container hears no signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    assert child.stdout is not None
    passing = threading.Thread(target=_pass_on, args=(child.stdout,), daemon=True)
    passing.start()
    while True:
        try:
            code = child.wait(_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            progress.tell()
            continue
        passing.join()
        return code if code >= 0 else 128 - code


def _pass_on(lines: IO[str]) -> None:
    for line in lines:
        _print(f"| {line.rstrip()}")


def _print(line: str) -> None:
    with _printing:
        print(line, flush=True)


def main(arguments: list[str]) -> int:
    """Run the job that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m retune.backends.kubernetes_pod")
    parser.add_argument("--artifacts", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--order", required=True)
    given = parser.parse_args(arguments)
    try:
        return run(read_order(given.order), Artifacts(given.artifacts), given.folder.resolve())
    except RetuneError as error:
        for problem in error.problems:
            _print(f"| {problem}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
