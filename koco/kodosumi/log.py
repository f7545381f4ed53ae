"""Kodosumi's logger, for services that write to it. koco captures its output."""

import logging

#: Kodosumi's own logger.
logger = logging.getLogger("kodo")


def get_log_level(level: str) -> int:
    """Return the number of a level by its name, in any case.

    Raises `AttributeError` for other names, as Kodosumi does.
    """
    number: int = getattr(logging, level.upper())
    return number
