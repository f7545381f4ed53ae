"""The revisions of MCP that are spoken here, and the names that they fix.

Sources: modelcontextprotocol.io/specification/2026-07-28 and the revisions before it; the tasks
extension (github.com/modelcontextprotocol/ext-tasks).
"""

#: Each request says all about itself: no handshake, no sessions.
MODERN = ("2026-07-28",)
#: Revisions that begin with `initialize`, newest first. They get neither sessions nor streams of
#: their own, which they allow.
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
#: The revision of a request without `MCP-Protocol-Version`, as those revisions have it.
UNNAMED = "2025-03-26"

#: Members of `_meta`.
VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
SERVER = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
#: The tasks extension.
TASKS = "io.modelcontextprotocol/tasks"
#: koco's own members of `_meta`: the idempotency key of a call, and the execution's id.
KEY = "koco/idempotencyKey"
FID = "koco/fid"

#: The parameter that the header `Mcp-Name` repeats, by method.
NAMED = {
    **{"tools/call": "name", "prompts/get": "name", "resources/read": "uri"},
    **{"tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId"},
}

#: JSON-RPC's error codes, and MCP's own.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
NO_METHOD = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
#: The HTTP status of an error.
STATUS = {
    **dict.fromkeys((PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS), 400),
    **dict.fromkeys((HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION), 400),
    **{NO_METHOD: 404, INTERNAL_ERROR: 500},
}
