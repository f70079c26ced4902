"""A DAG file of nothing but fine-tuning tasks, which can be killed at a line of Retune's code.

It is copied into a DAG folder, beside `orders.json`: a list of {name, pipeline, spec, dataset, recipe} and,
where wanted, `retries`, `timeout_s` and `environment`. Each becomes a DAG of one task, FineTune as it is
shipped. Where `crashes/<DAG>.json` lies beside it, that task is killed once, as `Crash` says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from airflow.sdk import DAG

from retune.airflow.operators.fine_tune import FineTune

HERE = Path(__file__).parent
ORDERS, CRASHES = HERE / "orders.json", HERE / "crashes"


class Crash:
    """Kills as a file says: {file, function, event, whom, resumed, on_word}.

    `event` is `call` or `return`, of the first `function` of a source file whose path ends with `file`. There
    `whom` is killed: the `task`'s process, its `supervisor` (the executor's worker), or `both`. With
    `resumed` only a task counts that has waited in the triggerer. With `on_word` the task goes on until
    `<DAG>.go` is there.
    """

    def __init__(self, armed: Path) -> None:
        self._armed = armed
        self._point = json.loads(armed.read_bytes())
        self._waiting = self._point["resumed"]

    def enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Take the call of a function; see sys.settrace."""
        code = frame.f_code
        if self._waiting:
            self._waiting = code.co_name != "waited"
        if self._waiting or code.co_name != self._point["function"]:
            return None
        if not code.co_filename.endswith(self._point["file"]):
            return None
        if self._point["event"] == "return":
            return self._leave
        self._strike()
        return None

    def _leave(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "return":
            self._strike()
        return self._leave

    def _strike(self) -> None:
        sys.settrace(None)
        # Only once: the file is gone before anybody dies.
        self._armed.rename(self._armed.with_suffix(".struck"))
        if self._point["on_word"]:
            threading.Thread(target=self._await_word).start()
        else:
            self._kill()

    def _await_word(self) -> None:
        while not self._armed.with_suffix(".go").exists():
            time.sleep(0.01)
        self._kill()

    def _kill(self) -> None:
        self._armed.with_suffix(".killed").write_text(str(time.time()))
        if self._point["whom"] != "task":
            os.kill(os.getppid(), signal.SIGKILL)
        if self._point["whom"] != "supervisor":
            os.kill(os.getpid(), signal.SIGKILL)


def _prepare(order: dict[str, Any]) -> Any:
    def prepare(context: Any) -> None:
        os.environ.update(order.get("environment", {}))
        armed = CRASHES / f"{order['name']}.json"
        if armed.exists():
            sys.settrace(Crash(armed).enter)

    return prepare


for _order in json.loads(ORDERS.read_bytes()) if ORDERS.exists() else ():
    with DAG(_order["name"], schedule=None, catchup=False, is_paused_upon_creation=False) as _dag:
        FineTune(
            task_id="fine_tune",
            pipeline=_order["pipeline"],
            spec=_order["spec"],
            dataset=_order["dataset"],
            recipe=_order["recipe"],
            retries=_order.get("retries", 2),
            retry_delay=timedelta(seconds=1),
            execution_timeout=timedelta(seconds=_order.get("timeout_s", 600)),
            pre_execute=_prepare(_order),
        )
    globals()[_dag.dag_id] = _dag
