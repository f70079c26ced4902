"""`retune evaluate` and `retune compare`: models on any OpenAI-compatible endpoint, without Airflow."""
