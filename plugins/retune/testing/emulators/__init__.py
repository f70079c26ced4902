"""Emulators of fine-tuning services: their wire format on a local port, durable, and failing as told.

`python -m retune.testing.emulators openai --folder DIR --port 8400` runs one in the foreground;
`retune.testing.emulators.process.running` runs one as a child process for a test.

All that an emulator knows lies in its folder, so that it may be killed and started again:
`emulator.db` (SQLite), `files/`, `options.json` (see `options.py`) and `faults.json` (see `faults.py`).
"""
