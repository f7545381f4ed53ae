"""What failed at S3-compatible storage, said so that an operator can repair it.

The library's errors are few and their texts are long. The text has the code that the server gave
(`NoSuchBucket`), except for requests whose answer has no body.
"""

import re

from koco.control.storage.blob_stores.protocol import BlobsAwayError
from koco.errors import KocoError, UsageError

_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
#: Why no connection was made, in the library's debugging output, and in plain words.
_CONNECTION = (
    ("dns error", "its name cannot be looked up"),
    ("ConnectionRefused", "the connection is refused"),
    ("invalid peer certificate", "its certificate is not trusted"),
    ("TimedOut", "it does not answer in time"),
    ("credential", "it is not known who koco is there"),
)
_KEYS = (
    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of `koco up`, or"
    " ~/.aws/credentials on the head; `koco up` takes over new ones"
)
_PLACE = "check AWS_ENDPOINT_URL and AWS_REGION in the environment of `koco up`"
#: Codes and statuses that an operator has to do something about: what is wrong, and a hint.
_FAULTS = {
    "InvalidAccessKeyId": ("does not know the access key", _KEYS),
    "SignatureDoesNotMatch": ("does not accept the secret key", _KEYS),
    "InvalidToken": ("does not accept the session token", _KEYS),
    "ExpiredToken": ("says that the session token has expired", _KEYS),
    "RequestTimeTooSkewed": ("says that this machine's clock is wrong", "set the clock"),
    "NoSuchBucket": ("has no such bucket", "create it, or name another one with `--blobs`"),
    "AccessDenied": (
        "does not allow it",
        "the key needs s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject,"
        " s3:DeleteObject and s3:AbortMultipartUpload below the prefix",
    ),
    "AuthorizationHeaderMalformed": ("is in another region", _PLACE),
    "PermanentRedirect": ("is in another region", _PLACE),
    "403": ("does not allow it", _KEYS),
    "401": ("does not know who asks", _KEYS),
    "301": ("is in another region", _PLACE),
}


def describe(exc: BaseException, *, doing: str, location: str, is_check: bool = False) -> KocoError:
    """Return the error for a failed request. `doing` is what failed, such as "write a blob".

    When a place is checked, what an operator has to repair is a UsageError.
    """
    text = str(exc)
    status = found[1] if (found := _STATUS.search(text)) else ""
    code = found[1] if (found := _CODE.search(text)) else ""
    fault = _FAULTS.get(code) or _FAULTS.get(status)
    if fault is not None:
        what, hint = fault
        message = f"cannot {doing}: {location} {what}" + f" ({code or status})"
        return UsageError(message, hint=hint) if is_check else BlobsAwayError(message, hint=hint)
    if status:
        said = f"answers {status}" + (f" ({code})" if code else "")
        return BlobsAwayError(f"cannot {doing}: {location} {said}", hint="try again in a while")
    if isinstance(exc, TimeoutError):
        said = "it does not answer in time"
    else:
        said = next((words for mark, words in _CONNECTION if mark in text), _first_line(text))
    return BlobsAwayError(
        f"cannot {doing}: {location} cannot be reached: {said}",
        hint=f"is it running? {_PLACE}",
    )


def _first_line(text: str) -> str:
    line = text.partition("\n")[0].strip()
    return re.sub(r"https?://\S+", "…", line)[:200] or "it gave no reason"
