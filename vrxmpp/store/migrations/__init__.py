"""The history of the tables, one Alembic script a step."""
