"""``hebb demo``."""

import click


@click.command()
def demo() -> None:
    """Walk."""
