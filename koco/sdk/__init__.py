"""What a flow imports, and how koco calls what a flow wrote.

It may import `client`, `forms`, `events` and `manifest`; never Ray at import time. Begin with
`tracer`.

Authors reach it through `koco` itself: `koco.Tracer`, `koco.ServeAPI`. It runs in runners, in Ray
tasks of a flow, and in tests without Ray. Of the control plane it knows only the messages that it
sends there.
"""
