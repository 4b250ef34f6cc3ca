"""Scan the subnets that phpIPAM assigns to this agent and report their hosts to the Scan Server."""

NAME = "phpipam-scan-agent"

# The package's version too. Reading it from the package's metadata would take longer than all imports.
VERSION = "1.0.0"
