"""Keeps the adapters of one replica as the state wants them."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from retune.artifacts import Artifacts, digest_of_tree
from retune.errors import EndpointError
from retune.records import Model
from retune.serving.endpoint import AdapterRefused, Replica, check_adapter

_log = logging.getLogger(__name__)
_PROBE_EVERY_S = 15.0
_PROBE_TIMEOUT_S = 10.0
_RETRY_S = 30.0


class Adapters:
    """The adapters of one replica.

    Args:
        replica: The server; an adapter is loaded there under its digest.
        artifacts: Where adapters lie as trees.
        folder: Local folder for them, `<folder>/<hex>`.
        base_model: What the server serves, as recipes name it.
        base_digest: Digest of that model's folder; empty where it is not known.
    """

    def __init__(
        self, replica: Replica, artifacts: Artifacts, folder: Path, base_model: str, base_digest: str = ""
    ) -> None:
        self.ready: set[str] = set()
        """Digests that are loaded and answered a real completion."""
        self.failed: dict[str, str] = {}
        """Digest -> why it cannot be served."""
        self._replica = replica
        self._artifacts = artifacts
        self._folder = folder
        self._base_model = base_model
        self._base_digest = base_digest
        self._retry_at: dict[str, float] = {}
        self._probe_at = 0.0

    def reconcile(self, wanted: Mapping[str, Model | None], keep: Collection[str]) -> None:
        """Load and probe what is missing, unload what nobody wants.

        Args:
            wanted: Digest -> its model, or None where only the digest is known.
            keep: Digests that are never unloaded, as traffic may reach them.

        Raises:
            EndpointError: The replica does not answer; `ready` is empty then.
        """
        try:
            loaded = set(self._replica.models())
            if time.monotonic() >= self._probe_at:
                self._replica.probe(self._base_model, _PROBE_TIMEOUT_S)
                self._probe_at = time.monotonic() + _PROBE_EVERY_S
            self.ready &= loaded
            self.failed = {digest: why for digest, why in self.failed.items() if digest in wanted}
            for digest, model in wanted.items():
                if digest not in self.ready and time.monotonic() >= self._retry_at.get(digest, 0.0):
                    self._bring(digest, model, digest in loaded, digest in keep)
            for digest in sorted(loaded - set(wanted) - set(keep)):
                if digest.startswith("sha256:"):
                    self._drop(digest)
        except Exception:
            self.ready.clear()
            self._probe_at = 0.0
            raise

    def _bring(self, digest: str, model: Model | None, loaded: bool, kept: bool) -> None:
        """Load and probe one adapter, or say why it cannot be served."""
        try:
            self._check_kind(model)
            try:
                self._load(digest)
            except Exception as error:
                if not loaded:
                    raise
                _log.warning("adapter %s is loaded, but not its files on this disk: %s", digest, error)
            self._replica.probe(digest, _PROBE_TIMEOUT_S)
        except Exception as error:  # whatever is wrong with one adapter, the others go on serving
            if isinstance(error, EndpointError) and not isinstance(error, AdapterRefused):
                raise
            self._replica.probe(self._base_model, _PROBE_TIMEOUT_S)  # else the replica is to blame
            if not kept:
                self._replica.unload(digest)
            self.failed[digest] = str(error) or repr(error)
            self._retry_at[digest] = time.monotonic() + _RETRY_S
            _log.warning("adapter %s cannot be served: %s", digest, self.failed[digest])
        else:
            self.failed.pop(digest, None)
            self.ready.add(digest)
            _log.info("adapter %s is ready", digest)

    def _check_kind(self, model: Model | None) -> None:
        if model is None:
            return
        if model.kind != "adapter":
            raise AdapterRefused(f"it is of kind {model.kind!r}, and this endpoint serves adapters only")
        if model.base_model != self._base_model:
            raise AdapterRefused(
                f"it was made for {model.base_model!r}, but this endpoint serves {self._base_model!r}",
                "start the endpoint with that base model",
            )
        # A Hugging Face id's digest is a commit, which the server's files do not tell.
        known = self._base_digest and model.base_digest.startswith("sha256:")
        if known and model.base_digest != self._base_digest:
            raise AdapterRefused(
                f"it was made for {model.base_model!r} as {model.base_digest}, "
                f"but this endpoint was started with {self._base_digest}",
                "start the endpoint with those files, or train again",
            )

    def _load(self, digest: str) -> None:
        folder = self._folder / digest.removeprefix("sha256:")
        if folder.is_dir() and digest_of_tree(folder) != digest:
            shutil.rmtree(folder)  # damaged on this disk: bring it again
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._artifacts.get_tree(digest, folder)
        check_adapter(folder)
        self._replica.load(digest, folder)

    def _drop(self, digest: str) -> None:
        self._replica.unload(digest)
        self.ready.discard(digest)
        shutil.rmtree(self._folder / digest.removeprefix("sha256:"), ignore_errors=True)
        _log.info("adapter %s is unloaded", digest)
