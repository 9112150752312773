"""HTTP origins: pools, deadlines, failover."""
