from pathlib import Path
import json, pytest
from retune.testing.emulators.process import running
from retune.testing.vllm_stub import VllmStub
from retune.records import EvalReport
from retune.state import releases, ledger, placements
from tests.dags.conftest import House, clueless, queue_of, states, FirstRun
from tests.dags.test_runs import make_live, all_releases, live, now

def test_mix(released: House, tmp_path: Path, monkeypatch, capfd) -> None:
    make_live(released, all_releases(released)[0])
    recipe = "  - {backend: local, base_model: models/tiny, epochs: 1, max_length: 160, lora: {r: 4, alpha: 8}}\n"
    ours = "  - {backend: openai, base_model: gpt-4.1-mini-2025-04-14}\n"
    text = released.file.read_text().replace(recipe, recipe + ours)
    text += "budget: {per_run_usd: 1000, ask_above_usd: 1000}\n"
    released.file.write_text(text)
    released.stub.answer = clueless
    released.start_agent()
    with VllmStub(answer=lambda m, p: queue_of(p)) as brain, running("openai", tmp_path/"em", phase_s=0.05, vllm=brain.url) as em:
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps({"conn_type":"openai","host":em.url+"/v1","password":"sk-x"}))
        run = released.run("tune")
        print(em.counts())
    found = states(run)
    print(found)
    with released.db.read() as tx:
        for e in ledger.entries(tx, released.pipeline): print(e)
    out = capfd.readouterr().out
    Path("/tmp/h_mix.log").write_text(out)
    assert found["decide"] == "success"
