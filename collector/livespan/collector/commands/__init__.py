"""The collector's own sub-commands, one file each; what they share stands in options.py, client.py and render.py
above.
"""
