"""The protocols over which agents call flows: one package each, over one common surface, `calls`.

They translate and nothing else: what a caller may see, launch and answer, what is audited and
limited, and what an execution does is decided below, as for `/v1`. An execution's fid is its
task's id in each of them, so that no protocol needs a table of its own.
"""
