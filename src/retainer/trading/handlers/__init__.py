"""What the trading agent does with each kind of event: a bar closed, somebody asks, an order's fate is known."""
