"""Job directories that are written here for a trainer elsewhere."""

from __future__ import annotations

from dataclasses import replace

from retune.training.job import JobFolder


def move_job(folder: JobFolder, there: str, base: str = "") -> None:
    """Rewrite `job.json` for a directory that will lie elsewhere.

    Args:
        folder: The directory, whole.
        there: Its absolute path where the trainer runs.
        base: The base model's folder there; empty: it is a Hugging Face id.
    """
    job = folder.read_job()

    def moved(path: str) -> str:
        return f"{there}/{folder.path.joinpath(path).relative_to(folder.path).as_posix()}"

    changed = replace(
        job,
        train=moved(job.train),
        validation=moved(job.validation),
        warm_start=moved(job.warm_start) if job.warm_start else None,
    )
    if base:
        changed = replace(changed, base_model=base, base_revision=None)
    folder.write_job(changed)
