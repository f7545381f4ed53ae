"""Measurements of koco against its bars: `make bench`, or `python -m tests.bench`.

    __main__     arguments, the order of the measures, the end of what was started
    report       a row, the table, the JSON
    plane        a koco of the bench's own: on free ports, in temporary directories
    wire         the smallest HTTP client: what is measured is the server
    meters       percentiles, CPU and memory of processes
    flows        the service that is deployed and launched
    baselines    the same without koco: a bare route, bare Ray actors
    measures     what is measured, one module a subject

No figure here is ever asserted by a test: the machine is shared. `--check` is for
a person, or a machine that does nothing else.
"""
