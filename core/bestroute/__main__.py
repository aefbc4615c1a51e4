"""``python -m bestroute``."""

from bestroute.cli import main

main()
