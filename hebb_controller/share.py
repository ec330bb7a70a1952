"""Where the files that ship with the package are: robot specs, launch files, rules."""

from pathlib import Path

from .errors import ShareError

PACKAGE = "hebb_controller"


def share_dir() -> Path:
    """Return the directory that holds ``config/``, ``launch/`` and ``rules/``.

    It is the source tree for an editable install or a symlinked workspace, and
    ``<prefix>/share/hebb_controller`` for a plain install or a colcon workspace.

    Raises:
        ShareError: neither exists.
    """
    here = Path(__file__).resolve().parent
    for parent in here.parents:
        if parent == here.parent and (parent / "package.xml").is_file():
            return parent
        installed = parent / "share" / PACKAGE
        if (installed / "config").is_dir():
            return installed
    raise ShareError(
        f"the shipped files of {PACKAGE} are not above {here}. Fix: reinstall the package."
    )


def shipped(*parts: str) -> Path:
    """Return the path of a shipped file, e.g. ``shipped("config", "robots", "a1.yaml")``.

    Raises:
        ShareError: there is no such file; the message lists its neighbours.
    """
    path = share_dir().joinpath(*parts)
    if not path.exists():
        siblings = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        raise ShareError(f"{path}: no such file. Available: {', '.join(siblings) or 'nothing'}.")
    return path
