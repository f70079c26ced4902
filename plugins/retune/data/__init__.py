"""From source rows to a dataset: intake, validation, cleaning, splits."""
