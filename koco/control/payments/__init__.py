"""Payments of jobs through a Masumi payment service: MIP-003's launches that wait for their money.

`payment_service` is the client of that service, `payments` keeps the jobs that wait to be paid and
those whose results are to be submitted, `hashes` and `canonical_json` compute what the blockchain
keeps of a job. It may import all of `koco.control.executions` and what is below that.
"""
