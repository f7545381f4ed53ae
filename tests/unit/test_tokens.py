"""Keys and tokens are found and masked in any text."""

from koco import tokens
from koco.control.services.release_tokens import ReleaseTokens


def test_masks_the_token_of_a_persons_own_service() -> None:
    """`~` in the service's name does not hide it."""
    for service in ("hello", "hello~ada", "a~b"):
        token = ReleaseTokens(secret=b"s" * 32, url="").token(service, 1)
        assert tokens.are_in(token)
        assert token not in tokens.mask_all(f"got {token}.")
        assert token[-20:] not in tokens.mask_all(f"got {token}.")
