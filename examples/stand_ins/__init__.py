"""Stand-ins for phpIPAM and the Scan Server, on loopback: enough to see the agent work and to test it."""
