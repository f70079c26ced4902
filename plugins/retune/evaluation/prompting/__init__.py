"""How a contender is asked: the bare question, with examples before it, or with passages of documents."""
