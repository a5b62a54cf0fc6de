"""How feedback flows: engine, stages, serving, client and command line."""
