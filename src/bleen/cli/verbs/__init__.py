"""One module a verb: its docstring is its manual, ``arguments`` and ``run`` are all it has to have."""
