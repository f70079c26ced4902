"""What each DAG's page says: what it does, and what to do when a task is red."""

from __future__ import annotations

from retune.airflow.pipelines import Pipeline

_TUNE = """
Makes a new model of **{name}** and releases it if it has earned it. Runs on its cron, when an event
of `retune://{name}/data` says that there are new rows, and when drift was found. The same rows and
recipe are the same job: a run that finds nothing new trains nothing.

The run works by the spec that `freeze_spec` stored; editing the file changes the next run only. To
train anew what was trained before, trigger it with the param `force`.
`release_winner` is skipped, with the reason in its log, when the gate did not promote, or another
release went live since the candidate was judged: what serves keeps serving. While a release waits that
was never live, it wakes `{name}.deploy` each time.

### When a task is red
- `freeze_spec`: the spec is broken, a pool is missing, or Retune's database cannot be used. Mend what
  the log names, then clear the task.
- `prepare_data`: rows cannot be read, fail the expectations, or are too few. See the log and the link
  *Validation page*; mend the rows, then clear the task.
- `resolve_recipes`, `resolve_hosted_recipes`: a base model cannot be found, or is not the live
  release's. Mend the recipe as the log says and start a new run.
- `estimate_costs`: a backend cannot be asked, or the file's recipes changed since the run began. See the
  log, mend the connection and clear the task, or start a new run.
- `advise`: prompts cannot be made, such as from an empty folder of documents. Mend what the log names,
  then clear the task. It is skipped, and the run ends, where `advice.mode` is `follow` and training is
  not worth it: see the link *Advice*.
- `approve_cost`: waits for an answer on the page *Required Actions* where the costs ask for one; red
  where the budget or a person refused. Raise `budget` or leave recipes out, then start a new run.
- `fine_tune` (own GPUs), `fine_tune_hosted` (services and clusters): this recipe failed; the others go
  on without it. See the log and the links *MLflow run* and *Job*, then clear the task: a job that still
  runs is adopted, one that succeeded is not paid again.
- `choose_candidate`: no recipe made a model, or the evaluation endpoint does not answer. See
  `retune status`, then clear the task.
- `evaluate`: the evaluation endpoint does not answer, cannot load the model, or reads prompts otherwise
  than the trainer. Do what the log says, then clear the task: only what is missing is asked.
- `cut_rows`, `cut_hosted_rows`, `fine_tune_parts`, `fine_tune_hosted_parts`: parts of the rows could not
  be cut or trained, so this run shows no learning curve; nothing else depends on it. See the log, and
  clear the task to have it in this run.
- `learning_curve`: its worker was killed, or Retune's database cannot be used. Clear the task, or mark it
  as success to go on without a curve.
- `prepare_review`, `review`, `count_reviews`: a review waits on the page *Required Actions* until its
  time-out; the run goes on with those who answered. `ask_judge`: see the log.
- `approve_release`: waits for an answer on the page *Required Actions* where `gate.approval` says so.
  It is red, as is a `review`, where it was cleared and would ask something else than before: Airflow goes
  on to show the first question. Start a new run then.
- `decide`, `release_winner`: Retune's database or artifacts cannot be used. See `retune doctor`, then
  clear the task.
"""

_DEPLOY = """
Rolls the newest release of **{name}** out: every replica loads its model and answers with it, then
the gateways lead the alias to it, then every gateway is asked. A release that was rolled back is left
alone; to try it again, trigger this DAG with the param `release`.

### When a task is red
- `plan_rollout`: Retune's database cannot be used. See `retune doctor`, then clear the task.
- `load_everywhere`: a replica cannot load the model, or no agent is alive. Callers still get the
  earlier release. See `retune status` and the agent's log, then clear the task.
- `route_traffic`: a later release is live, or a gateway does not follow, so the earlier release, if
  there is one, was put back. See `retune status` and the agent's log, then trigger this DAG with the
  param `release`.
- `verify`: a gateway answered with another model, or with nothing but errors for a minute, so the
  earlier release, if there is one, was put back. Mend what the log names, then trigger this DAG with
  the param `release`.
"""

_WATCH = """
Compares what callers of **{name}** asked and were answered with the held-out set on which the live
release was judged. Where the traffic has moved and the cool-down is over, it wakes `{name}.tune`;
otherwise `raise_drift` is skipped, with the reason in its log. Thresholds are those of the file as it
stands. Where the live model was trained on rows of a person who is forgotten since (`retune forget`),
it wakes `{name}.tune` whatever the traffic says, once a cool-down, until a model without them is live.

### When a task is red
- `check_drift`: the spec is broken, or captured traffic or the release's own answers cannot be read.
  Mend what the log names; the next run comes by itself.
- `raise_drift`: Retune's database cannot be used. See `retune doctor`, then clear the task.
"""

CLEANUP = """
Removes once a day what nothing points at any more and no pipeline's `retention` keeps: old reports,
old captured traffic, models and rows of old releases, folders of trainings that ended, working files of
preparations that were killed. What a release that is kept, a route (also the one that a rollback leads
to), a running job or a run under way points at stays, and so does whatever is younger than a day.
`mark_unused` says first what would go; trigger with the param `dry_run` to see only that. Folders and
working files are those of the host that runs the task.

### When a task is red
- `mark_unused`, `sweep_unused`: Retune's database or artifacts cannot be used, or an artifact that must
  stay is damaged. See `retune doctor`, then clear the task; nothing that is needed was removed.
"""

_PAGES = {"tune": _TUNE, "deploy": _DEPLOY, "watch": _WATCH}


def page(pipeline: Pipeline, verb: str) -> str:
    """Return the page of one of the pipeline's DAGs, as Markdown; a broken spec's problems come first."""
    text = _PAGES[verb].format(name=pipeline.name)
    if not pipeline.problems:
        return text
    problems = "\n".join(f"    {problem}" for problem in pipeline.problems)
    return f"**The spec is broken**, so a new run stops at its first task:\n\n{problems}\n{text}"
