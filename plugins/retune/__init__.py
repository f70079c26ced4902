"""Retune: fine-tune, gate, roll out, watch and retrain language models from Airflow."""

__version__ = "0.1.0"
