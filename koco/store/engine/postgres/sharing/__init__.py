"""A database that several processes share, of which one leads.

Begin with `engine`. `candidacy` waits for the lead and takes it from a leader that stands still,
`reign` renews the leader's claim, `listener` hears what `signals` of other processes say, and
`roster` has the tables of the members and the leader.
"""
