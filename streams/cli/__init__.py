"""The command line: parsing and printing only; every verb calls one function."""
