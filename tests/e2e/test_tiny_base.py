"""The tiny base model, really built, and read by the trainer's and the server's libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import digest_of_tree
from retune.settings import Settings
from retune.spec import load_spec
from retune.testing import tiny_base
from retune.testing.tickets import tickets

ROOT = Path(__file__).resolve().parents[2]
SPEC = load_spec(ROOT / "include" / "pipelines" / "support-tickets.yaml")
SETTINGS = Settings.load({"project": str(ROOT)}.get)
STEPS = 12
CHATS = [
    [{"role": "system", "content": SPEC.data.system_prompt}, {"role": "user", "content": text}]
    for text in [
        *(str(ticket["text"]) for ticket in tickets(50, seed=3) + tickets(50, seed=3, moved=True)),
        "It's  1234\n\n\tZoë’s “x” 🙂 e\u0301 <|im_end|>",
    ]
]
TOKENS = """
import json, sys
from transformers import AutoTokenizer
folder, chats = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder)
print(json.dumps([
    tokenizer(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))["input_ids"]
    for chat in chats
]))
"""


def build(folder: Path, steps: int = STEPS) -> list[str]:
    lines: list[str] = []
    tiny_base.build(SPEC, SETTINGS, folder, steps=steps, report=lines.append)
    return lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build(folder)
    return folder


def test_it_is_a_whole_folder_that_ends_its_answers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    assert not list(folder.glob("*.bin"))
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|im_end|>"
    assert model.num_parameters() < 700_000


def test_only_the_answer_and_its_end_are_learnt_from(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    chat = [*CHATS[0], {"role": "assistant", "content": "billing"}]
    made = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(made["input_ids"], made["assistant_masks"], strict=True)
    assert tokenizer.decode([token for token, learnt in pairs if learnt]) == "billing<|im_end|>"
    asked = tokenizer.apply_chat_template(CHATS[0], tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(chat, tokenize=False) == asked + "billing<|im_end|>\n"


def test_tickets_fit_the_sample_pipeline_and_the_server(folder: Path) -> None:
    (tokens,) = token_lists(folder, sys.executable)
    assert max(map(len, tokens)) < SPEC.recipes[0].max_length < 256


def test_the_server_reads_the_same_tokens_as_the_trainer(folder: Path) -> None:
    if not Path(SETTINGS.vllm_python).exists():
        pytest.skip(f"no {SETTINGS.vllm_python}: run `make setup`")
    ours, theirs = token_lists(folder, sys.executable, SETTINGS.vllm_python)
    assert ours == theirs


def token_lists(folder: Path, *pythons: str) -> list[list[list[int]]]:
    given = json.dumps([str(folder), CHATS])
    said = [subprocess.check_output([python, "-c", TOKENS], input=given, text=True) for python in pythons]
    return [json.loads(text) for text in said]


def test_it_is_built_once_and_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    built = (folder / "model.safetensors").stat().st_mtime_ns
    assert "up to date" in build(folder)[0]
    assert (folder / "model.safetensors").stat().st_mtime_ns == built
    other = tmp_path / "other"
    build(other)
    assert digest_of_tree(other) == digest_of_tree(folder)
    before = digest_of_tree(other)
    build(other, steps=STEPS + 1)
    assert digest_of_tree(other) != before
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_build_that_fails_leaves_the_old_one(folder: Path) -> None:
    before = digest_of_tree(folder)

    def stop(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt):
        tiny_base.build(SPEC, SETTINGS, folder, steps=STEPS + 2, report=stop)
    assert digest_of_tree(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
