"""Sample data and stand-ins, for Retune's own tests and for its users'."""
