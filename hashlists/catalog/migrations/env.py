"""Run by Alembic: applies the migrations over the connection that `migrate` hands in.

The caller owns the transaction, so that making a catalog is all or nothing.
"""

from __future__ import annotations

from alembic import context

from hashlists.catalog.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # no transaction of its own inside the caller's
    render_as_batch=True,
)
context.run_migrations()
