"""What several stages need to know about text: conversations and labels."""
