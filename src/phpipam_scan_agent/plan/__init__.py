"""Choose the addresses to probe, and the jobs that probe them. Pure."""
