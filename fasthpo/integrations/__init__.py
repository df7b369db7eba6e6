"""Adapters to other people's tools, one a file, imported by whoever uses that tool.

What stands here uses what fasthpo offers everybody, and nothing in fasthpo needs it.
"""
