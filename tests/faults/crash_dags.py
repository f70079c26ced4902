"""A DAG file of nothing but fine-tuning tasks, which can be killed at a point of Retune's code.

It is copied into a DAG folder, beside `orders.json`: a list of {name, pipeline, spec, dataset, recipe} and,
where wanted, `retries`, `timeout_s` and `environment` (variable -> the variable of the process that has its
value, so that no secret stands here). Each becomes a DAG of one task, FineTune as it is shipped. Where
`crashes/<DAG>.json` lies beside it, that task is killed once, as `Crash` says.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import threading
import time
from datetime import timedelta
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from retune.airflow.operators.fine_tune import FineTune
from retune.artifacts import write_atomically

HERE = Path(__file__).parent
ORDERS, CRASHES = HERE / "orders.json", HERE / "crashes"


class Crash:
    """Kills as a file says: {function, after, whom, resumed, on_word}.

    `function` is `module:name`, as its caller looks it up; the kill comes before it runs or, with `after`,
    when it returns. `whom` is the `task`'s process, its `supervisor` (the executor's worker), or `both`.
    With `resumed` only a task counts that has waited in the triggerer. With `on_word` the task goes on until
    `<DAG>.go` is there.
    """

    def __init__(self, armed: Path) -> None:
        self._armed = armed
        self._point = json.loads(armed.read_bytes())

    def arm(self) -> None:
        """Put the kill around the function."""
        module, _, name = self._point["function"].partition(":")
        place = import_module(module)
        function = getattr(place, name)

        @wraps(function)
        def deadly(*args: Any, **kwargs: Any) -> Any:
            if not self._point["after"]:
                self._strike()
            found = function(*args, **kwargs)
            if self._point["after"]:
                self._strike()
            return found

        setattr(place, name, deadly)

    def _strike(self) -> None:
        if not self._armed.exists() or (self._point["resumed"] and not _is_called_by("waited")):
            return
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
        write_atomically(self._armed.with_suffix(".killed"), str(time.time()).encode())
        if self._point["whom"] != "task":
            os.kill(os.getppid(), signal.SIGKILL)
        if self._point["whom"] != "supervisor":
            os.kill(os.getpid(), signal.SIGKILL)


def _is_called_by(name: str) -> bool:
    frame = inspect.currentframe()
    while frame and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame is not None


def _prepare(order: dict[str, Any]) -> Any:
    def prepare(context: Any) -> None:
        for name, source in order.get("environment", {}).items():
            os.environ[name] = os.environ[source]
        armed = CRASHES / f"{order['name']}.json"
        if armed.exists():
            Crash(armed).arm()

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
