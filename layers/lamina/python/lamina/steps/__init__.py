"""The workflow's steps: each reads through gateways, lets the domain decide, and has the decision carried out.

Gateways are passed in; nothing here imports an AWS library, reads the environment or asks for the time.
"""
