"""What a model that judges, and people who review, say of the candidate against its rival."""
