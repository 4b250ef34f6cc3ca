"""The frozen values of a run, each made by one stage and read by the next."""

from .outcome import Check, Delivered, Outcome, Run, Summary
from .travel import Address, Host, IPAddress, IPNetwork, Report, ScanResult, Subnet

__all__ = [
    "Address",
    "Check",
    "Delivered",
    "Host",
    "IPAddress",
    "IPNetwork",
    "Outcome",
    "Report",
    "Run",
    "ScanResult",
    "Subnet",
    "Summary",
]
