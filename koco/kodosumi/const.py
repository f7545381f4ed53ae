"""Names that services written for Kodosumi import: event kinds, statuses, headers and times.

They are Kodosumi's, so that code which compares with them goes on working.
"""

#: Kinds of events.
EVENT_META = "meta"
EVENT_INPUTS = "inputs"
EVENT_AGENT = "agent"
EVENT_UPLOAD = "upload"
EVENT_DEBUG = "debug"
EVENT_STDOUT = "stdout"
EVENT_STDERR = "stderr"
EVENT_LOCK = "lock"
EVENT_LEASE = "lease"
EVENT_PAYMENT = "payment"
EVENT_STATUS = "status"
EVENT_ERROR = "error"
EVENT_ACTION = "action"
EVENT_RESULT = "result"
EVENT_FINAL = "final"

#: Events that a client shows as the course of an execution, and those beside it.
MAIN_EVENTS = (
    *(EVENT_META, EVENT_INPUTS, EVENT_AGENT, EVENT_STATUS, EVENT_ERROR, EVENT_ACTION),
    *(EVENT_RESULT, EVENT_FINAL, EVENT_LOCK, EVENT_LEASE, EVENT_PAYMENT),
)
STDIO_EVENTS = (EVENT_ERROR, EVENT_STDOUT, EVENT_STDERR, EVENT_DEBUG, EVENT_UPLOAD)

#: Statuses of an execution. koco also has `queued` and `cancelled`.
STATUS_STARTING = "starting"
STATUS_RUNNING = "running"
STATUS_AWAITING = "awaiting"
STATUS_END = "finished"
STATUS_ERROR = "error"
STATUS_PAYMENT = "payment"
STATUS_FINAL = (STATUS_END, STATUS_ERROR)

#: Ray's namespace of Kodosumi's actors. koco keeps none there.
NAMESPACE = "kodosumi"

#: The cookie and the header of a client's key, and other headers.
TOKEN_KEY = "kodosumi_jwt"
HEADER_KEY = "KODOSUMI_API_KEY"
KODOSUMI_LAUNCH = "kodosumi_launch"
KODOSUMI_USER = "x-kodosumi_user"
KODOSUMI_BASE = "x-kodosumi_base"
KODOSUMI_EXTRA = "x-kodosumi_extra"
KODOSUMI_URL = "x-kodosumi-url"

#: Keys of an OpenAPI operation.
KODOSUMI_API = "x-kodosumi"
KODOSUMI_AUTHOR = "x-author"
KODOSUMI_ORGANIZATION = "x-organization"

#: Environment variables of a running execution: its id, and its user.
ENV_FID = "KODOSUMI_FID"
ENV_USER_ID = "KODOSUMI_USER_ID"
