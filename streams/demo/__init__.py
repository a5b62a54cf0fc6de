"""The whole loop on real records with a simulated crowd of reviewers, as separate processes."""
