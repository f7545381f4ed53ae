"""Kodosumi's HTTP API, for clients that were written for it: off unless `kodosumi_api` is set.

Each route is a translation of a route of koco's own. It calls the same functions, so permissions,
limits and the audit log are the same; nothing here decides about access. `app` has the application
and decides which requests are for it, `credentials` reads Kodosumi's header and cookie, `refusals`
gives errors both shapes. `routes` has one module per resource, `shapes` the translations of data.
It may import all of `koco.api` except `koco.api.app`. docs/kodosumi-api.md is its page.
"""
