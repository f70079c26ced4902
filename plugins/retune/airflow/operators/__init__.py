"""One operator a verb. They hold no logic: build the inputs, call the library, return its record."""
