"""What files of feature sets in tests have in common."""

from __future__ import annotations

HEAD = """
meaning = "An offer."
owner = "offers"
consent_basis = "contract"
retention_days = 30
available_at = "request"
"""
