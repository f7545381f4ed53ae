"""A storm at scale: thousands of executions while everything is killed, and who looks at it after.

`plan` says what is launched and what must come of it, `flows` is the code of the services.
`cluster` starts the nodes and finds processes, `front` is the API of all processes as one client,
`crowd` launches and follows, `kills` kills, `probe` measures how long each kill is felt.
`recorded` reads the history from the API and from PostgreSQL, `checker` looks for faults in it.
"""
