"""The only place that acts: ``tick`` decides and commits, ``phases`` does each phase's work, ``watch`` looks at health, ``drive`` loops and says who drives."""
