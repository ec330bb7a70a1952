"""``python -m hebb_controller.cli``: the same as ``hebb``."""

from . import main

main()
