"""The store on PostgreSQL: the same contract, for several processes at once. Needs the ``postgres`` extra."""
