"""Ignore files: `.gitignore` as git reads it, and `.kocoignore` after it."""

import re
from pathlib import Path

from koco.errors import UsageError

#: The ignore files of a folder. Rules of a later file override those of an earlier one.
IGNORE_FILES = (".gitignore", ".kocoignore")

#: A line of an ignore file, and whether it excludes.
Rule = tuple["re.Pattern[str]", bool]

#: The folder of the ignore files, and their lines.
Rules = tuple[Path, list[Rule]]


def is_excluded(path: Path, rules: list[Rules], *, is_folder: bool) -> bool | None:
    """Return whether rules (outermost first) exclude a path; None if none of them matches."""
    for base, lines in reversed(rules):
        name = path.relative_to(base).as_posix()
        for regex, excludes in reversed(lines):
            # Only patterns for folders have the group.
            is_marked = is_folder and "ps_d" in regex.groupindex
            if regex.search(f"{name}/" if is_marked else name):
                return excludes
    return None


def rules_of(folder: Path) -> list[Rule]:
    """Return the rules from the ignore files of a folder."""
    lines: list[str] = []
    for name in IGNORE_FILES:
        path = folder / name
        try:
            if path.is_file():
                lines += path.read_text("utf-8-sig", "surrogateescape").splitlines()
        except OSError as exc:
            raise UsageError(f"{path} cannot be read: {exc.strerror}") from exc
    if not lines:
        return []
    from pathspec import GitIgnoreSpec

    try:
        found = GitIgnoreSpec.from_lines(lines, backend="simple").patterns
    except ValueError as exc:
        raise UsageError(f"{folder}: a rule in {' or '.join(IGNORE_FILES)}: {exc}") from exc
    # pathspec's patterns match the content of a folder along with it. That is wrong for a walk with
    # `!` rules, because `*` and `!*/` must not bring a folder's files back. So each must match to
    # the end.
    rules = [(each.regex, each.include) for each in found if each.regex]
    return [
        (re.compile(rf"{regex.pattern}\Z") if "ps_d" in regex.groupindex else regex, excludes)
        for regex, excludes in rules
        if excludes is not None
    ]


def rules_above(root: Path) -> list[Rules]:
    """Return the rules of the folders above, up to the root of the git repository."""
    chain = [root, *root.parents]
    top = next((at for at, folder in enumerate(chain) if (folder / ".git").exists()), 0)
    above: list[Rules] = []
    for at in range(top, 0, -1):
        above.append((chain[at], rules_of(chain[at])))
        # A folder that is deployed counts as wanted, even if its repository ignores it.
        if is_excluded(chain[at - 1], above, is_folder=True):
            return []
    return above
