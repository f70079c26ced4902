"""The base model and its tokenizer, loaded without running anybody's code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retune.errors import BackendError, Problem

_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


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


def load_model(base_model: str, revision: str | None, dtype: Any, four_bits: bool = False) -> Any:
    """Return the base model in `dtype`, from safetensors files only.

    Args:
        base_model: A folder, or a Hugging Face id.
        revision: Commit of an id.
        dtype: Of its weights, or of what is computed with them where these have four bits.
        four_bits: As QLoRA wants it: NF4, twice quantised (arXiv 2305.14314).

    Raises:
        BackendError: It is unknown, damaged or has no safetensors files.
    """
    import transformers
    from safetensors import SafetensorError

    library: Any = transformers  # its classes carry no usable types
    given: dict[str, Any] = {"dtype": dtype}
    if four_bits:
        given["quantization_config"] = library.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    try:
        return library.AutoModelForCausalLM.from_pretrained(
            base_model, revision=revision, trust_remote_code=False, use_safetensors=True, **given
        )
    except (OSError, ValueError) as error:
        raise unknown(base_model, error) from error
    except SafetensorError as error:
        raise BackendError(f"the weights of {base_model} are damaged: {error}", "fetch them again") from error


def refuse_qlora_without(cuda: bool) -> None:
    """Refuse QLoRA where what it needs is missing, before anything is loaded.

    Args:
        cuda: Whether there is a CUDA device.

    Raises:
        BackendError: Lists what is missing.
    """
    problems = []
    if not cuda:
        problems.append(Problem("tuning qlora needs a CUDA device, and this machine shows none", "use lora"))
    if find_spec("bitsandbytes") is None:
        problems.append(
            Problem(
                "tuning qlora needs bitsandbytes, which the trainer's interpreter does not have",
                "install it there, or use lora",
            )
        )
    if problems:
        raise BackendError(problems)


def refuse_code(base_model: str, revision: str | None) -> None:
    """Refuse a base model that brings Python code of its own, or pickles, which can run code.

    Raises:
        BackendError: It does, or it is unknown.
    """
    from transformers import PreTrainedConfig
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    folder = Path(base_model)
    if folder.is_dir():
        refuse_pickles(folder, f"base model {base_model}")
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


def refuse_pickles(folder: Path, what: str) -> None:
    """Refuse a folder of weights that holds pickles, or no safetensors.

    Args:
        folder: The folder.
        what: What the error calls it.

    Raises:
        BackendError: It does.
    """
    if not list(folder.glob("*.safetensors")):
        names = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else []
        raise BackendError(
            f"{what} has no *.safetensors file (it holds {', '.join(names) or 'nothing'})",
            "convert its weights to safetensors: pickles can run code",
        )
    if pickles := sorted(path.name for path in folder.rglob("*") if path.suffix in _PICKLES):
        raise BackendError(
            f"{what} holds pickles, which can run code: {', '.join(pickles[:10])}",
            "delete them where the safetensors files are complete",
        )


def unknown(base_model: str, error: Exception) -> BackendError:
    """Return the error for a base model that cannot be loaded."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return BackendError(
        f"base model {base_model!r} cannot be loaded: {reason}",
        "give a Hugging Face id that this machine can reach, or a folder with config.json,"
        " a tokenizer and safetensors weights",
    )
