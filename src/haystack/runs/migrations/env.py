"""Where alembic finds the connection: the service hands it over."""

from alembic import context

from haystack.runs.database import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
