"""The request for a tuning job: what is wrong with it, and what it leaves to Vertex AI."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from retune.testing.emulators.options import Options
from retune.testing.emulators.vertex_catalog import BaseModel, adapter_size, tunable
from retune.testing.emulators.vertex_refusals import VertexRefused, Violation, bad_fields
from retune.testing.emulators.vertex_requests import snake
from retune.testing.emulators.vertex_work import PREFERENCE, SUPERVISED

_EPOCHS = 3
_MOST_LABELS, _MOST_NAME = 64, 128
_OTHER = {
    "distillationSpec",
    "fullFineTuningSpec",
    "partnerModelTuningSpec",
    "reinforcementTuningSpec",
    "veoLoraTuningSpec",
    "veoTuningSpec",
}


@dataclass(frozen=True)
class Order:
    """A tuning job that can be made.

    Attributes:
        fields: What is asked for, with all that was left open.
        spec: The field of its spec.
        model: The base model.
    """

    fields: dict[str, Any]
    spec: str
    model: BaseModel

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return int(self.fields[self.spec]["hyperParameters"]["epochCount"])


def spec_field(asked: dict[str, Any]) -> str:
    """Return the field of a request's spec; raises Refused where it has none, several or a foreign one."""
    found = [name for name in asked if name in (SUPERVISED, PREFERENCE) or name in _OTHER]
    if len(found) != 1:
        what = "exactly one tuning spec must be set"
        raise bad_fields([("tuning_job.tuning_spec", what)])
    if found[0] in _OTHER:
        raise VertexRefused(501, f"The emulator does not tune by {found[0]}.")
    return found[0]


def read_order(asked: dict[str, Any], base: str, location: str, options: Options, now: float) -> Order:
    """Return what a request asks for.

    Args:
        asked: The request, as `vertex_requests` reads it.
        base: The base model, which a tuned model that it goes on from may have said.
        location: Where it is to run.
        options: Name more models.
        now: Seconds since 1970.

    Raises:
        Refused: With all that is wrong.
    """
    spec = spec_field(asked)
    violations = list(_violations(asked, spec, base))
    if violations:
        raise bad_fields(violations)
    model = tunable(base, location, options, now)
    if model.is_open and not asked.get("outputUri", "").startswith("gs://"):
        what = "output_uri is required for open source models."
        raise bad_fields([("tuning_job.output_uri", what)])
    given = asked[spec].get("hyperParameters", {})
    size = adapter_size(model, given.get("adapterSize", ""))
    resolved = {"epochCount": str(_EPOCHS), **given, "adapterSize": size}
    if not model.is_open:
        resolved.setdefault("learningRateMultiplier", 1.0)
    display = asked.get("tunedModelDisplayName") or f"{model.name}-{uuid.uuid4()}"
    fields = {**asked, "tunedModelDisplayName": display, spec: {**asked[spec], "hyperParameters": resolved}}
    return Order(fields, spec, model)


def _violations(asked: dict[str, Any], spec: str, base: str) -> Iterator[Violation]:
    if not base:
        yield "tuning_job.base_model", "base_model is required."
    place = f"tuning_job.{snake(spec)}"
    for name, needed in (("trainingDatasetUri", True), ("validationDatasetUri", False)):
        uri = asked[spec].get(name, "")
        if (uri or needed) and not re.fullmatch(r"gs://[^/]+/.+\.jsonl", uri):
            yield f"{place}.{snake(name)}", f"{snake(name)} should be a GCS object of type JSONL."
    hyper = asked[spec].get("hyperParameters", {})
    if int(hyper.get("epochCount", 1)) < 1:
        yield f"{place}.hyper_parameters.epoch_count", "epoch_count must be positive."
    if hyper.get("learningRateMultiplier", 1) <= 0:
        field = f"{place}.hyper_parameters.learning_rate_multiplier"
        yield field, "learning_rate_multiplier must be positive."
    if len(asked.get("tunedModelDisplayName", "")) > _MOST_NAME:
        what = f"tuned_model_display_name can be up to {_MOST_NAME} characters long."
        yield "tuning_job.tuned_model_display_name", what
    yield from _bad_labels(asked.get("labels", {}))


def _bad_labels(labels: dict[str, str]) -> Iterator[Violation]:
    """Yield what is wrong with labels, by https://goo.gl/xmQnxf (requirements for labels)."""
    if len(labels) > _MOST_LABELS:
        yield "tuning_job.labels", f"at most {_MOST_LABELS} labels can be set."
    for key, value in labels.items():
        if not re.fullmatch(r"[^\W\dA-Z_][\w-]{0,62}", key) or key != key.lower():
            yield "tuning_job.labels", f"label key '{key}' is invalid."
        if not re.fullmatch(r"[\w-]{0,63}", value) or value != value.lower():
            yield "tuning_job.labels", f"label value '{value}' is invalid."
