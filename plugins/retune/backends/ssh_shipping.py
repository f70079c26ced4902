"""What a GPU box must have before a job goes there: folders, an interpreter with TRL, our trainer's code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from shlex import quote

import retune
from retune.backends.ssh_host import Host
from retune.errors import BackendError

_CODE = ("__init__.py", "errors.py", "backends/__init__.py", "backends/ssh_box.py", "training/**/*.py")
_OLDEST = (3, 11)
_ASK = (
    "import importlib.metadata as m, json, shutil, sys\n"
    "trl = next((d.version for d in m.distributions(name='trl')), '')\n"
    "print(json.dumps([list(sys.version_info[:2]), trl, shutil.disk_usage(sys.argv[1]).free]))"
)


def write_code(folder: Path) -> None:
    """Write the part of this package that the trainer and `ssh_box` import."""
    package = Path(retune.__file__).parent
    for pattern in _CODE:
        for path in package.glob(pattern):
            target = folder / "retune" / path.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def prepare(host: Host, root: str, python: str, trainer: str) -> int:
    """Make the folders of a host, and return how many bytes are free there.

    Args:
        host: The host.
        root: The absolute folder of the jobs there.
        python: The interpreter that shall train.
        trainer: The recipe's: its library and major version.

    Raises:
        BackendError: The folders cannot be made, or the interpreter or its TRL will not do.
    """
    folders = f"{quote(root)}/bases {quote(root)}/code"
    # What a killed submit left behind is old by then.
    tidy = f"find {quote(root)} -maxdepth 2 -name '.*.partial' -mtime +1 -exec rm -rf {{}} +"
    made = host.run(f"mkdir -p {folders} && {tidy}")
    if made.code:
        raise BackendError(f"{host.name}: {made.err.strip()}", "give a `folder` that can be written")
    asked = host.run(f"{quote(python)} -c {quote(_ASK)} {quote(root)}")
    if asked.code:
        words = asked.err.strip().splitlines() or [f"exit code {asked.code}"]
        raise _wrong(f"{host.name}: {python} cannot be run: {words[-1]}")
    version, trl, free = json.loads(asked.out.splitlines()[-1])
    if tuple(version) < _OLDEST:
        shown = ".".join(map(str, version))
        raise _wrong(f"{host.name}: {python} is Python {shown}, not 3.11 or later")
    if trainer.startswith("trl ") and f"trl {trl.split('.')[0]}" != trainer:
        raise _wrong(f"{host.name}: {python} has {f'TRL {trl}' if trl else 'no TRL'}, not {trainer}")
    return int(free)


def _wrong(what: str) -> BackendError:
    return BackendError(
        what, "set the recipe's `python` to an interpreter that has the `local` extra's packages"
    )
