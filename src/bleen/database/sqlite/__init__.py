"""SQLite 3.37 and later: its file as a server, its catalogue, and who else has it open."""
