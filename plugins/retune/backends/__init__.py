"""Where models are trained: one file a backend, and the rule that a job runs exactly once."""
