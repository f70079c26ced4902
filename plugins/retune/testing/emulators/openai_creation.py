"""What OpenAI makes of the request for a fine-tuning job."""

from __future__ import annotations

import math
import secrets
from functools import cache
from typing import Any

from retune.testing.emulators.ids import fresh
from retune.testing.emulators.lifecycle import Life, Phase
from retune.testing.emulators.openai_data import Found, examine, invalid_file
from retune.testing.emulators.openai_errors import invalid
from retune.testing.emulators.openai_files import Files
from retune.testing.emulators.openai_files import shown as shown_file
from retune.testing.emulators.openai_models import Models
from retune.testing.emulators.openai_requests import metadata_of, method_of, needed, suffix_of
from retune.testing.emulators.openai_work import Job
from retune.testing.emulators.options import Options
from retune.testing.emulators.server import Call
from retune.testing.emulators.store import Store
from retune.testing.emulators.training import defaults

_EPOCHS, _MULTIPLIER = 3, 1.8
_MOST_SEED = 2_147_483_647


class Creation:
    """Checks requests for jobs and makes jobs of them.

    Args:
        store: Has the files' bytes.
        files: What jobs train on.
        models: What they start from.
    """

    def __init__(self, store: Store, files: Files, models: Models) -> None:
        self._store = store
        self._files = files
        self._models = models
        # A file never changes, and many jobs may use one.
        self._examined = cache(self._examine)

    def make(self, asked: dict[str, Any], call: Call) -> Job:
        """Return the job that is asked for; it is not stored yet.

        Raises:
            Refused: Nothing may be made of the request.
        """
        model, training = needed(asked, "model"), needed(asked, "training_file")
        validation = asked.get("validation_file")
        kind, settings = method_of(asked)
        metadata, suffix = metadata_of(asked), suffix_of(asked)
        self._models.check_tunable(model, call.options, call.now)
        found, error = self._check_files(training, validation, kind, call)
        given = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
        given |= {name: value for name, value in (settings.get("hyperparameters") or {}).items() if value}
        resolved = _resolve(given, found.examples, call.options)
        fields = {
            "object": "fine_tuning.job",
            "id": fresh("ftjob-"),
            "model": model,
            "created_at": int(call.exists_at),
            "organization_id": call.request.headers.get("openai-organization", "org-emulated"),
            "training_file": training,
            "validation_file": validation,
            "integrations": asked.get("integrations") or [],
            "seed": _seed(asked),
            "metadata": metadata,
            "method": {"type": kind, kind: settings},
        }
        return Job(
            fields=fields,
            life=_life(call, error),
            hyperparameters=given,
            resolved=resolved,
            steps=math.ceil(found.examples / resolved["batch_size"]) * resolved["n_epochs"],
            tokens=found.tokens * resolved["n_epochs"],
            suffix=suffix,
        )

    def _check_files(
        self, training: str, validation: str | None, method: str, call: Call
    ) -> tuple[Found, dict[str, Any] | None]:
        """Return what the training file holds, and why the job is going to fail over its files."""
        errors = []
        sides = [("training_file", training)]
        if validation is not None:
            sides.append(("validation_file", validation))
        found = {}
        for param, name in sides:
            entry = self._files.find(name, call.now)
            if entry is None:
                raise invalid(f"invalid {param}: {name}", param)
            body = entry.body
            if body["fields"]["purpose"] != "fine-tune":
                what = f"File '{name}' has purpose '{body['fields']['purpose']}', expected 'fine-tune'."
                raise invalid(what, param)
            if shown_file(body, call.now)["status"] == "uploaded":
                what = "is still being processed and is not ready to be used for fine-tuning"
                raise invalid(f"File '{name}' {what}. Please try again later.", param)
            found[param] = self._examined(name, method, param)
            errors.append(invalid_file(body["flaw"], param) if body["flaw"] else found[param].error)
        return found["training_file"], next((error for error in errors if error), None)

    def _examine(self, name: str, method: str, param: str) -> Found:
        return examine(self._store.read_file(name), method, param)


def _life(call: Call, error: dict[str, Any] | None) -> Life:
    if rule := call.does("bad_file"):
        place = f"Example {rule.line or 1}, message 1 Discriminator 'role' is missing in value"
        error = invalid_file(rule.message or f"Invalid file format. {place}")
    if error is not None:
        return Life.begin(call.exists_at, Phase.VALIDATING, error)
    if rule := call.does("fail_job"):
        default = {"code": "server_error", "message": "The job failed due to an internal error."}
        return Life.begin(call.exists_at, rule.phase, {**default, "param": None, **rule.error})
    return Life.begin(call.exists_at)


def _resolve(given: dict[str, Any], examples: int, options: Options) -> dict[str, Any]:
    """Put numbers in the place of `auto`."""
    auto: dict[str, Any] = {
        "n_epochs": _EPOCHS,
        "batch_size": max(1, min(256, examples // 500)),
        "learning_rate_multiplier": _MULTIPLIER,
    }
    if options.train_base:
        real = defaults(options)
        auto = {
            "n_epochs": real["epochs"],
            # A few large batches would teach nothing.
            "batch_size": max(1, min(real["batch_size"], examples // 8)),
            "learning_rate_multiplier": 1.0,
        }
    return {name: auto.get(name, value) if value == "auto" else value for name, value in given.items()}


def _seed(asked: dict[str, Any]) -> int:
    seed = asked.get("seed")
    if seed is None:
        return secrets.randbelow(_MOST_SEED)
    if not isinstance(seed, int) or not 0 <= seed <= _MOST_SEED:
        raise invalid(f"Invalid 'seed': expected an integer from 0 to {_MOST_SEED}.", "seed")
    return seed
