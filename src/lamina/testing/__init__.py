"""Contracts that anybody can run on their own classes: `check_network` for networks."""

from lamina.testing.fault import ContractError
from lamina.testing.network import check_network

__all__ = ["ContractError", "check_network"]
