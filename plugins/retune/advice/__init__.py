"""What a person should know before money is spent."""
