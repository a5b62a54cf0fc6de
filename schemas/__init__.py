"""Topics, record schemas and their bytes on the wire; imports nothing else of Rheostat."""
