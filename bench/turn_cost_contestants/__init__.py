"""One module per contestant of ``bench/turn_cost.py``: ``VERSIONS`` and ``async def turns(url, folder)``, which gives
``plain`` and ``tool``: each call of one is one whole turn, its records durable when it returns."""
