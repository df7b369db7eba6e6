"""What keeps older programs working: names that stood elsewhere before.

Nothing in the library imports from here but `fasthpo/__init__.py`.
"""
