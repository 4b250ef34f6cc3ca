"""Stand-ins for phpIPAM and the Scan Server on loopback, for the quickstart and the tests."""
