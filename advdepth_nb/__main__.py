"""`python -m advdepth_nb` is the command `advdepth`."""

from advdepth_nb.cli import main

main()
