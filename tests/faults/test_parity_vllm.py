"""The real trainer's adapters before a real vLLM, whose tokenizer library is another version."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.errors import EndpointError
from retune.evaluation.likelihood import LikelihoodRespondent, with_likelihoods
from retune.evaluation.parity import check_parity, recorded
from retune.records import Outcome
from retune.serving.endpoint import Replica, vllm_command, vllm_environment
from retune.settings import EndpointAddress, Settings
from retune.text.conversations import conversation
from retune.training.__main__ import main
from retune.training.job import JobFolder, TrainingJob
from tests.tuning import HYPERPARAMETERS, TEMPLATE, make_rows, write_rows

VLLM = Path(__file__).resolve().parents[2] / ".venv-vllm" / "bin" / "python"
BASE = "include/models/tiny"
WITHIN_S = 400.0
LEARNED_WELL = {
    "lora": {"r": 16, "alpha": 32, "dropout": 0.0},
    "epochs": 8,
    "learning_rate": 1e-2,
    "batch_size": 8,
    "patience": 8,
}

pytestmark = pytest.mark.skipif(not VLLM.exists(), reason="no environment with vLLM; run `make setup`")


def make_base(folder: Path, template: str = TEMPLATE) -> Path:
    """A Qwen2 of random weights, the same each time, with a tokenizer of bytes."""
    import torch
    import transformers
    from tokenizers import pre_tokenizers

    torch.manual_seed(0)
    tokenizer: Any = transformers.Qwen2Tokenizer(
        vocab={sign: number for number, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=template,
    )
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config: Any = transformers.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.1,  # so that an adapter of few steps has something to steer
        **ends,
    )
    model: Any = transformers.Qwen2ForCausalLM(config)
    model.generation_config.update(**ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(folder: Path, base: Path) -> Path:
    """Train an adapter as a run does; returns its folder."""
    folder.mkdir(parents=True)
    job = JobFolder(folder)
    for side, rows in (("train", make_rows(64)), ("validation", make_rows(8, 1000))):
        (folder / f"{side}.jsonl").write_bytes(write_rows(rows))
    job.write_job(
        TrainingJob(
            train=str(folder / "train.jsonl"),
            validation=str(folder / "validation.jsonl"),
            base_model=str(base),
            base_name=BASE,
            hyperparameters=HYPERPARAMETERS | LEARNED_WELL,
            seed=7,
        )
    )
    assert main([str(folder)]) == 0
    return job.model


@dataclass(frozen=True)
class Vllm:
    """A running server, and where adapters are stored."""

    replica: Replica
    artifacts: Artifacts

    def said(self, folder: Path, name: str = "") -> str:
        """Store and load an adapter, and compare; `name` has another model asked in its place."""
        digest = self.artifacts.put_tree(folder).digest
        self.replica.load(digest, folder)
        record = recorded(digest, self.artifacts)
        assert record is not None and len(record.probes) == 8 and not record.unanswered
        assert [probe for probe in record.probes if probe.answer and probe.answer.ended]
        return check_parity(record, EndpointAddress(self.replica.url), name or digest, timeout_s=WITHIN_S)

    def refused(self, folder: Path, name: str = "") -> str:
        with pytest.raises(EndpointError) as caught:
            self.said(folder, name)
        return str(caught.value)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    return train(folder / "job", make_base(folder / "base"))


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    project = tmp_path_factory.mktemp("project")
    make_base(project / BASE)
    settings = Settings.load({"project": str(project), "vllm_python": str(VLLM)}.get)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = project / "vllm.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            vllm_command(settings, BASE, host="127.0.0.1", port=port),
            env=os.environ | vllm_environment(),
            stdout=file,
            stderr=file,
            start_new_session=True,  # its workers outlive it otherwise
        )
    try:
        with Replica(f"http://127.0.0.1:{port}", timeout_s=WITHIN_S) as replica:
            wait_up(replica, process, log)
            yield Vllm(replica, Artifacts(settings.artifacts_url))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_up(replica: Replica, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            replica.models()
            return
        except EndpointError as error:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, f"{error}\n{log.read_text()[-4000:]}"
            time.sleep(0.05)


def test_an_adapter_answers_before_vllm_as_it_did_in_training(vllm: Vllm, adapter: Path) -> None:
    said = vllm.said(adapter)
    print(said)
    assert said.startswith(
        "8 of 8 prompts have the trainer's token ids; 8 of 8 greedy answers are the trainer's"
    )
    assert "<|im_end|> (id 256) ends them" in said


def test_vllm_finds_texts_as_likely_as_the_model_itself_does(vllm: Vllm, tmp_path: Path) -> None:
    import torch
    import transformers

    folder = make_base(tmp_path / "base")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.Qwen2ForCausalLM.from_pretrained(folder)
    # The second is a prompt that stands in the server's cache of prompts by then.
    rows = [conversation("", "Where is my parcel?", text) for text in ("delivery desk", "billing", "a" * 40)]
    endpoint = EndpointAddress(vllm.replica.url)
    found = with_likelihoods(
        [Outcome(id="", prompt="", expected="", answer="", predicted="", correct=False, latency_s=0)]
        * len(rows),
        [row.messages for row in rows],
        LikelihoodRespondent(endpoint, "vllm", BASE, max_tokens=8, timeout_s=WITHIN_S),
        max_in_flight=2,
        report=print,
    )
    for row, outcome in zip(rows, found, strict=True):
        turns = [message.to_json() for message in row.messages]
        prompt = tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True, return_dict=False)
        ids = tokenizer.apply_chat_template(turns, continue_final_message=True, return_dict=False)
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), dim=-1)
        told = [float(logprobs[at - 1, ids[at]]) for at in range(len(prompt), len(ids))]
        assert outcome.expected_tokens == len(told) == len(row.completion)
        # The server computes in bfloat16.
        assert outcome.expected_logprob == pytest.approx(sum(told), rel=0.03)


def test_the_base_model_in_the_adapters_place_is_refused(vllm: Vllm, adapter: Path) -> None:
    assert "of 8 prompts otherwise than the trainer did: prompt" in vllm.refused(adapter, BASE)


def test_an_adapter_of_another_template_is_refused_with_the_token(vllm: Vllm, tmp_path: Path) -> None:
    other = TEMPLATE.replace("<|im_start|>' + m['role'] + '\\n'", "<|im_start|>' + m['role'] + ': '")
    assert other != TEMPLATE
    said = vllm.refused(train(tmp_path / "job", make_base(tmp_path / "base", other)))
    print(said)
    assert "renders 8 of 8 prompts by another chat template than the trainer's (sha256:" in said
    assert "Prompt 1, position 5: trainer ':' (id 25), server '\\n' (id 198)" in said


def test_an_adapter_that_ends_otherwise_than_the_server_stops_is_refused(vllm: Vllm, tmp_path: Path) -> None:
    ended = TEMPLATE.replace("'<|im_end|>' }}{% endgeneration", "'<|endoftext|>' }}{% endgeneration")
    assert ended != TEMPLATE
    said = vllm.refused(train(tmp_path / "job", make_base(tmp_path / "base", ended)))
    print(said)
    assert "does not stop at '<|endoftext|>' (id 257)" in said
    assert "put 257 into eos_token_id" in said
