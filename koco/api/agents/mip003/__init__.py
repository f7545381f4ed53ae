"""MIP-003, the API of Masumi's agents, and Sumi, Kodosumi's variant of it.

`app` has the application and decides which requests are for it, `access` says who may ask.
`mip003` and `sumi` have the routes, `jobs` what both do with a job. `fields` describes forms,
`inputs` reads what clients send. It may import all of `koco.api` that stands below `koco.api.app`.
docs/agents.md is its page.
"""
