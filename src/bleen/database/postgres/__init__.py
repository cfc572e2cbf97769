"""PostgreSQL 14 and later: its server, its catalogue, and what its statements say."""
