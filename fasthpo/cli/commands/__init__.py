"""The commands, one a file: a module's `command` is what its name says. They import what is heavy where they need it.

So `fasthpo --help` stays quick. Each has an example in its help, `--json` for scripts, and a line for wrong input.
"""
