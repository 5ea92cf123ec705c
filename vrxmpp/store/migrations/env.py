"""What Alembic runs to upgrade the database whose connection it is given."""

from __future__ import annotations

from alembic import context

from vrxmpp.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
