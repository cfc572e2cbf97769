"""Expand and contract: what a release does to the schema, and what it must not do. Nothing here is loaded on the way of a rollback."""
