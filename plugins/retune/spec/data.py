"""The spec's sections on the rows and on what the model is for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from retune.spec.parts import Part

Privacy = Literal["redact", "reject", "allow"]
Shape = Literal["columns", "chat", "prompt_completion", "preference", "gemini"]


_FORM_METRICS = {"classification": "valid_label", "extraction": "valid_json", "generation": "rules"}


class Columns(Part):
    """Which columns hold the conversation, and which say more about a row."""

    prompt: str = ""
    """What is asked; needed where `data.format` is `columns`."""
    completion: str = ""
    """The answer to learn; needed where `data.format` is `columns`."""
    subject: str = ""
    """Whom the row is about: what `retune forget` asks for."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Columns:
        missing = [name for name in ("prompt", "completion") if not getattr(self, name)]
        if len(missing) == 1:
            raise ValueError(f"{missing[0]!r} is missing: prompt and completion go together")
        return self


class SplitShares(Part):
    """Shares of the rows; the rest is for training."""

    validation: float = Field(default=0.1, gt=0, lt=0.5)
    held_out: float = Field(default=0.2, gt=0, lt=0.5)
    stratify_by: str = ""
    """Column whose every value is split in these shares; none: the label, in a classification."""
    group_by: str = ""
    """Column whose equal values stay on one side, such as a customer."""
    by_time: str = ""
    """Column by which the newest rows are held out: ISO 8601, or seconds since 1970."""
    leak_similarity: float = Field(default=0.66, ge=0.5, le=1)
    """Similarity (Jaccard) from which a prompt gives another away, so that both stay on one side.

    Where all prompts are one template filled in, nearly all are that similar: raise it then. 1: only
    prompts that differ in case, punctuation and white space.
    """

    @model_validator(mode="after")
    def _leave_some(self) -> SplitShares:
        if self.validation + self.held_out > 0.8:
            raise ValueError("validation and held_out leave less than 20% of the rows for training")
        return self


class Where(Part):
    """Which rows are meant; the others are dropped and counted as `filtered`."""

    column: str = Field(min_length=1)
    is_in: tuple[str, ...] = ()
    """Keep only rows with one of these values."""
    is_not: tuple[str, ...] = ()
    """Leave rows with one of these values out."""

    @model_validator(mode="after")
    def _says_something(self) -> Where:
        if not (self.is_in or self.is_not):
            raise ValueError("neither is_in nor is_not has a value")
        return self


class Caps(Part):
    """Most rows of a kind; a seeded choice of the others is dropped and counted as `capped`."""

    label: int | None = Field(default=None, ge=10)
    """Rows a label."""
    source: int | None = Field(default=None, ge=10)
    """Rows a source file."""


class Data(Part):
    """The rows, and what good rows are."""

    sources: tuple[str, ...] = Field(min_length=1)
    """JSONL, CSV or Parquet files, globs or URLs; paths are against the project's root."""
    format: Shape = "columns"
    """How a row holds its conversation."""
    columns: Columns = Columns()
    system_prompt: str = ""
    expectations: str = ""
    """A Great Expectations suite (JSON) for the source rows; none: the suite of the task's kind."""
    min_examples: int = Field(default=100, ge=10)
    where: tuple[Where, ...] = ()
    caps: Caps = Caps()
    near_duplicates: float = Field(default=0.9, ge=0.5, le=1)
    """Similarity (Jaccard) from which two prompts are one; 1: only equal ones."""
    label_errors: Literal["report", "drop", "off"] = "report"
    """What becomes of rows whose label is likely wrong."""
    privacy: Privacy = "redact"
    """What becomes of personal data: replaced, its rows dropped, or left as it is."""
    split: SplitShares = SplitShares()

    @model_validator(mode="after")
    def _columns_fit(self) -> Data:
        if self.format == "columns" and not self.columns.prompt:
            raise ValueError("format: columns needs columns.prompt and columns.completion")
        if self.format != "columns" and self.columns.prompt:
            raise ValueError(
                f"format: {self.format} knows its own prompt and completion; take the columns out"
            )
        return self

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns beside the conversation that every row must have."""
        names = (self.split.stratify_by, self.split.group_by, self.split.by_time, self.columns.subject)
        return tuple(dict.fromkeys(name for name in (*names, *(rule.column for rule in self.where)) if name))


class Normalise(Part):
    """How answers and labels are brought to one form before they are compared; white space always is."""

    case: Literal["keep", "fold"] = "keep"
    """`fold`: Billing and billing are one."""
    punctuation: Literal["keep", "strip"] = "keep"
    """`strip`: marks at the ends, such as a full stop or quotes, are left out."""


class Task(Part):
    """What the model is for."""

    kind: Literal["classification", "generation", "extraction"] = "classification"
    """A label out of a set, free text, or a JSON object."""
    labels: tuple[str, ...] = ()
    """The classes; rows with another are dropped and counted. Empty: all that the data holds."""
    answer_schema: str = ""
    """JSON schema of an extraction's answers; a path is against the project's root."""
    normalise: Normalise = Normalise()

    @field_validator("labels")
    @classmethod
    def _all_different(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({label for label in value if value.count(label) > 1})
        if twice:
            raise ValueError(f"stand twice: {', '.join(twice)}")
        return value

    @model_validator(mode="after")
    def _labels_fit(self) -> Task:
        if self.labels and self.kind != "classification":
            raise ValueError(f"kind: {self.kind} has no labels; take them out")
        if self.answer_schema and self.kind != "extraction":
            raise ValueError(f"kind: {self.kind} has no answer_schema; take it out")
        return self

    @property
    def form_metric(self) -> str:
        """The metric whose score of 1 says that an answer has the form that the task wants."""
        return _FORM_METRICS[self.kind]
