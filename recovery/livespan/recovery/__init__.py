"""Recovery: leases, what a run's record holds, and the settlement of doubt. A service of the collector (`register`)."""
