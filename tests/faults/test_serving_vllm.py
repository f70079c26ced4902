"""Real vLLM, real Envoy, a real agent, traffic, and `kill -9`: the champion answers again without a hand."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from retune.artifacts import Artifacts, digest_of_tree
from retune.records import Model
from retune.serving import rollout
from retune.serving.processes import members
from retune.spec import MAX_LORA_RANK
from retune.text.traffic import load
from tests.faults.serving import Served
from tests.unit.evaluation import builders
from tests.unit.serving.builders import ENDPOINT, SPEC, stored_release, until

VLLM = Path(__file__).resolve().parents[2] / ".venv-vllm" / "bin" / "python"
BASE = "include/models/tiny"
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

pytestmark = pytest.mark.skipif(not VLLM.exists(), reason="no environment with vLLM; run `make setup`")


def make_base(folder: Path) -> None:
    """A Qwen2 of random weights with a byte-level tokenizer and a chat template."""
    import transformers
    from tokenizers import pre_tokenizers

    tokenizer: Any = transformers.Qwen2Tokenizer(
        vocab={sign: number for number, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template="{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}",
    )
    config: Any = transformers.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    model: Any = transformers.Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_adapter(artifacts: Artifacts, base: Path, folder: Path, rank: int = 8) -> Model:
    """A LoRA adapter of random weights."""
    import peft
    import transformers

    model: Any = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=rank, target_modules=LINEAR, init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(model, config).save_pretrained(folder)
    stored = artifacts.put_tree(folder)
    changes = {"digest": stored.digest, "uri": stored.uri, "base_model": BASE}
    changes["base_digest"] = digest_of_tree(base)
    return builders.model().model_copy(update=changes)


class Traffic:
    """Sends requests for the alias one after the other, and remembers what came."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[float, int, str]] = []
        """When, status (0: no answer), the model that answered."""
        self._stop = threading.Event()
        self._client = httpx.Client(base_url=url, timeout=60)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            body = {"model": "tickets", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
            try:
                answer = self._client.post("/v1/chat/completions", json=body)
                model = answer.json()["model"] if answer.status_code == 200 else ""
                self.seen.append((time.monotonic(), answer.status_code, model))
            except httpx.HTTPError:
                self.seen.append((time.monotonic(), 0, ""))

    def since(self, moment: float) -> Counter[int]:
        """Count the statuses since a moment."""
        return Counter(status for at, status, _ in self.seen if at >= moment)

    def end(self) -> None:
        """Stop sending."""
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    project = tmp_path_factory.mktemp("project")
    make_base(project / BASE)
    running = Served(project, str(VLLM), base_model=BASE)
    yield running
    if running.process.poll() is None:
        running.end()


def test_the_champion_answers_again_whatever_is_killed(served: Served, tmp_path: Path) -> None:
    places = served.ready(timeout_s=300)
    artifacts = Artifacts(served.settings.artifacts_url)
    base = served.settings.project / BASE
    model = make_adapter(artifacts, base, tmp_path / "adapter")
    champion = stored_release(served.db, model, "run 1", tmp_path)
    route = rollout.deploy(champion, SPEC, db=served.db, now=datetime.now(UTC))
    rollout.wait_routed("tickets", route.version, ENDPOINT, db=served.db, timeout_s=60)

    wide = make_adapter(artifacts, base, tmp_path / "wide", rank=MAX_LORA_RANK + 1)
    broken_folder = tmp_path / "broken"
    broken_folder.mkdir()
    (broken_folder / "adapter_config.json").write_bytes(
        (tmp_path / "adapter/adapter_config.json").read_bytes()
    )
    (broken_folder / "adapter_model.safetensors").write_bytes(b"nonsense")
    broken = model.model_copy(update={"digest": artifacts.put_tree(broken_folder).digest})
    until_later = datetime.now(UTC) + timedelta(hours=1)
    for bad in (wide, broken):
        rollout.place(
            bad, ENDPOINT, f"evaluate:{bad.digest}", until_later, db=served.db, now=datetime.now(UTC)
        )
        with pytest.raises(Exception, match="cannot serve"):
            rollout.wait_ready(bad.digest, ENDPOINT, db=served.db, timeout_s=60)

    traffic = Traffic(places["gateway_url"])
    recovered: dict[str, float] = {}
    until(lambda: traffic.since(0)[200] >= 5, "the champion answers", 60)
    engines = [pid for pid in members(served.pid("vllm")) if pid != served.pid("vllm")]
    largest = max(engines, key=lambda pid: psutil.Process(pid).memory_info().rss)
    for part, victim in (("agent", None), ("gateway", None), ("vllm", largest)):
        began = time.monotonic()
        served.kill(part, victim)
        back = time.monotonic()
        until(lambda back=back: traffic.since(back)[200] >= 10, f"answers after {part}", 120)
        lost = [at for at, status, _ in traffic.seen if at > began and status != 200]
        recovered[part] = round(max(lost) - began, 2) if lost else 0.0
        print(f"{part}: replaced after {back - began:.1f} s, {traffic.since(began)}")
        if part == "agent":
            assert not lost
    traffic.end()
    assert {model for _, status, model in traffic.seen if status == 200} == {model.digest}
    assert {status for _, status, _ in traffic.seen} <= {200, 500, 503, 0}

    captured = served.settings.home / "captured" / "tickets"
    good = sum(status == 200 for _, status, _ in traffic.seen)

    def shipped() -> int:
        files = sorted(captured.rglob("*.jsonl"))
        return sum(e.status == 200 for file in files for e in load(file.read_bytes(), str(file)))

    # Envoy writes its log every half second: what a kill of Envoy takes with it is bounded by that.
    until(lambda: good - 30 <= shipped() <= good, "captured traffic has arrived", 30)
    print(json.dumps({"seconds": recovered, "answered": good, "captured": shipped()}))
    served.end()
