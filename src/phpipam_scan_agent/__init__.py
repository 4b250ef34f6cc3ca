"""Scan the subnets that phpIPAM assigns to this agent and report their hosts to the Scan Server."""

NAME = "phpipam-scan-agent"
VERSION = (
    "0.1.0"  # also the package's: reading it from the package's metadata would take longer than all imports
)
