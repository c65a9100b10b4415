"""`python -m advdepth_nb` is the command `advdepth`."""

from advdepth_nb.apps.cli import main

main()
