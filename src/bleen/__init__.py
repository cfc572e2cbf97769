"""bleen: blue until t, green after. A blue-green release engine."""

__version__ = "0.1.0"
