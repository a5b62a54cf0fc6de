"""The code of the pipeline over a history that lies in a file."""
