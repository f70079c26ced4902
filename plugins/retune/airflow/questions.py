"""What people are asked, as Airflow shows it."""

from __future__ import annotations

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException


def require_shown(task: HITLOperator, context: Context) -> None:
    """Refuse to wait for an answer to another question than the task's.

    Airflow keeps a question with its task instance, also where that is cleared and would ask of something
    else by then: only the answer is taken away. Whoever answers it would speak of what they were not shown.

    Args:
        task: What is about to ask; its subject and body are known.
        context: Of its run.

    Raises:
        AirflowFailException: An earlier try asked something else.
    """
    from airflow.sdk.execution_time.comms import CreateHITLDetailPayload, HITLDetailRequestResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    asked = CreateHITLDetailPayload(
        ti_id=context["ti"].id,
        options=task.options,
        subject=task.subject,
        body=task.body,
        defaults=task.defaults,
        multiple=task.multiple,
        params=task.serialized_params,
        assigned_users=[],
    )
    # Writes the question where there is none, and returns the one that people see.
    shown = SUPERVISOR_COMMS.send(msg=asked)
    known = isinstance(shown, HITLDetailRequestResult) and (shown.subject, shown.body)
    if known != (task.subject, task.body):
        raise AirflowFailException(
            "an earlier try of this task asked something else, and Airflow goes on to show that ->"
            " start a new run: what was trained and answered before is taken over"
        )
