"""The command line `fasthpo`: looking at studies and operating them from a terminal. One command a file in `commands/`.

Beside these stands what several use: the group itself with its errors, how a study is opened to look at, tables and
JSON. What may enter here runs from a terminal only; anything that a program would call belongs to the rooms below.
"""
