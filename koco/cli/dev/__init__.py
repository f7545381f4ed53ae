"""`koco dev`: deploy at each change into services of one's own, and show what runs there.

Threads wait for what happens: `watch` for changes of files, `keys` for a person, `follow` for
events of executions, and one for each deploy. All report to one queue, and `loop` in the main
thread reads it. Only that thread writes to the terminal. Begin reading there.
"""
