"""`retune forget`: where a person's rows are, their removal, and the training that must follow."""
