"""One host by SSH: commands and files, over a connection that is made anew where it broke."""

from __future__ import annotations

import posixpath
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from stat import S_ISDIR
from typing import Any, NamedTuple

from retune.backends.base import TransientError
from retune.errors import BackendError, SetupError
from retune.settings import Connections

_ANSWER_WITHIN_S = 120.0


class Answer(NamedTuple):
    """What a command brought."""

    code: int
    out: str
    err: str


class Host:
    """Runs commands and moves files; may be used by several threads.

    Every method raises TransientError where the host does not answer or the connection breaks, and
    BackendError where it refuses us or what we ask for.

    Args:
        connections: Opens the connection.
        name: Its name there.
    """

    def __init__(self, connections: Connections, name: str) -> None:
        self.name = name
        self._connections = connections
        self._lock = threading.Lock()
        self._client: Any = None

    def run(self, command: str, within_s: float = _ANSWER_WITHIN_S) -> Answer:
        """Return what a command of the login shell brings, waiting at most so long for each piece of it."""
        with self._reached() as client:
            _, out, err = client.exec_command(command, timeout=within_s)
            told, complained = out.read(), err.read()
            code = out.channel.recv_exit_status()
            if code < 0:  # killed by a signal, or the connection broke
                raise EOFError(f"{command.split()[0]} was cut off")
        return Answer(code, told.decode(errors="replace"), complained.decode(errors="replace"))

    def home(self) -> str:
        """Return the absolute path in which a login starts."""
        with self._files() as files:
            return str(files.normalize("."))

    def exists(self, path: str) -> bool:
        """Say whether there is such a file or folder."""
        with self._files() as files:
            try:
                files.stat(path)
            except FileNotFoundError:
                return False
        return True

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None where there is none."""
        with self._files() as files:
            try:
                with files.open(path, "rb") as file:
                    file.prefetch()
                    data: bytes = file.read()
                    return data
            except FileNotFoundError:
                return None

    def put_tree(self, folder: Path, target: str) -> None:
        """Bring a folder there, all of it or nothing; one that is there already stays as it is."""
        parent, name = posixpath.split(target)
        partial = f"{parent}/.{name}.{uuid.uuid4().hex}.partial"
        try:
            with self._files() as files:
                files.mkdir(partial, 0o700)
                for path in sorted(folder.rglob("*")):
                    there = f"{partial}/{path.relative_to(folder).as_posix()}"
                    if path.is_dir():
                        files.mkdir(there, 0o700)
                    else:
                        files.put(str(path), there)
                _rename(files, partial, target)
        finally:
            with suppress(BackendError):
                self.run(f"rm -rf {quote(partial)}")

    def get_tree(self, path: str, target: Path) -> None:
        """Bring a folder of the host here."""
        with self._files() as files:
            _get(files, path, target)

    @contextmanager
    def _files(self) -> Iterator[Any]:
        with self._reached() as client:
            files = client.open_sftp()
            try:
                files.get_channel().settimeout(_ANSWER_WITHIN_S)
                yield files
            finally:
                files.close()

    @contextmanager
    def _reached(self) -> Iterator[Any]:
        """Give the connection, and tell what may pass from what may not."""
        from paramiko import SSHException

        client = None
        try:
            client = self._connected()
            yield client
        except SetupError as error:
            raise BackendError(error.problems) from error
        except (SSHException, EOFError, OSError) as error:
            # An error in the middle of a good connection is the host's answer, such as a full disk.
            answered = isinstance(error, OSError) and not isinstance(error, TimeoutError)
            if answered and client is not None and client.get_transport().is_active():
                raise BackendError(
                    f"{self.name}: {error or type(error).__name__}",
                    "look at the disk and the permissions there: `df -h`, `ls -l`",
                ) from error
            self._drop(client)
            raise TransientError(
                f"{self.name} does not answer: {error or type(error).__name__}", "see whether it is up"
            ) from error

    def _connected(self) -> Any:
        with self._lock:
            transport = self._client.get_transport() if self._client else None
            if transport is None or not transport.is_active():
                self._client = None
                self._client = self._connections.ssh(self.name)
            return self._client

    def _drop(self, client: Any) -> None:
        with self._lock:
            if client is not None and client is self._client:
                self._client = None
                client.close()


def _rename(files: Any, partial: str, target: str) -> None:
    try:
        files.rename(partial, target)
    except OSError as error:
        try:
            files.stat(target)  # somebody else was quicker
        except FileNotFoundError:
            raise error from None


def _get(files: Any, path: str, target: Path) -> None:
    target.mkdir(parents=True)
    for entry in files.listdir_attr(path):
        there, here = f"{path}/{entry.filename}", target / entry.filename
        if S_ISDIR(entry.st_mode or 0):
            _get(files, there, here)
        else:
            files.get(there, str(here))
