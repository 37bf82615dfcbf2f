"""Who may call a service, and the record of who did what: a database of its own.

It is no part of the catalog, so that a server without one (a replica, or one whose catalog is away)
knows its callers all the same, and so that an import never keeps this record waiting, or the other
way round. Client changes and the records of them are one transaction.

- `schema`, `database`: the tables, and where they lie.
- `model`, `tokens`, `clients`: clients, their credentials, and what may be done with them.
- `audit`, `audit_head`, `recording`: the chain of records, where its end is kept apart, and acts
  around which there are records.

Nothing is imported here, as the command line names roles before it needs a database.
"""
