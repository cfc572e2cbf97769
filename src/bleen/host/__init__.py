"""This host: its clock, its processes, its files. Linux, standard library only; engine, journals and local providers stand on it."""
