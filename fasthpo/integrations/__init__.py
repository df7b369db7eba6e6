"""Adapters to other people's tools, one a file."""
