"""The watch: bursts of hours and days over all partitions, and corrections of what was accepted meanwhile."""
