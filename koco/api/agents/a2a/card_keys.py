"""The key that agent cards are signed with, in the file that the setting `card_key` names."""

import logging
from pathlib import Path

from litestar.datastructures import State

from koco.api.agents.a2a.shapes.signing import Signer
from koco.control.settings import Settings
from koco.errors import KocoError

log = logging.getLogger(__name__)


class CardKeys:
    """Reads the key when it is first needed, and again when its file has changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: tuple[str, float, Signer] | None = None

    def signer(self) -> Signer | None:
        """Return what signs cards; None if the setting names no key.

        Raises:
            KocoError: the file cannot be read, or has no such key.
        """
        path = self._settings.card_key
        if not path:
            return None
        try:
            changed = Path(path).stat().st_mtime
            if self._known is None or self._known[:2] != (path, changed):
                self._known = (path, changed, Signer.at(path))
        except (OSError, ValueError) as exc:
            log.error("card_key: %s cannot be used: %s", path, exc)
            # Everyone may ask for a card, so the answer does not name the file.
            raise KocoError("agent cards cannot be signed now", hint="the log says why") from exc
        return self._known[2]


def signer_of(state: State) -> Signer | None:
    """Return what signs the cards of a control plane, whose application has this state.

    Raises as `CardKeys.signer`.
    """
    if "card_keys" not in state:
        state.card_keys = CardKeys(state.parts.settings)
    keys: CardKeys = state.card_keys
    return keys.signer()
