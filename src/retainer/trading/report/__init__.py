"""What people look at after a backtest: pictures for a phone, one page for a browser. Drawn from plain JSON."""
