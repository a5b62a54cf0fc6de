"""Any estimator of River as a learner: made from a configuration, its state in named arrays without pickle."""
