"""Retune inside Airflow: the only package that imports Airflow."""
