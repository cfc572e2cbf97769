"""How statements are built, by dialect: what their parts are called, and what is written where. None of it judges."""
