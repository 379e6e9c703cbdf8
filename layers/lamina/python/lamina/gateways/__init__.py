"""Gateways: the only modules that speak to AWS, each named for what it reaches. Clients are passed in."""
