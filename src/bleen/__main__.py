"""``python -m bleen`` is ``bleen``."""

from bleen.cli import main

raise SystemExit(main())
