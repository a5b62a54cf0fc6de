"""Evaluations in, decisions out: is the loss worse than it was, and what is to be done?"""
