"""The trainer: a process of its own that never imports Airflow (`python -m retune.training JOB_DIR`).

It imports the standard library, the torch stack and `retune.errors` only, so that its interpreter
needs neither Airflow nor Retune's other dependencies.
"""
