"""Alembic's entry point: runs inside the connection that `Database.migrate` hands over."""

from alembic import context

from retune.state.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
