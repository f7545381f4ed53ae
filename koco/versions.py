"""Compare versions of koco, and identify its code by content.

The version does not distinguish two checkouts.
"""

from pathlib import Path

#: The folder of this koco's package.
HERE = Path(__file__).parent
#: The name of koco's distribution. On PyPI, `koco` is somebody else's package.
DISTRIBUTION = "koco-deploy"
#: The header that carries koco's version in requests and answers.
HEADER = "Koco-Version"


def matters(ours: str, theirs: str) -> bool:
    """Return whether two versions may misunderstand each other.

    Before 1.0 another minor version may change the protocol, from 1.0 on another major version. A
    text that is not a koco version, such as a missing header, never matters.
    """
    mine, other = _line(ours), _line(theirs)
    return None not in (mine, other) and mine != other


def is_newer(theirs: str, ours: str) -> bool:
    """Return whether a version is newer than another."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(theirs) > Version(ours)
    except InvalidVersion:
        return False


def warning(ours: str, theirs: str, *, url: str) -> tuple[str, str] | None:
    """Return a message and a hint about a control plane's version; None if no warning is needed."""
    if not matters(ours, theirs):
        return None
    if is_newer(theirs, ours):
        return (
            f"the control plane at {url} is koco {theirs}, this is {ours}: "
            "it may say what this one does not understand",
            "upgrade koco on this machine",
        )
    return (
        f"the control plane at {url} is koco {theirs}, this is {ours}: "
        "it may not know what this one asks for",
        "`koco up` upgrades it; executions go on meanwhile",
    )


def _line(version: str) -> tuple[int, ...] | None:
    """Return the version numbers that compatible versions share."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    if not (major.isdecimal() and minor.isdecimal()):
        return None
    return (0, int(minor)) if major == "0" else (int(major),)


def code_digest() -> str:
    """Return a digest of the package's modules on disk (takes some 5 ms).

    It uses content, because the same code has other dates and another path on another machine.
    """
    import hashlib  # 4 ms, and the command line needs none of it

    found = hashlib.sha256()
    for path in sorted(HERE.rglob("*.py")):
        name = path.relative_to(HERE).as_posix()
        # Templates exist only in the wheel, and never run.
        if not name.startswith("_templates/"):
            content = path.read_bytes()
            found.update(f"{name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:16]
