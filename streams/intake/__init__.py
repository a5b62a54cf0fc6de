"""Intake: raw feedback becomes ledger entries; what cannot be used is set aside with a reason."""
