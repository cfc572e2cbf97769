"""The rules of a safe schema change, per phase and per dialect: what they find, where, why, and the safe way for the statement at hand."""
