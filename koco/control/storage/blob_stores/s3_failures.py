"""What failed at S3-compatible storage, said so that an operator can repair it.

The library's errors are few and their texts are long. The text has the code that the server gave
(`NoSuchBucket`), except for requests whose answer has no body.
"""

import re

from koco.control.storage.blob_stores.protocol import BlobsAwayError
from koco.errors import KocoError, UsageError

_CODE = re.compile(r"<Code>([\w.]{1,60})</Code>")
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
#: The URL of a request and its server, and what is in it if it asks who koco is: of a machine, a
#: container or a service account. The rest of such a URL may be a token.
_ASKED = re.compile(r"Error performing \w+ ((https?://[^/\s?]+)\S*)")
_ROLES = ("/latest/api/token", "/latest/meta-data", "//169.254.", "//sts.", "AssumeRole")
#: A storage that answers with all of a blob if a part is asked for.
_NOT_PARTIAL = "Received non-partial response"
#: Why no connection was made, in the library's debugging output, and in plain words.
_CONNECTION = (
    ("dns error", "its name cannot be looked up"),
    ("ConnectionRefused", "the connection is refused"),
    ("invalid peer certificate", "its certificate is not trusted"),
    ("TimedOut", "it does not answer in time"),
    ("credential", "it is not known who koco is there"),
)
_WHERE = "in the environment of `koco up`"
_KEYS = (
    f"check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY {_WHERE}, or"
    " ~/.aws/credentials on the head; `koco up` takes over new ones"
)
_TOKEN = (
    f"set new keys with their AWS_SESSION_TOKEN {_WHERE}, which takes them over at once; keys"
    " without a token, and roles, do not expire"
)
_CLOCK = "set the clock of the control plane's machine, by NTP for example"
_PLACE = f"check AWS_ENDPOINT_URL and AWS_REGION {_WHERE}"
_RIGHTS = (
    "the key needs s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject,"
    " s3:DeleteObject and s3:AbortMultipartUpload below the prefix"
)
_KMS = (
    "enable the key of KMS that the bucket is encrypted with, and allow"
    " kms:GenerateDataKey and kms:Decrypt to koco"
)
_ROOM = (
    "raise the quota of the bucket or of its owner, or make room: blobs of executions that"
    " `koco delete` deletes are removed within two days"
)
_UNKNOWN = (
    "koco needs PUT, GET with ranges, HEAD, DELETE, lists of version 2 and uploads in parts:"
    " use a newer version of this storage, or another one"
)
_EXPIRED = ("says that the session token has expired", _TOKEN)
_SKEWED = ("says that this machine's clock is wrong", _CLOCK)
_FULL = ("has no room left", _ROOM)
_ELSEWHERE = ("is in another region", _PLACE)
_NOT_ACCEPTED = (
    "does not accept the request",
    f"{_PLACE}; its log says which part, perhaps because of a rule of the bucket, such as one that"
    " demands an encryption or a lock",
)
_NO_API = ("does not speak S3 at this URL", f"{_PLACE}: a console has another port than the API")
#: Codes and statuses that an operator has to do something about: what is wrong, and a hint.
_FAULTS = {
    "InvalidAccessKeyId": ("does not know the access key", _KEYS),
    "SignatureDoesNotMatch": ("does not accept the secret key", _KEYS),
    "InvalidToken": ("does not accept the session token", _TOKEN),
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": _SKEWED,
    "RequestExpired": _SKEWED,
    "NoSuchBucket": ("has no such bucket", "create it, or name another one with `--blobs`"),
    "AccessDenied": (
        "does not allow it",
        f"{_RIGHTS}; if the bucket is encrypted by KMS, also kms:GenerateDataKey and kms:Decrypt",
    ),
    "QuotaExceeded": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "NotImplemented": ("does not know a request that koco makes", _UNKNOWN),
    "InvalidArgument": _NOT_ACCEPTED,
    "InvalidRequest": _NOT_ACCEPTED,
    "InvalidObjectState": (
        "has moved the blob to an archive",
        "restore it there, and have no rule of the bucket archive what is below the prefix",
    ),
    "KMS": ("cannot use the key that the bucket is encrypted with", _KMS),
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "PermanentRedirect": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "MethodNotAllowed": _NO_API,
    "403": ("does not allow it", f"{_KEYS}; {_RIGHTS}"),
    "401": ("does not know who asks", _KEYS),
    "301": _ELSEWHERE,
    "405": _NO_API,
    "501": ("does not know a request that koco makes", _UNKNOWN),
    "507": _FULL,
}
#: Codes and statuses of what passes by itself.
_BUSY = (
    "koco has repeated it for a while, and clients go on trying for a minute: if this happens"
    " often, ask its operator for a higher rate of requests"
)
_PASSING = {
    **dict.fromkeys(("SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests"), _BUSY),
    "429": _BUSY,
}


def describe(
    exc: BaseException, *, doing: str, location: str, searched: str = "", is_check: bool = False
) -> KocoError:
    """Return the error for a failed request. `doing` is what failed, such as "write a blob".

    `searched` says where keys were looked for. When a place is checked, what an operator has to
    repair is a UsageError.
    """
    text = str(exc)
    status = found[1] if (found := _STATUS.search(text)) else ""
    code = found[1] if (found := _CODE.search(text)) else ""
    fault = _fault(text, code, status, searched)
    if fault is not None:
        what, hint = fault
        message = f"cannot {doing}: {location} {what}"
        return UsageError(message, hint=hint) if is_check else BlobsAwayError(message, hint=hint)
    if status:
        said = f"answers {status}" + (f" ({code})" if code else "")
        hint = _PASSING.get(code) or _PASSING.get(status) or "try again in a while"
        return BlobsAwayError(f"cannot {doing}: {location} {said}", hint=hint)
    return BlobsAwayError(
        f"cannot {doing}: {location} cannot be reached: {_reason(exc, text)}",
        hint=f"is it running? {_PLACE}",
    )


def _fault(text: str, code: str, status: str, searched: str) -> tuple[str, str] | None:
    """Return what an operator has to repair, and how; None if it is something else."""
    asked = _ASKED.search(text)
    if asked and any(mark in asked[1] for mark in _ROLES):
        answer = f"answers {code or status}" if status else "cannot be reached"
        what = f"was not asked, because nothing says who koco is there: {searched}, and no role"
        return f"{what} ({asked[2]} {answer})", f"{_KEYS}; {_PLACE}"
    if _NOT_PARTIAL in text:
        what = "answers with all of a blob where a part of it was asked for"
        return what, f"it, or a proxy before it, does not know the header Range. {_UNKNOWN}"
    known = _FAULTS.get(code) or _FAULTS.get(code.partition(".")[0]) or _FAULTS.get(status)
    if known is None:
        return None
    return f"{known[0]} ({code or status})", known[1]


def _reason(exc: BaseException, text: str) -> str:
    if isinstance(exc, TimeoutError):
        return "it does not answer in time"
    return next((words for mark, words in _CONNECTION if mark in text), _first_line(text))


def _first_line(text: str) -> str:
    line = text.partition("\n")[0].strip()
    return re.sub(r"https?://\S+", "…", line)[:200] or "it gave no reason"
