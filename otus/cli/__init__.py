"""The command ``otus``: one file for each family of commands, over the names of the front door."""
