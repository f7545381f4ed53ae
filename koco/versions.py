"""Versions of koco that meet: which differences matter, and what is to be done about them."""

#: The header in which requests and answers tell koco's version.
HEADER = "Koco-Version"


def matters(ours: str, theirs: str) -> bool:
    """Say whether two versions may misunderstand each other.

    Before 1.0 another minor version may change what is said, from then on another major one.
    What is no version of koco's, such as an answer without one, says nothing.
    """
    mine, other = _line(ours), _line(theirs)
    return None not in (mine, other) and mine != other


def is_newer(theirs: str, ours: str) -> bool:
    """Say whether a version is newer than another."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(theirs) > Version(ours)
    except InvalidVersion:
        return False


def warning(ours: str, theirs: str, *, url: str) -> tuple[str, str] | None:
    """Return what to tell a user of a control plane's version, and what to do; None if nothing."""
    if not matters(ours, theirs):
        return None
    if is_newer(theirs, ours):
        return (
            f"the control plane at {url} is koco {theirs}, this is {ours}: "
            "it may say what this one does not understand",
            "`pip install -U koco` brings this one up to date",
        )
    return (
        f"the control plane at {url} is koco {theirs}, this is {ours}: "
        "it may not know what this one asks for",
        "`koco up` upgrades it; executions go on meanwhile",
    )


def _line(version: str) -> tuple[int, ...] | None:
    """Return the numbers that versions which understand each other share."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    if not (major.isdecimal() and minor.isdecimal()):
        return None
    return (0, int(minor)) if major == "0" else (int(major),)
