"""The base model and its tokenizer, loaded without running anybody's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retune.errors import BackendError, Problem


def load_tokenizer(base_model: str, revision: str | None) -> Any:
    """Return the base model's tokenizer, which must have a chat template to train on.

    Raises:
        BackendError: The base model is unknown, brings its own code or has no chat template.
    """
    from transformers import AutoTokenizer

    refuse_code(base_model, revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base_model, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise unknown(base_model, error) from error
    if not tokenizer.chat_template:
        raise BackendError(
            f"base model {base_model} has no chat template", "choose an instruction-tuned base model"
        )
    return tokenizer


def load_model(base_model: str, revision: str | None, dtype: Any) -> Any:
    """Return the base model in `dtype`, from safetensors files only.

    Raises:
        BackendError: It is unknown, damaged or has no safetensors files.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            base_model, revision=revision, dtype=dtype, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise unknown(base_model, error) from error
    except SafetensorError as error:
        raise BackendError(f"the weights of {base_model} are damaged: {error}", "fetch them again") from error


def refuse_code(base_model: str, revision: str | None) -> None:
    """Refuse a base model that brings Python code of its own, or only pickled weights.

    Raises:
        BackendError: It does, or it is unknown.
    """
    from transformers import PreTrainedConfig
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    folder = Path(base_model)
    if folder.is_dir() and not list(folder.glob("*.safetensors")):
        names = sorted(path.name for path in folder.iterdir())[:10]
        raise BackendError(
            f"base model {base_model} has no *.safetensors file (it holds {', '.join(names) or 'nothing'})",
            "convert its weights to safetensors: pickles can run code",
        )
    try:
        config, _ = PreTrainedConfig.get_config_dict(base_model, revision=revision)
        tokenizer = get_tokenizer_config(base_model, revision=revision)
    except (OSError, ValueError) as error:
        raise unknown(base_model, error) from error
    with_code = [
        Problem(
            f"auto_map names the model's own Python code: {part['auto_map']}", file=f"{base_model}/{name}"
        )
        for name, part in (("config.json", config), ("tokenizer_config.json", tokenizer))
        if part.get("auto_map")
    ]
    if with_code:
        raise BackendError(
            [*with_code, Problem(f"base model {base_model} is refused", "choose one that transformers knows")]
        )


def unknown(base_model: str, error: Exception) -> BackendError:
    """Return the error for a base model that cannot be loaded."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return BackendError(
        f"base model {base_model!r} cannot be loaded: {reason}",
        "give a Hugging Face id that this machine can reach, or a folder with config.json,"
        " a tokenizer and safetensors weights",
    )
