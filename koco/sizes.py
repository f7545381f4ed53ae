"""Sizes in bytes: their units, and a form for people.

Each unit is 1,024 of the one before, because limits count so (`memory_mb`, `max_file_mb`,
`max_event_kb`), and a size is mostly read next to a limit.
"""

KB = 1024
MB = 1024 * KB
GB = 1024 * MB


def format_size(size_bytes: float) -> str:
    """Return a size in its largest unit: `512 B`, `1.2 kB`, `32 MB`, `5.6 GB`."""
    for unit, unit_bytes in (("GB", GB), ("MB", MB), ("kB", KB)):
        if size_bytes >= unit_bytes:
            number = f"{size_bytes / unit_bytes:.1f}".removesuffix(".0")
            return f"{number} {unit}"
    return f"{size_bytes:.0f} B"
