"""Scan the subnets that phpIPAM assigns to this agent and report their hosts to the Scan Server."""

from importlib.metadata import version

NAME = "phpipam-scan-agent"
VERSION = version(NAME)
