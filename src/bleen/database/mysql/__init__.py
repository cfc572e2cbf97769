"""MySQL 8 and MariaDB 10.6 and later: their server, its catalogue, and what their statements say."""
