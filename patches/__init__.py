"""The pinned upstream release, our patches to it, and the tool that applies, checks and materialises them.

Only the standard library is used here: the build hook imports this package before anything is installed.
"""
