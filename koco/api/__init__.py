"""The headless HTTP API: litestar routes that check, call and render, nothing more.

One file of routes per resource. `app` puts them together; `auth` says who may
call what; errors become responses in `app` only.
"""
