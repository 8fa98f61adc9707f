"""The analyst: tables in, checked figures out, worded by code."""
