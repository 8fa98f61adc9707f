"""The commands around backtests: data, strategies, backtest, sweep, walkforward."""
