"""The universal agent: phrase grammars, router, decision engine and the model loop. Knows no domain."""
