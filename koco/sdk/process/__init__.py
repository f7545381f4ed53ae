"""What koco does in every process that runs a user's code: secrets, memory limits, crash reports.

It imports nothing else of `sdk`. Begin with `secrets`.
"""
