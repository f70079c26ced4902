"""The whole loop on this machine: a real Airflow, vLLM, Envoy and MLflow, started and ended here."""
